//! Heads of messages: parsed, checked, and written anew. Everything that decides where a message ends or whom it is for is
//! ours when it leaves; the rest of the fields is passed on as it came.

use httparse::{EMPTY_HEADER, Header};

use super::body::Framing;
use super::destination::Destination;
use super::refusal::Refusal;
use super::target::{self, Target};

/// More fields than this in one head are refused.
const FIELDS_MAX: usize = 128;

/// Fields that speak to the next hop only (RFC 9110, section 7.6.1), and those that are always written anew.
const NOT_PASSED_ON: [&str; 14] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    "content-length",
    "host",
    "expect",
];

type Field = (String, Vec<u8>);

/// A request as the copy sent it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: Target,
    pub(super) body: Framing,
    /// The client keeps the connection open after the answer.
    pub(super) keep: bool,
    /// HTTP/1.1, so that chunks and 1xx answers may be sent to it.
    pub(super) modern: bool,
    /// The client waits for a 100 before it sends the body.
    pub(super) expects: bool,
    fields: Vec<Field>,
}

/// A response as the destination sent it.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) code: u16,
    pub(super) body: Framing,
    /// The destination keeps the connection open behind the body.
    pub(super) keep: bool,
    reason: String,
    /// What `Content-Length` said, also where no body follows (HEAD, 304).
    length: Option<u64>,
    fields: Vec<Field>,
}

/// A response that cannot be relayed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its answer is not valid HTTP: {0}")]
pub(super) struct BadResponse(pub(super) String);

/// What the fields say about framing.
struct Facts {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    /// Names that `Connection` lists.
    listed: Vec<String>,
}

impl Request {
    /// Parses a whole head.
    pub(super) fn parse(head: &[u8]) -> Result<Self, Refusal> {
        let mut slots = [EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Request::new(&mut slots);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(Refusal::bad_request("the request ends too early"));
            }
            Err(httparse::Error::TooManyHeaders) => {
                return Err(too_large(&format!("the request has more than {FIELDS_MAX} header fields")));
            }
            Err(e) => return Err(Refusal::bad_request(format!("the request is malformed: {e}"))),
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::bad_request("the request line is incomplete"));
        };
        let modern = version == 1;
        let facts = facts(parsed.headers).map_err(Refusal::bad_request)?;
        if facts.chunked && !modern {
            return Err(Refusal::bad_request("Transfer-Encoding in an HTTP/1.0 request"));
        }
        let target = target::parse(method, target)?;
        let body = match (facts.chunked, facts.length) {
            (true, _) => Framing::Chunked,
            (false, Some(n)) => Framing::Length(n),
            (false, None) => Framing::Nothing,
        };
        if matches!(target, Target::Tunnel(_)) && !matches!(body, Framing::Nothing | Framing::Length(0)) {
            return Err(Refusal::bad_request("CONNECT has no body"));
        }
        let expects = match values(parsed.headers, "expect").next() {
            None => false,
            Some(v) if v.eq_ignore_ascii_case(b"100-continue") => modern,
            Some(_) => {
                return Err(Refusal::new(417, "Expectation Failed", "only Expect: 100-continue is known"));
            }
        };
        let fields = passed_on(parsed.headers, &facts);
        Ok(Self { method: method.to_owned(), target, body, keep: modern && !facts.close, modern, expects, fields })
    }

    /// The head for the destination, or with `absolute` for a proxy that leads there.
    pub(super) fn encode(&self, to: &Destination, path: &str, absolute: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let host = to.authority();
        let scheme_and_host = if absolute { format!("http://{host}") } else { String::new() };
        let line = format!("{} {scheme_and_host}{path} HTTP/1.1\r\nHost: {host}\r\n", self.method);
        out.extend_from_slice(line.as_bytes());
        write_fields(&mut out, &self.fields);
        match self.body {
            Framing::Nothing | Framing::UntilClose => {}
            Framing::Length(n) => out.extend_from_slice(format!("Content-Length: {n}\r\n").as_bytes()),
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        out.extend_from_slice(b"Via: 1.1 greenroom\r\n\r\n");
        out
    }

    /// Sending it twice is the same as sending it once, and nothing of it is lost by the first try.
    pub(super) fn repeatable(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS") && matches!(self.body, Framing::Nothing)
    }
}

