//! The request target: whom a request is for. It alone decides; a `Host` header that says otherwise is replaced.

use super::destination::Destination;
use super::refusal::Refusal;

/// What a request asks the proxy to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Open a tunnel.
    Tunnel(Destination),
    /// Forward a plain HTTP request for this path and query.
    Http { to: Destination, path: String },
}

/// Reads the target of `method` (RFC 9112, section 3.2): authority-form for CONNECT, absolute-form for everything else.
pub(super) fn parse(method: &str, target: &str) -> Result<Target, Refusal> {
    if method == "CONNECT" {
        let to = Destination::with_port(target);
        return to.map(Target::Tunnel).map_err(|e| Refusal::bad_request(format!("CONNECT needs HOST:PORT: {e}")));
    }
    let Some((scheme, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else {
        return Err(Refusal::bad_request(format!(
            "this is a proxy, not a web server: it was asked for {target:?} with no host. \
             Use it as http_proxy and https_proxy; a request names http://HOST/PATH in full"
        )));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::bad_request(
            "this proxy does not end TLS: for an https:// address, open a tunnel with CONNECT HOST:443",
        ));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(Refusal::bad_request(format!("only http:// can be asked for directly, not {scheme}://")));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err(Refusal::bad_request(
            "a user name or password in the address is not passed on; send an Authorization header",
        ));
    }
    if path.contains('#') {
        return Err(Refusal::bad_request("a fragment (#...) has no place in a request"));
    }
    let (host, port) = Destination::split(authority).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let to = Destination::new(&host, port.unwrap_or(80)).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Target::Http { to, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whom_a_request_is_for() {
        for (method, target, to, path) in [
            ("GET", "http://a.example/x?y=1", "a.example:80", Some("/x?y=1")),
            ("GET", "HTTP://A.Example.:8080/", "a.example:8080", Some("/")),
            ("GET", "http://a.example", "a.example:80", Some("/")),
            ("GET", "http://a.example?q", "a.example:80", Some("/?q")),
            ("POST", "http://[::1]:81/a//b/../c", "[::1]:81", Some("/a//b/../c")),
            ("GET", "http://a.example//evil.example/", "a.example:80", Some("//evil.example/")),
            ("GET", "http://a.example/?u=http://b.example@c", "a.example:80", Some("/?u=http://b.example@c")),
            ("CONNECT", "A.example:443", "a.example:443", None),
            ("CONNECT", "[2001:db8::1]:443", "[2001:db8::1]:443", None),
        ] {
            let to = Destination::with_port(to).unwrap();
            let expected = match path {
                None => Target::Tunnel(to),
                Some(path) => Target::Http { to, path: path.into() },
            };
            assert_eq!(parse(method, target), Ok(expected), "{method} {target}");
        }
    }

    #[test]
    fn targets_that_are_refused() {
        for (method, target, says) in [
            ("GET", "/debian/dists", "a proxy, not a web server"),
            ("GET", "/http://a.example/", "a proxy, not a web server"),
            ("OPTIONS", "*", "a proxy, not a web server"),
            ("GET", "a.example:80", "a proxy, not a web server"),
            ("GET", "https://a.example/", "CONNECT"),
            ("GET", "ftp://a.example/", "only http://"),
            ("GET", "http://user:pw@a.example/", "Authorization"),
            ("GET", "http://allowed.example@evil.example/", "Authorization"),
            ("GET", "http://a.example\\@evil.example/", "Authorization"),
            ("GET", "http://a.example\\.evil.example/", "not a host name"),
            ("GET", "http://a.example%2eevil/", "not a host name"),
            ("GET", "http://a.example/#f", "fragment"),
            ("GET", "http:///x", "no host"),
            ("GET", "http://a.example:/", "not a port"),
            ("GET", "http://a.example:99999/", "not a port"),
            ("GET", "http://127.1/", "IP address"),
            ("CONNECT", "a.example", "no port"),
            ("CONNECT", "http://a.example:80", "HOST:PORT"),
            ("CONNECT", "/", "HOST:PORT"),
            ("CONNECT", "u@a.example:443", "not a host name"),
        ] {
            let refusal = parse(method, target).expect_err(target);
            assert_eq!(refusal.status, 400, "{method} {target}");
            let text = String::from_utf8(refusal.encode(true, false)).unwrap();
            assert!(text.contains(says), "{method} {target}: {text}");
        }
    }

    proptest! {
        /// Whatever follows the authority cannot move the request to another host.
        #[test]
        fn the_authority_alone_decides(tail in "[/?][!-~&&[^#]]{0,60}") {
            let parsed = parse("GET", &format!("http://a.example:81{tail}")).unwrap();
            let Target::Http { to, path } = parsed else { panic!("a tunnel") };
            prop_assert_eq!(to.to_string(), "a.example:81");
            prop_assert!(path.starts_with('/') && path.ends_with(&tail));
        }
    }
}
