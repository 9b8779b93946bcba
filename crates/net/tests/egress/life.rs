//! Tunnels, bounds, and the end.

use std::time::{Duration, Instant};

use greenroom_net::egress::{AllowEntry, Limits};

use crate::world::{Origin, Peer, big, proxy_to, proxy_with, quick, to};

/// Sends back what it gets, and at the end says how much that was.
fn echo() -> Origin {
    Origin::start(|peer| {
        use std::io::Read;
        let mut total = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match peer.reader.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    total += n;
                    peer.send_bytes(&buffer[..n]);
                }
            }
        }
        peer.send(&format!("total {total}"));
    })
}

#[test]
fn a_tunnel_carries_any_bytes_and_half_closes() {
    let origin = echo();
    let egress = proxy_to(&origin);
    let mut client = Peer::connect(egress.address());
    // The first bytes come in the same packet as the request.
    client.send(&format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\nearly", origin.address));
    assert!(client.head().unwrap().starts_with("HTTP/1.1 200 "));
    let body = big();
    let mut sender = client.reader.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        sender.write_all(&body).unwrap();
        sender.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut client.reader, &mut all).unwrap();
    sending.join().unwrap();
    let total = 5 + big().len();
    assert!(all.starts_with(b"early") && all[5..total] == big());
    assert_eq!(String::from_utf8_lossy(&all[total..]), format!("total {total}"));
    let used = &egress.finish().allowed[0];
    assert_eq!((used.bytes_up, used.bytes_down, used.connections), (total as u64, all.len() as u64, 1));
}

#[test]
fn a_silent_tunnel_ends_and_a_one_sided_one_does_not() {
    let origin = Origin::start(|peer| {
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            peer.send("x");
        }
        // Then nothing, without closing.
        std::thread::sleep(Duration::from_secs(20));
    });
    let egress = proxy_with(vec![AllowEntry::allowed(to(&origin.address.to_string()))], quick());
    let mut client = Peer::connect(egress.address());
    client.send(&format!("CONNECT {} HTTP/1.1\r\n\r\n", origin.address));
    assert!(client.head().unwrap().starts_with("HTTP/1.1 200 "));
    let start = Instant::now();
    assert_eq!(client.rest(), "xxxxxxxxxx");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_end_closes_what_is_open_at_once() {
    let origin = echo();
    let egress = proxy_to(&origin);
    let mut tunnel = Peer::connect(egress.address());
    tunnel.send(&format!("CONNECT {} HTTP/1.1\r\n\r\n", origin.address));
    assert!(tunnel.head().unwrap().starts_with("HTTP/1.1 200 "));
    tunnel.send("abc");
    std::io::Read::read_exact(&mut tunnel.reader, &mut [0; 3]).unwrap();
    let mut idle = Peer::connect(egress.address());
    let address = egress.address();
    let start = Instant::now();
    let report = egress.finish();
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(report.allowed[0].bytes_up, 3);
    // The origin may see the end, and say its total, just before its own socket is closed.
    assert!(report.allowed[0].bytes_down >= 3);
    tunnel.rest();
    assert_eq!(idle.rest(), "");
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn connections_are_bounded_and_places_come_back() {
    let origin = Origin::web();
    let limits = Limits { connections: 2, ..Limits::default() };
    let egress = proxy_with(vec![AllowEntry::allowed(to(&origin.address.to_string()))], limits);
    let get = format!("GET {} HTTP/1.1\r\n\r\n", origin.url("/hello"));
    let mut held: Vec<Peer> = (0..2)
        .map(|_| {
            let mut peer = Peer::connect(egress.address());
            peer.send(&get);
            let head = peer.head().unwrap();
            peer.body(&head);
            peer
        })
        .collect();
    assert!(Peer::connect(egress.address()).rest().starts_with("HTTP/1.1 503 "));
    held.pop();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut peer = Peer::connect(egress.address());
        peer.send(&get);
        if peer.head().is_some_and(|h| h.starts_with("HTTP/1.1 200 ")) {
            break;
        }
        assert!(Instant::now() < deadline, "the place of a closed connection never came back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_report_is_bounded_and_serialises() {
    let limits = Limits { destinations: 10, ..Limits::default() };
    let egress = proxy_with(vec![], limits);
    let mut client = Peer::connect(egress.address());
    for n in 0..30 {
        client.send(&format!("GET http://host{n:02}.example/ HTTP/1.1\r\n\r\n"));
        let head = client.head().unwrap();
        client.body(&head);
    }
    let report = egress.finish();
    assert_eq!((report.refused.len(), report.more), (10, 20));
    assert!(report.refused.is_sorted_by_key(|u| u.host.clone()));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["refused"][0]["host"], "host00.example");
    assert_eq!(json["refused"][0]["reason"], "not allowed");
}

#[test]
fn dropping_it_stops_it() {
    let origin = Origin::web();
    let egress = proxy_to(&origin);
    let address = egress.address();
    let mut open = Peer::connect(address);
    open.send(&format!("GET {} HTTP/1.1\r\n\r\n", origin.url("/hello")));
    let head = open.head().unwrap();
    open.body(&head);
    drop(egress);
    assert_eq!(open.rest(), "");
    assert!(std::net::TcpStream::connect(address).is_err());
}
