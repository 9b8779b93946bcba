//! What a program in a copy could try in order to reach what it may not.

use greenroom_net::egress::AllowEntry;

use crate::world::{Origin, Peer, proxy, proxy_to, proxy_with, quick, to};

/// Sends one request on a connection of its own and gives all that comes back.
fn ask(egress: &greenroom_net::egress::Egress, request: &str) -> String {
    let mut client = Peer::connect(egress.address());
    client.send(request);
    client.done_sending();
    client.rest()
}

#[test]
fn the_host_field_decides_nothing() {
    let (origin, secret) = (Origin::web(), Origin::web());
    let egress = proxy_to(&origin);
    let answer = ask(&egress, &format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/hello"), secret.address));
    assert!(answer.ends_with("hello\n"), "{answer}");
    assert!(origin.seen()[0].contains(&format!("Host: {}\r\n", origin.address)));
    let answer = ask(&egress, &format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", secret.url("/hello"), origin.address));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(secret.count(), 0);
}

#[test]
fn other_spellings_of_an_allowed_name_are_that_name() {
    let origin = Origin::web();
    let port = origin.port();
    let egress = proxy(vec![AllowEntry::allowed(to(&format!("mirror.example:{port}"))).permit_local()]);
    for name in ["mirror.example", "MIRROR.example", "mirror.example."] {
        let answer = ask(&egress, &format!("GET http://{name}:{port}/hello HTTP/1.1\r\n\r\n"));
        assert!(answer.ends_with("hello\n"), "{name}: {answer}");
    }
    assert!(origin.seen().iter().all(|h| h.contains(&format!("Host: mirror.example:{port}\r\n"))));
    assert_eq!(egress.finish().allowed.len(), 1);
}

#[test]
fn an_address_or_a_port_beside_the_allowed_one_is_refused() {
    let (origin, other) = (Origin::web(), Origin::web());
    let port = origin.port();
    let egress = proxy(vec![AllowEntry::allowed(to(&format!("mirror.example:{port}"))).permit_local()]);
    for target in [
        format!("127.0.0.1:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("localhost:{port}"),
        format!("mirror.example:{}", other.port()),
        format!("sub.mirror.example:{port}"),
        format!("mirror.example.evil.example:{port}"),
        "mirror.example:22".into(),
    ] {
        for request in
            [format!("GET http://{target}/hello HTTP/1.1\r\n\r\n"), format!("CONNECT {target} HTTP/1.1\r\n\r\n")]
        {
            let answer = ask(&egress, &request);
            assert!(answer.starts_with("HTTP/1.1 403 "), "{request:?}: {answer}");
            assert!(answer.contains("--allow"), "{answer}");
        }
    }
    assert_eq!((origin.count(), other.count()), (0, 0));
    let report = egress.finish();
    assert_eq!(report.allowed, []);
    // The IPv4-mapped spelling is the same destination as the plain one.
    assert_eq!(report.refused.iter().map(|u| u.connections).collect::<Vec<_>>(), [4, 2, 2, 2, 2, 2], "{report:?}");
}

#[test]
fn a_name_that_leads_back_here_is_refused() {
    let origin = Origin::web();
    let port = origin.port();
    let names = ["loop.example", "metadata.example", "mapped.example"];
    let entries = |make: fn(greenroom_net::egress::Destination) -> AllowEntry| {
        names.map(|n| make(to(&format!("{n}:{port}")))).to_vec()
    };
    for entries in [entries(AllowEntry::allowed), entries(AllowEntry::configured)] {
        let egress = proxy(entries);
        for name in names {
            for request in [
                format!("GET http://{name}:{port}/hello HTTP/1.1\r\n\r\n"),
                format!("CONNECT {name}:{port} HTTP/1.1\r\n\r\n"),
            ] {
                let answer = ask(&egress, &request);
                assert!(answer.starts_with("HTTP/1.1 403 "), "{request:?}: {answer}");
                assert!(answer.contains("resolves to"), "{answer}");
            }
        }
        let report = egress.finish();
        assert_eq!(report.refused.len(), 3, "{report:?}");
        assert!(report.refused[0].reason.as_deref().unwrap().contains("loopback"), "{report:?}");
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_mirror_on_this_host_that_was_meant_is_reached() {
    let origin = Origin::web();
    let port = origin.port();
    for (entry, host) in [
        (AllowEntry::configured(to(&format!("localhost:{port}"))), "localhost"),
        (AllowEntry::configured(to(&format!("aptcache:{port}"))), "aptcache"),
        (AllowEntry::allowed(to(&format!("127.0.0.1:{port}"))), "127.0.0.1"),
        (AllowEntry::allowed(to(&format!("loop.example:{port}"))).permit_local(), "loop.example"),
    ] {
        let egress = proxy(vec![entry]);
        let answer = ask(&egress, &format!("GET http://{host}:{port}/hello HTTP/1.1\r\n\r\n"));
        assert!(answer.ends_with("hello\n"), "{host}: {answer}");
    }
}

#[test]
fn requests_that_could_be_read_in_two_ways_never_arrive() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let url = origin.url("/hello");
    let at = origin.address;
    for request in [
        format!("POST {url} HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX"),
        format!("POST {url} HTTP/1.1\r\nContent-Length: 6\r\nContent-Length: 0\r\n\r\nGET / "),
        format!("POST {url} HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: a\r\n\tb: c\r\n\r\n"),
        format!("GET {url}\r\n\r\n"),
        format!("GET {url} HTTP/2.0\r\n\r\n"),
        format!("CONNECT {at} HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
        format!("GET http://user:pw@{at}/ HTTP/1.1\r\n\r\n"),
        format!("GET https://{at}/ HTTP/1.1\r\n\r\n"),
        format!("GET /hello HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        "\u{16}\u{3}\u{1}\n\n".into(),
    ] {
        let answer = ask(&egress, &request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
    }
    assert_eq!(origin.count(), 0);
    assert_eq!(egress.finish().malformed, 11);
}

#[test]
fn bad_chunks_end_the_connection() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let head = format!("POST {} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", origin.url("/echo"));
    for chunks in
        ["5\r\nhelloX\r\n", "x\r\n", "5\nhello\r\n", "fffffffffffffffff\r\n", "1\r\na\r\n0\r\nno end: 1\n\r\n"]
    {
        let answer = ask(&egress, &format!("{head}{chunks}GET http://evil.example/ HTTP/1.1\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{chunks:?}: {answer}");
    }
    assert_eq!(egress.finish().refused, []);
}

#[test]
fn heads_without_end_are_cut_off() {
    let origin = Origin::web();
    let egress = proxy_with(vec![AllowEntry::allowed(to(&origin.address.to_string()))], quick());
    let long = format!("GET {} HTTP/1.1\r\nX: {}\r\n\r\n", origin.url("/hello"), "x".repeat(100_000));
    assert!(ask(&egress, &long).starts_with("HTTP/1.1 431 "));
    let many = format!("GET {} HTTP/1.1\r\n{}\r\n", origin.url("/hello"), "X: 1\r\n".repeat(500));
    assert!(ask(&egress, &many).starts_with("HTTP/1.1 431 "));

    // A byte now and then keeps no head open beyond its time.
    let mut slow = Peer::connect(egress.address());
    let start = std::time::Instant::now();
    let mut answer = String::new();
    for _ in 0..50 {
        slow.send("G");
        std::thread::sleep(std::time::Duration::from_millis(20));
        if start.elapsed() > std::time::Duration::from_millis(500) {
            answer = slow.rest();
            break;
        }
    }
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(origin.count(), 0);
}
