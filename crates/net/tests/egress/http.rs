//! Plain HTTP through the proxy: framing in both directions, connections that are kept, answers of its own.

use greenroom_net::egress::AllowEntry;

use crate::world::{Origin, Peer, big, field, proxy, proxy_to, to};

#[test]
fn every_framing_arrives_whole_on_one_connection() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let mut client = Peer::connect(egress.address());
    for (path, expected) in [
        ("/hello", "hello\n"),
        ("/chunked", "hello\n"),
        ("/empty", ""),
        ("/until-close", "hello\n"),
        ("/hello?2", "hello\n"),
    ] {
        client.send(&format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url(path)));
        let head = client.head().unwrap_or_else(|| panic!("no answer for {path}"));
        assert!(head.starts_with("HTTP/1.1 20"), "{path}: {head}");
        assert_eq!(field(&head, "keep-alive"), None, "{path}");
        assert_eq!(String::from_utf8(client.body(&head)).unwrap(), expected, "{path}");
    }
    // One connection for the first four requests, a second one because the fourth ended by closing.
    assert_eq!(origin.count(), 2);
    let report = egress.finish();
    assert_eq!((report.allowed.len(), report.allowed[0].connections, report.allowed[0].failures), (1, 5, 0));
    assert!(report.allowed[0].bytes_down > 30 && report.allowed[0].bytes_up > 100, "{report:?}");
}

#[test]
fn a_large_body_goes_both_ways_unchanged() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let mut client = Peer::connect(egress.address());
    client.send(&format!("GET {} HTTP/1.1\r\n\r\n", origin.url("/big")));
    let head = client.head().unwrap();
    assert!(client.body(&head) == big());

    let body = &big()[..200_000];
    client.send(&format!("POST {} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", origin.url("/echo"), body.len()));
    client.send_bytes(body);
    let head = client.head().unwrap();
    assert!(client.body(&head) == body);
    let report = egress.finish();
    assert!(report.allowed[0].bytes_down >= (big().len() + body.len()) as u64);
    assert!(report.allowed[0].bytes_up >= body.len() as u64);
}

#[test]
fn chunks_and_expectations_of_a_request() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let mut client = Peer::connect(egress.address());
    client.send(&format!(
        "PUT {} HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        origin.url("/echo")
    ));
    assert_eq!(client.head().unwrap(), "HTTP/1.1 100 Continue\r\n");
    client.send("3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(client.body(&head), b"abcde");
    let seen = &origin.seen()[0];
    assert_eq!(field(seen, "expect"), None);
    assert_eq!(field(seen, "transfer-encoding"), Some("chunked"));
}

#[test]
fn head_requests_old_clients_and_early_hints() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let mut client = Peer::connect(egress.address());
    client.send(&format!("HEAD {} HTTP/1.1\r\n\r\n", origin.url("/hello")));
    assert_eq!(field(&client.head().unwrap(), "content-length"), Some("6"));
    client.send(&format!("GET {} HTTP/1.1\r\n\r\n", origin.url("/hints")));
    assert!(client.head().unwrap().starts_with("HTTP/1.1 103"));
    let head = client.head().unwrap();
    assert_eq!(client.body(&head), b"hello\n");

    let mut old = Peer::connect(egress.address());
    old.send(&format!("GET {} HTTP/1.0\r\n\r\n", origin.url("/chunked")));
    let head = old.head().unwrap();
    assert_eq!((field(&head, "transfer-encoding"), field(&head, "connection")), (None, Some("close")));
    assert_eq!(old.rest(), "hello\n");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let mut client = Peer::connect(egress.address());
    let one = |path: &str| format!("GET {} HTTP/1.1\r\n\r\n", origin.url(path));
    let all =
        [one("/hello"), one("/empty"), "GET http://other.example/ HTTP/1.1\r\n\r\n".into(), one("/chunked")].concat();
    client.send(&all);
    for (status, body) in [("200", Some("hello\n")), ("204", None), ("403", None), ("200", Some("hello\n"))] {
        let head = client.head().unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let got = String::from_utf8(client.body(&head)).unwrap();
        assert!(body.is_none_or(|b| b == got), "{got}");
    }
}

