//! One connection from the copy: request after request until one side is done.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use super::allow::AllowEntry;
use super::body::{self, Framing, RelayError};
use super::destination::Destination;
use super::dial::{self, DialError};
use super::head::{self, BadResponse, Request, Response};
use super::refusal::Refusal;
use super::report::Meter;
use super::server::Shared;
use super::sockets::OpenSocket;
use super::target::Target;
use super::tunnel;
use super::wire::{HeadError, Wire};

/// More 1xx answers than this before the real one are refused.
const INTERIM_MAX: usize = 16;

/// What comes after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next request.
    Request,
    /// Goodbye.
    Close,
    /// The socket is no longer in a state to be polite on.
    Drop,
}

struct Session<'a> {
    shared: &'a Shared,
    sockets: &'a Arc<super::sockets::Sockets>,
    client: Wire,
    /// The connection of the last request, when it can carry another one to the same destination.
    kept: Option<(Destination, Wire)>,
}

/// Serves `socket` until it ends.
pub(super) fn run(shared: &Shared, socket: OpenSocket) {
    let Ok(client) = Wire::new(socket, shared.limits.idle) else { return };
    let mut session = Session { shared, sockets: &shared.sockets, client, kept: None };
    loop {
        match session.one() {
            Next::Request => {}
            Next::Close => return session.client.linger(),
            Next::Drop => return,
        }
    }
}

