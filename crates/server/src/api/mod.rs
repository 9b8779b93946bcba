//! What people's programs may ask of the control plane, as one table.
//!
//! [`calls`] lists every call with its path, the least role, what it is about, and the shapes of its body and answer. The router
//! and the OpenAPI document ([`openapi`]) are both made from it, so neither can know a call that the other does not.

mod agents;
mod calls;
mod contents;
mod error;
mod events;
mod openapi;
mod table;

use std::sync::Arc;

use axum::Router;

pub(crate) use error::ApiError;
pub use openapi::document as openapi;
pub(crate) use table::BODY;

use crate::Shared;

/// All calls, as a router.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let routes = calls::calls().into_iter().fold(Router::new(), |router, call| router.route(call.path, call.route));
    routes.fallback(table::nothing_here).with_state(shared.clone())
}