#[test]
fn an_idle_connection_that_the_origin_closed_is_replaced() {
    // Promises to keep the connection and closes it after one answer.
    let origin = Origin::start(|peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let egress = proxy_to(&origin);
    let mut client = Peer::connect(egress.address());
    for n in 1..=5 {
        client.send(&format!("GET {} HTTP/1.1\r\n\r\n", origin.url("/")));
        let head = client.head().unwrap();
        assert_eq!(client.body(&head), b"ok");
        assert_eq!(origin.count(), n);
    }
    assert_eq!(egress.finish().allowed[0].failures, 0);
}

#[test]
fn a_body_that_breaks_off_is_seen_to_break_off() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let mut client = Peer::connect(egress.address());
    client.send(&format!("GET {} HTTP/1.1\r\n\r\n", origin.url("/cut")));
    let head = client.head().unwrap();
    assert_eq!(field(&head, "content-length"), Some("100"));
    assert_eq!(client.rest(), "hello\n");
    let report = egress.finish();
    assert_eq!(report.allowed[0].failures, 1);
}

#[test]
fn what_cannot_be_reached_says_so() {
    // A port that nobody listens on: bound, then given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let egress = proxy(vec![AllowEntry::allowed(to(&free.to_string())), AllowEntry::allowed(to("nowhere.example:80"))]);
    let mut client = Peer::connect(egress.address());
    client.send(&format!("GET http://{free}/ HTTP/1.1\r\n\r\nGET http://nowhere.example/ HTTP/1.1\r\n\r\n"));
    for says in ["no connection to 127.0.0.1", "could not be resolved"] {
        let head = client.head().unwrap();
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let text = String::from_utf8(client.body(&head)).unwrap();
        assert!(text.contains(says), "{text}");
    }
    let report = egress.finish();
    assert!(report.allowed.iter().all(|u| u.failures == 1 && u.reason.is_some()), "{report:?}");
}

#[test]
fn answers_that_are_no_http_are_not_relayed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "",
    ] {
        let origin = Origin::start(move |peer| {
            peer.head();
            peer.send(answer);
        });
        let egress = proxy_to(&origin);
        let mut client = Peer::connect(egress.address());
        client.send(&format!("GET {} HTTP/1.1\r\n\r\n", origin.url("/")));
        let head = client.head().unwrap();
        assert!(head.starts_with("HTTP/1.1 502 "), "{answer:?}: {head}");
    }
}

#[test]
fn through_another_proxy_when_the_host_has_one() {
    let origin = Origin::web();
    let parent = proxy(vec![AllowEntry::configured(to(&format!("mirror.example:{}", origin.port()))).permit_local()]);
    let destination = to(&format!("mirror.example:{}", origin.port()));
    let egress = proxy(vec![AllowEntry::configured(destination).through(to(&parent.address().to_string()))]);

    let mut client = Peer::connect(egress.address());
    client.send(&format!("GET http://mirror.example:{}/hello HTTP/1.1\r\n\r\n", origin.port()));
    let head = client.head().unwrap();
    assert_eq!(client.body(&head), b"hello\n");

    let mut client = Peer::connect(egress.address());
    client.send(&format!("CONNECT mirror.example:{} HTTP/1.1\r\n\r\n", origin.port()));
    assert!(client.head().unwrap().starts_with("HTTP/1.1 200 "));
    client.send("GET /hello HTTP/1.1\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(client.body(&head), b"hello\n");

    // The parent is a way, not a destination.
    let mut client = Peer::connect(egress.address());
    client.send(&format!("CONNECT {} HTTP/1.1\r\n\r\n", parent.address()));
    assert!(client.head().unwrap().starts_with("HTTP/1.1 403 "));
}