impl Session<'_> {
    fn one(&mut self) -> Next {
        if !self.client.wait_for_data() {
            return Next::Drop;
        }
        // Some clients send an empty line behind a body (RFC 9112, section 2.2).
        let blank = self.client.buffered().iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if blank > 0 {
            self.client.consume(blank);
            return Next::Request;
        }
        let request = match self.request() {
            Ok(Some(request)) => request,
            Ok(None) => return Next::Drop,
            Err(refusal) => {
                self.shared.record.malformed();
                return self.refuse(&refusal, true, false);
            }
        };
        let shared = self.shared;
        let to = match &request.target {
            Target::Tunnel(to) | Target::Http { to, .. } => to,
        };
        let Some(entry) = shared.allow.find(to) else {
            shared.record.refused(to, "not allowed");
            let refusal = Refusal::not_allowed(to);
            return self.refuse_request(&refusal, &request);
        };
        let meter = shared.record.used(to);
        match &request.target {
            Target::Tunnel(_) => self.tunnel(&request, entry, &meter),
            Target::Http { path, .. } => self.exchange(&request, path, entry, &meter),
        }
    }

    /// Reads and parses a head. `None`: the client is gone.
    fn request(&mut self) -> Result<Option<Request>, Refusal> {
        let limits = &self.shared.limits;
        let length = match self.client.read_head(limits.head_bytes, Instant::now() + limits.head_time) {
            Ok(length) => length,
            Err(HeadError::Closed | HeadError::Broken) => return Ok(None),
            Err(HeadError::TooLarge) => {
                return Err(head::too_large(&format!(
                    "the head of the request is longer than {} bytes",
                    limits.head_bytes
                )));
            }
            Err(HeadError::TimedOut) => {
                return Err(Refusal::new(408, "Request Timeout", "the request did not arrive in time"));
            }
        };
        let request = Request::parse(&self.client.buffered()[..length])?;
        self.client.consume(length);
        Ok(Some(request))
    }

    fn refuse(&mut self, refusal: &Refusal, body: bool, keep: bool) -> Next {
        match self.client.write_all(&refusal.encode(body, keep)) {
            Err(_) => Next::Drop,
            Ok(()) if keep => Next::Request,
            Ok(()) => Next::Close,
        }
    }

    /// Answers a request that is not forwarded. The connection can go on only when nothing else of the request is under way.
    fn refuse_request(&mut self, refusal: &Refusal, request: &Request) -> Next {
        let keep = request.keep && request.body == Framing::Nothing && matches!(request.target, Target::Http { .. });
        self.refuse(refusal, request.method != "HEAD", keep)
    }

    /// Connects, or answers why not.
    fn connect(&mut self, request: &Request, entry: &AllowEntry, meter: &Arc<Meter>) -> Result<Wire, Next> {
        let (to, limits) = (entry.destination(), &self.shared.limits);
        match dial::dial(entry, &self.shared.resolver, limits.connect_time) {
            Ok(stream) => {
                // No registration: everything is being stopped.
                let socket = self.sockets.open(stream).ok_or(Next::Drop)?;
                let wire = Wire::new(socket, limits.idle).map_err(|_| Next::Drop)?;
                Ok(wire.metered(Arc::clone(meter)))
            }
            Err(e @ DialError::Forbidden(..)) => {
                let reason = e.to_string();
                self.shared.record.refused(to, &reason);
                self.shared.record.failed(to, &reason);
                Err(self.refuse_request(&Refusal::rebound(to, &reason), request))
            }
            Err(e) => {
                let status = if matches!(e, DialError::TimedOut) { 504 } else { 502 };
                Err(self.fail(status, &e.to_string(), to, request))
            }
        }
    }

    fn fail(&mut self, status: u16, reason: &str, to: &Destination, request: &Request) -> Next {
        self.shared.record.failed(to, reason);
        self.refuse_request(&Refusal::unreachable(status, to, reason), request)
    }

    fn tunnel(&mut self, request: &Request, entry: &AllowEntry, meter: &Arc<Meter>) -> Next {
        self.kept = None;
        let mut upstream = match self.connect(request, entry, meter) {
            Ok(upstream) => upstream,
            Err(next) => return next,
        };
        if entry.via().is_some()
            && let Err(reason) = self.tunnel_through(&mut upstream, entry.destination())
        {
            return self.fail(502, &reason, entry.destination(), request);
        }
        if self.client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_err() {
            return Next::Drop;
        }
        // How a tunnel ends is between its two sides.
        let _ = tunnel::run(&mut self.client, &mut upstream, self.shared.limits.idle);
        Next::Drop
    }

    /// Asks the proxy at the other end of `upstream` for a tunnel to `to`.
    fn tunnel_through(&self, upstream: &mut Wire, to: &Destination) -> Result<(), String> {
        let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        upstream.write_all(ask.as_bytes()).map_err(|e| format!("the proxy in front of it: {e}"))?;
        let response =
            self.response(upstream, "CONNECT").map_err(|e| format!("the proxy in front of it: {}", e.text()))?;
        if (200..300).contains(&response.code) {
            Ok(())
        } else {
            Err(format!("the proxy in front of it answered {}", response.code))
        }
    }

    /// One plain HTTP request and its answer.
    fn exchange(&mut self, request: &Request, path: &str, entry: &AllowEntry, meter: &Arc<Meter>) -> Next {
        let to = entry.destination();
        let head = request.encode(to, path, entry.via().is_some());
        let kept = self.kept.take().filter(|(place, wire)| place == to && wire.is_quiet());
        if let Some((_, mut upstream)) = kept
            && request.repeatable()
        {
            // The destination may close an idle connection at the very moment it is used again: then, once, on a new one.
            let sent = upstream.write_all(&head).map_err(|_| NoResponse::Gone);
            match sent.and_then(|()| self.response(&mut upstream, &request.method)) {
                Ok(response) => return self.answer(request, entry, upstream, response, true),
                Err(NoResponse::Gone) => {}
                Err(e) => return self.fail(e.status(), &e.text(), to, request),
            }
        }
        let mut upstream = match self.connect(request, entry, meter) {
            Ok(upstream) => upstream,
            Err(next) => return next,
        };
        let whole = match self.send(request, &head, &mut upstream) {
            Ok(whole) => whole,
            Err(next) => return next,
        };
        match self.response(&mut upstream, &request.method) {
            Ok(response) => self.answer(request, entry, upstream, response, whole),
            Err(e) => self.fail(e.status(), &e.text(), to, request),
        }
    }

    /// Sends head and body. `false`: the destination took only a part, and may have said why.
    fn send(&mut self, request: &Request, head: &[u8], upstream: &mut Wire) -> Result<bool, Next> {
        if upstream.write_all(head).is_err() {
            return Ok(false);
        }
        if request.expects
            && matches!(request.body, Framing::Length(1..) | Framing::Chunked)
            && self.client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err()
        {
            return Err(Next::Drop);
        }
        match body::relay(&mut self.client, request.body, upstream, request.body == Framing::Chunked) {
            Ok(()) => Ok(true),
            Err(RelayError::Write(_)) => Ok(false),
            Err(RelayError::Read(_)) => Err(Next::Drop),
            Err(e @ RelayError::Malformed(_)) => {
                self.shared.record.malformed();
                Err(self.refuse(&Refusal::bad_request(e.to_string()), true, false))
            }
        }
    }

    /// Waits for a response's head and takes it from the buffer.
    fn response(&self, upstream: &mut Wire, method: &str) -> Result<Response, NoResponse> {
        let limits = &self.shared.limits;
        if upstream.buffered().is_empty() {
            match upstream.fill(None) {
                Ok(0) => return Err(NoResponse::Gone),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::TimedOut => return Err(NoResponse::TimedOut),
                Err(_) => return Err(NoResponse::Gone),
            }
        }
        let length = match upstream.read_head(limits.head_bytes, Instant::now() + limits.head_time) {
            Ok(length) => length,
            Err(HeadError::TooLarge) => {
                return Err(BadResponse("its head is too long".into()).into());
            }
            Err(HeadError::TimedOut) => return Err(NoResponse::TimedOut),
            Err(HeadError::Closed | HeadError::Broken) => return Err(NoResponse::Gone),
        };
        let response = Response::parse(&upstream.buffered()[..length], method)?;
        upstream.consume(length);
        Ok(response)
    }

    /// Relays `response`, and whatever 1xx answers come before the real one.
    fn answer(
        &mut self,
        request: &Request,
        entry: &AllowEntry,
        mut upstream: Wire,
        mut response: Response,
        whole: bool,
    ) -> Next {
        let mut interim = 0;
        while response.is_interim() {
            interim += 1;
            // The client already has its 100 from us.
            let wanted = request.modern && response.code != 100;
            if wanted && self.client.write_all(&response.encode(Framing::Nothing, true)).is_err() {
                return Next::Drop;
            }
            response = match self.response(&mut upstream, &request.method) {
                Ok(_) if interim >= INTERIM_MAX => {
                    return self.fail(502, "too many interim answers", entry.destination(), request);
                }
                Ok(next) => next,
                Err(e) => return self.fail(e.status(), &e.text(), entry.destination(), request),
            };
        }
        // A client of HTTP/1.1 gets a body of unknown length in chunks, so that it can tell an end from a break.
        let framing = match response.body {
            Framing::Chunked | Framing::UntilClose if request.modern => Framing::Chunked,
            Framing::Chunked => Framing::UntilClose,
            other => other,
        };
        let keep = request.keep && whole && framing != Framing::UntilClose;
        if self.client.write_all(&response.encode(framing, keep)).is_err() {
            return Next::Drop;
        }
        match body::relay(&mut upstream, response.body, &mut self.client, framing == Framing::Chunked) {
            Ok(()) => {}
            Err(RelayError::Write(_)) => return Next::Drop,
            Err(e) => {
                self.shared.record.failed(entry.destination(), &e.to_string());
                return Next::Drop;
            }
        }
        if keep && response.keep {
            self.kept = Some((entry.destination().clone(), upstream));
        }
        if keep { Next::Request } else { Next::Close }
    }
}

/// Why no response came.
enum NoResponse {
    /// The destination closed before it answered.
    Gone,
    TimedOut,
    Bad(BadResponse),
}

impl From<BadResponse> for NoResponse {
    fn from(bad: BadResponse) -> Self {
        Self::Bad(bad)
    }
}

impl NoResponse {
    fn status(&self) -> u16 {
        if matches!(self, Self::TimedOut) { 504 } else { 502 }
    }

    fn text(&self) -> String {
        match self {
            Self::Gone => "it closed the connection without an answer".into(),
            Self::TimedOut => "it did not answer in time".into(),
            Self::Bad(bad) => bad.to_string(),
        }
    }
}
