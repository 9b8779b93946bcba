//! Who is slow, and who comes in numbers.

use std::time::Duration;

use greenroom_net::tls;
use greenroom_server::Limits;
use greenroom_store::control::Role;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Client, DAY, SECOND, World, rest, short, with};

/// The other end closes this connection, whatever it says before.
async fn closed(mut tcp: TcpStream) {
    let _ = tcp.read_to_end(&mut Vec::new()).await;
}

/// Sends a byte again and again: each of them is in time. Ends when the other end has closed.
async fn dripping(client: &Client, head: &str, drop: &str) {
    let mut stream = client.tls().await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    while stream.write_all(drop.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
        let read = tokio::time::timeout(SECOND / 5, stream.read(&mut [0; 512])).await;
        if matches!(read, Ok(Ok(0) | Err(_))) {
            return;
        }
    }
}

#[test]
fn the_slow_are_cut_off_and_the_others_served() {
    with(short(), async |world| {
        let client = world.client(None);
        let token = world.token(Role::Admin, DAY).await;
        // Nothing, and half of a TLS hello.
        let silent = async { closed(client.tcp().await.unwrap()).await };
        let half = async {
            let mut tcp = client.tcp().await.unwrap();
            tcp.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]).await.unwrap();
            closed(tcp).await;
        };
        let plain = async {
            let mut tcp = client.tcp().await.unwrap();
            tcp.write_all(b"GET /v1/hosts HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            closed(tcp).await;
        };
        let idle = async { rest(&mut client.tls().await.unwrap()).await };
        // One request is answered; the connection is kept, and nothing follows.
        let kept = async { client.raw(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await };
        let auth = format!("host: x\r\nauthorization: Bearer {token}");
        let head = format!("GET /v1/hosts HTTP/1.1\r\n{auth}\r\n");
        let body = format!("POST /v1/rehearsals HTTP/1.1\r\n{auth}\r\ncontent-length: 100\r\n\r\n{{");
        let stopped = async { client.raw(body.as_bytes()).await };
        let nobody = "POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
        let stranger = async { client.raw(nobody.as_bytes()).await };
        let others = async {
            for _ in 0..20 {
                assert_eq!(client.with(&token, "GET", "/v1/hosts", "").await.status, 200);
            }
        };
        let (.., kept, stopped, stranger, (), ()) = tokio::join!(
            silent,
            half,
            plain,
            idle,
            kept,
            stopped,
            stranger,
            dripping(&client, &head, "x: y\r\n"),
            others
        );
        assert_eq!(kept.status, 404);
        assert_eq!((stopped.status, stranger.status), (408, 408), "{} {}", stopped.body, stranger.body);
    });
}

#[test]
fn who_takes_no_answer_is_not_waited_for() {
    with(short(), async |world| {
        let token = world.token(Role::Viewer, DAY).await;
        world.enrol("web1").await;
        let epoch = world.control().hold_agent("web1", "cp", ("0", 1), world.now()).await.unwrap().unwrap();
        let status = format!("\"{}\"", "x".repeat(1 << 20));
        assert!(world.control().set_agent_status("web1", epoch, &status, world.now()).await.unwrap());
        let mut stream = world.client(None).tls().await.unwrap();
        let request = format!("GET /v1/hosts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        const REQUESTS: usize = 64;
        stream.write_all(request.repeat(REQUESTS).as_bytes()).await.unwrap();
        // Far more than the kernel holds for it is on its way. It is given up before any of it is read.
        tokio::time::sleep(4 * SECOND).await;
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got).await;
        assert!(got.len() < REQUESTS << 20, "all {} bytes came", got.len());
    });
}

#[test]
fn there_is_room_for_so_many_and_for_others_meanwhile() {
    let connections = tls::Limits { connections: 60, connections_each: 40, ..short().connections };
    with(Limits { connections, head: 30 * SECOND, ..short() }, async |world: World| {
        let token = world.token(Role::Viewer, DAY).await;
        let crowd = world.client_from("127.0.0.2");
        let mut open = Vec::new();
        for _ in 0..40 {
            open.push(crowd.tls().await.unwrap());
        }
        // It is full for them, at once; for others it is not.
        closed(crowd.tcp().await.unwrap()).await;
        assert_eq!(world.client(None).with(&token, "GET", "/v1/hosts", "").await.status, 200);
        let more = world.client_from("127.0.0.3");
        for _ in 0..20 {
            open.push(more.tls().await.unwrap());
        }
        assert!(world.client(None).tls().await.is_err(), "it is full");
        // Who goes makes room.
        drop(open);
        while crowd.tls().await.is_err() {
            tokio::time::sleep(SECOND / 20).await;
        }
        assert_eq!(crowd.with(&token, "GET", "/v1/hosts", "").await.status, 200);
    });
}

#[test]
fn who_says_nothing_takes_nobody_elses_turn() {
    let connections =
        tls::Limits { handshakes: 8, handshakes_each: 4, handshake: 30 * SECOND, ..tls::Limits::default() };
    with(Limits { connections, ..Limits::default() }, async |world: World| {
        let token = world.token(Role::Viewer, DAY).await;
        let crowd = world.client_from("127.0.0.2");
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(crowd.tcp().await.unwrap());
        }
        for _ in 0..20 {
            assert_eq!(world.client(None).with(&token, "GET", "/v1/hosts", "").await.status, 200);
        }
        // None of them was let go to make that possible.
        for tcp in &mut silent {
            assert!(tokio::time::timeout(Duration::from_millis(1), tcp.read(&mut [0; 1])).await.is_err());
        }
    });
}

/// A frame of a WebSocket (RFC 6455) as clients send it, masked with nothing.
fn frame(kind: u8, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap() | 0x80;
    [&[0x80 | kind, length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[test]
fn an_agent_that_only_pings_is_kept_and_a_silent_one_is_cut_off() {
    with(short(), async |world| {
        let identity = world.enrol("web1").await;
        let mut stream = world.client(Some(&identity)).tls().await.unwrap();
        let upgrade = "GET /v1/agent/stream HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        stream.write_all(&frame(1, r#"{"say":"hello","protocol":1,"version":"0"}"#)).await.unwrap();
        let in_touch = async || world.control().agent("web1").await.unwrap().unwrap().holder.is_some();
        while !in_touch().await {
            tokio::time::sleep(SECOND / 20).await;
        }
        for _ in 0..15 {
            tokio::time::sleep(SECOND / 5).await;
            stream.write_all(&frame(9, "")).await.unwrap();
        }
        assert!(in_touch().await, "it was cut off although it pinged");
        while in_touch().await {
            tokio::time::sleep(SECOND / 20).await;
        }
    });
}
