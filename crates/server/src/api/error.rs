//! What a caller hears when something goes wrong.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use greenroom_core::api::Problem;
use greenroom_core::wire::{Class, Failed};
use greenroom_engine::fleet::FleetError;
use greenroom_store::blobs::pack::PackError;
use greenroom_store::control::ControlError;

/// An HTTP status with a [`Problem`].
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    problem: Problem,
}

impl ApiError {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, problem: Problem { error: error.into(), causes: Vec::new(), hints: Vec::new() } }
    }

    pub(crate) fn unauthorized(why: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, why)
    }

    pub(crate) fn forbidden(why: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, why)
    }

    pub(crate) fn not_found(what: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    pub(crate) fn bad_request(what: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, what)
    }

    pub(crate) fn too_large(most: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {most} bytes"))
    }

    pub(crate) fn slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "the body did not come whole, or not in time")
    }

    fn hint(mut self, hint: String) -> Self {
        self.problem.hints.push(hint);
        self
    }

    fn because(mut self, error: &dyn std::error::Error) -> Self {
        self.problem.causes.extend(greenroom_engine::sources(error).map(ToString::to_string));
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

impl From<Failed> for ApiError {
    fn from(failed: Failed) -> Self {
        let status = match failed.class {
            Class::Usage => StatusCode::BAD_REQUEST,
            Class::Refused => StatusCode::CONFLICT,
            Class::Fault => StatusCode::BAD_GATEWAY,
        };
        Self { status, problem: Problem { error: failed.what, causes: failed.causes, hints: failed.hints } }
    }
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Unknown(what) => Self::not_found(what),
            FleetError::Usage { what, hint } => Self::bad_request(what).hint(hint),
            FleetError::Refused { what, hint } => Self::new(StatusCode::CONFLICT, what).hint(hint),
            FleetError::Forbidden { what, hint } => Self::forbidden(what).hint(hint),
            FleetError::Host(failed) => failed.into(),
            FleetError::Control(error) => error.into(),
            FleetError::Pack(error @ PackError::Unasked(_)) => Self::forbidden(error.to_string()),
            FleetError::Pack(error @ PackError::Stream(_)) => Self::bad_request(error.to_string()).because(&error),
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()).because(&other),
        }
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match &error {
            ControlError::Enrolment { .. } => Self::forbidden(error.to_string()),
            ControlError::Exists { .. } | ControlError::Locked { .. } => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            ControlError::Database { .. } => {
                // Where the database is and what it says is not for everybody who calls.
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the control plane's state is out of reach")
                    .hint("nothing is lost: try again".to_owned())
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<greenroom_net::tls::TlsError> for ApiError {
    fn from(error: greenroom_net::tls::TlsError) -> Self {
        Self::bad_request(error.to_string()).because(&error)
    }
}