impl Response {
    /// Parses a whole head, the answer to a request with `method`.
    pub(super) fn parse(head: &[u8], method: &str) -> Result<Self, BadResponse> {
        let mut slots = [EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut slots);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(BadResponse("it ends too early".into())),
            Err(e) => return Err(BadResponse(e.to_string())),
        }
        let (Some(code), Some(version)) = (parsed.code, parsed.version) else {
            return Err(BadResponse("the status line is incomplete".into()));
        };
        let facts = facts(parsed.headers).map_err(BadResponse)?;
        let modern = version == 1;
        if facts.chunked && !modern {
            return Err(BadResponse("Transfer-Encoding in HTTP/1.0".into()));
        }
        if code == 101 {
            return Err(BadResponse("it switches protocols unasked".into()));
        }
        let bodiless = method == "HEAD" || code < 200 || code == 204 || code == 304;
        let body = match (bodiless, facts.chunked, facts.length) {
            (true, ..) => Framing::Nothing,
            (_, true, _) => Framing::Chunked,
            (_, _, Some(n)) => Framing::Length(n),
            _ => Framing::UntilClose,
        };
        let keep = modern && !facts.close && body != Framing::UntilClose;
        let fields = passed_on(parsed.headers, &facts);
        let reason = parsed.reason.unwrap_or_default().to_owned();
        Ok(Self { code, body, keep, reason, length: facts.length, fields })
    }

    /// Another head follows this one.
    pub(super) fn is_interim(&self) -> bool {
        self.code < 200
    }

    /// The head for the client, announcing a body framed as `framing`.
    pub(super) fn encode(&self, framing: Framing, keep: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(format!("HTTP/1.1 {} {}\r\n", self.code, self.reason).as_bytes());
        write_fields(&mut out, &self.fields);
        let length = match framing {
            Framing::Length(n) => Some(n),
            // What a GET would have brought. Forbidden with 1xx and 204.
            Framing::Nothing if self.code >= 200 && self.code != 204 => self.length,
            _ => None,
        };
        if let Some(n) = length {
            out.extend_from_slice(format!("Content-Length: {n}\r\n").as_bytes());
        }
        if framing == Framing::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !self.is_interim() {
            out.extend_from_slice(b"Via: 1.1 greenroom\r\n");
            if !keep {
                out.extend_from_slice(b"Connection: close\r\n");
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// The answer to a head beyond the bounds.
pub(super) fn too_large(what: &str) -> Refusal {
    Refusal::new(431, "Request Header Fields Too Large", what)
}

fn values<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
}

/// The elements of a comma-separated field, over all its lines, in lower case.
fn tokens(fields: &[Header<'_>], name: &str) -> Vec<String> {
    let lines = values(fields, name).map(|v| String::from_utf8_lossy(v).to_ascii_lowercase());
    lines
        .flat_map(|l| l.split(',').map(|t| t.trim().to_owned()).collect::<Vec<_>>())
        .filter(|t| !t.is_empty())
        .collect()
}

/// Reads the framing. Strict: whatever two programs could understand differently is refused (request smuggling).
fn facts(fields: &[Header<'_>]) -> Result<Facts, String> {
    let mut lengths = values(fields, "content-length");
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(_), Some(_)) => return Err("Content-Length is there twice".into()),
        (Some(text), None) => Some(content_length(text).ok_or("Content-Length is not a number")?),
    };
    let codings = tokens(fields, "transfer-encoding");
    let encoded = values(fields, "transfer-encoding").next().is_some();
    if encoded && length.is_some() {
        return Err("both Content-Length and Transfer-Encoding".into());
    }
    if encoded && codings != ["chunked"] {
        return Err("Transfer-Encoding is something other than chunked".into());
    }
    let listed: Vec<String> =
        tokens(fields, "connection").into_iter().chain(tokens(fields, "proxy-connection")).collect();
    let close = listed.iter().any(|t| t == "close");
    Ok(Facts { length, chunked: encoded, close, listed })
}

/// Digits and nothing else. At most 18, so that no sum with it overflows.
fn content_length(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn passed_on(fields: &[Header<'_>], facts: &Facts) -> Vec<Field> {
    let stays = |f: &&Header<'_>| {
        let is = |n: &str| f.name.eq_ignore_ascii_case(n);
        !NOT_PASSED_ON.into_iter().any(is) && !facts.listed.iter().any(|n| is(n))
    };
    fields.iter().filter(stays).map(|f| (f.name.to_owned(), f.value.to_vec())).collect()
}

fn write_fields(out: &mut Vec<u8>, fields: &[Field]) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(fields: &str) -> Result<Request, Refusal> {
        Request::parse(format!("POST http://a.example/x HTTP/1.1\r\nHost: evil.example\r\n{fields}\r\n").as_bytes())
    }

    fn sent(request: &Request) -> String {
        let Target::Http { to, path } = &request.target else { panic!("a tunnel") };
        String::from_utf8(request.encode(to, path, false)).unwrap()
    }

    #[test]
    fn the_target_decides_and_hops_are_stripped() {
        let request = request(
            "Host: other.example\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nProxy-Authorization: Basic x\r\n\
             Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\nContent-Length: 5\r\n",
        )
        .unwrap();
        assert_eq!(
            sent(&request),
            "POST /x HTTP/1.1\r\nHost: a.example\r\nX-End: 2\r\nContent-Length: 5\r\nVia: 1.1 greenroom\r\n\r\n"
        );
        assert!(request.keep);
    }

    #[test]
    fn framing_that_two_programs_could_read_differently_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "X: a\r\n b\r\n",
            "X\u{0}: a\r\n",
        ] {
            assert_eq!(request(fields).expect_err(fields).status, 400, "{fields:?}");
        }
        let old = Request::parse(b"POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(old.unwrap_err().status, 400);
    }

    #[test]
    fn naming_framing_in_connection_removes_nothing_of_ours() {
        let request = request("Connection: close, content-length, host\r\nContent-Length: 5\r\n").unwrap();
        assert!(sent(&request).contains("Host: a.example\r\nContent-Length: 5\r\n"));
        assert!(!request.keep);
    }

    #[test]
    fn how_an_answer_ends() {
        for (head, method, body, keep) in [
            ("200 OK\r\nContent-Length: 3\r\n", "GET", Framing::Length(3), true),
            ("200 OK\r\nContent-Length: 3\r\n", "HEAD", Framing::Nothing, true),
            ("304 Not Modified\r\nContent-Length: 3\r\n", "GET", Framing::Nothing, true),
            ("204 No Content\r\n", "GET", Framing::Nothing, true),
            ("103 Early Hints\r\n", "GET", Framing::Nothing, true),
            ("200 OK\r\nTransfer-Encoding: Chunked\r\n", "GET", Framing::Chunked, true),
            ("200 OK\r\nConnection: close\r\nContent-Length: 3\r\n", "GET", Framing::Length(3), false),
            ("200 OK\r\n", "GET", Framing::UntilClose, false),
        ] {
            let parsed = Response::parse(format!("HTTP/1.1 {head}\r\n").as_bytes(), method).unwrap();
            assert_eq!((parsed.body, parsed.keep), (body, keep), "{head:?} {method}");
        }
        for head in ["200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", "101 Switching\r\n", "x OK\r\n"] {
            assert!(Response::parse(format!("HTTP/1.1 {head}\r\n").as_bytes(), "GET").is_err(), "{head:?}");
        }
    }

    proptest! {
        /// What we write, we read back as the same message: nothing in a value can add a field.
        #[test]
        fn written_heads_read_back(value in "[ -~\t]{0,40}", n in 0u64..1_000_000) {
            let request = request(&format!("X-Any: {value}\r\nContent-Length: {n}\r\n")).unwrap();
            let text = sent(&request).replacen("POST /x", "POST http://a.example/x", 1);
            let again = Request::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(again.body, Framing::Length(n));
            prop_assert_eq!(&again.fields[0], &request.fields[0]);
            prop_assert_eq!(again.fields.len(), request.fields.len() + 1);
        }

        #[test]
        fn any_bytes_are_an_answer_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&bytes);
            let _ = Response::parse(&bytes, "GET");
        }
    }
}
