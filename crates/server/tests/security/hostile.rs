//! Requests that are too large, malformed, or ask for what lies elsewhere.

use greenroom_store::control::Role;

use crate::world::{DAY, run, short, with};

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    with(short(), async |world| {
        let client = world.client(None);
        let token = world.token(Role::Admin, DAY).await;
        let huge = "content-length: 1000000000000";
        // Nothing of a body was sent: the answer does not wait for it.
        let answer = client.raw(format!("POST /v1/changes HTTP/1.1\r\nhost: x\r\n{huge}\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status, 401);
        let wrong = "authorization: Bearer gr_0";
        let head = format!("POST /v1/changes HTTP/1.1\r\nhost: x\r\n{wrong}\r\n{huge}\r\n\r\n");
        assert_eq!(client.raw(head.as_bytes()).await.status, 401);
        let large = |size: usize| format!(r#"{{"name": "{}", "role": "viewer"}}"#, "x".repeat(size));
        assert_eq!(client.with(&token, "POST", "/v1/tokens", &large(4 << 20)).await.status, 413);
        assert_eq!(client.with(&token, "POST", "/v1/tokens", &large(3 << 20)).await.status, 400);
        // Who needs no token gets less.
        let enrol = format!(r#"{{"token": "{}", "request": ""}}"#, "x".repeat(64 << 10));
        assert_eq!(client.ask("POST", "/v1/enrol", &[], &enrol).await.status, 413);
        // In pieces, without a length.
        let piece = format!("8000\r\n{}\r\n", "x".repeat(0x8000)).repeat(4);
        let chunked =
            format!("POST /v1/enrol HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{piece}0\r\n\r\n");
        assert_eq!(client.raw(chunked.as_bytes()).await.status, 413);
        let long = "x".repeat(1 << 20);
        for (what, head) in [
            ("a long path", format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n")),
            ("a long field", format!("GET /v1/hosts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {long}\r\n\r\n")),
            ("a head without an end", format!("GET /v1/hosts HTTP/1.1\r\nhost: x\r\nx: {}", &long)),
            ("many fields", format!("GET /v1/hosts HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(5000))),
        ] {
            let answer = client.raw(head.as_bytes()).await;
            assert!([0, 414, 431].contains(&answer.status), "{what}: {}", answer.status);
        }
        assert_eq!(client.with(&token, "GET", "/v1/hosts", "").await.status, 200);
    });
}

#[test]
fn what_is_malformed_is_refused_and_what_can_be_read_in_two_ways_too() {
    with(short(), async |world| {
        let client = world.client(None);
        let token = world.token(Role::Admin, DAY).await;
        let auth = format!("host: x\r\nauthorization: Bearer {token}");
        let chunked = "transfer-encoding: chunked";
        for head in [
            "\0\0\0\0\r\n\r\n".to_owned(),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            format!("GET  /v1/hosts HTTP/1.1\r\n{auth}\r\n\r\n"),
            format!("GET /v1/hosts HTTP/9.9\r\n{auth}\r\n\r\n"),
            format!("GET /v1/hosts\r\n{auth}\r\n\r\n"),
            format!("GET /v1/ho\0sts HTTP/1.1\r\n{auth}\r\n\r\n"),
            format!("GET /v1/hosts HTTP/1.1\r\n{auth}\r\nx\0: y\r\n\r\n"),
            format!("GET /v1/hosts HTTP/1.1\r\n{auth}\r\n folded\r\n\r\n"),
            format!("POST /v1/tokens HTTP/1.1\r\n{auth}\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{{}}x"),
            format!("POST /v1/tokens HTTP/1.1\r\n{auth}\r\ncontent-length: -2\r\n\r\n{{}}"),
            format!("POST /v1/tokens HTTP/1.1\r\n{auth}\r\n{chunked}\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n"),
            format!("POST /v1/tokens HTTP/1.0\r\n{auth}\r\n{chunked}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            format!("POST /v1/tokens HTTP/1.1\r\n{auth}\r\n{chunked}, gzip\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        ] {
            let answer = client.raw(format!("{head}GET /v1/hosts HTTP/1.1\r\n{auth}\r\n\r\n").as_bytes()).await;
            assert!([0, 400, 408, 505].contains(&answer.status), "{head:?}: {} {}", answer.status, answer.body);
            // What follows it is not taken for another request.
            assert!(!answer.body.contains("HTTP/1.1 200"), "{head:?}: {}", answer.body);
        }
        let deep = format!(r#"{{"rehearse": {}"#, "[".repeat(1_000_000));
        let wide = format!(r#"{{"on": ["web1"], "rehearse": {{{}"share": 0}}}}"#, r#""share": 0, "#.repeat(1000));
        for body in ["{", "[]", "null", "\"\"", "{\"on\": 1}", "\u{feff}{}", "{}{}", "nan", &deep, &wide] {
            let answer = client.with(&token, "POST", "/v1/rehearsals", body).await;
            assert_eq!(answer.status, 400, "{:?}: {}", body.chars().take(40).collect::<String>(), answer.body);
        }
        assert_eq!(client.with(&token, "GET", "/v1/hosts", "").await.status, 200);
    });
}

#[test]
fn names_lead_nowhere() {
    run(async |world| {
        let client = world.client(None);
        let token = world.token(Role::Admin, DAY).await;
        let secret = "below the state directory";
        std::fs::write(world.dir.path().join("c1.json"), secret).unwrap();
        for name in [
            "..%2fc1.json",
            "..%2f..%2f..%2f..%2fetc%2fpasswd",
            "%2fetc%2fpasswd",
            "%2e%2e",
            "c1%00",
            "c1.json%00",
            "%ff%fe",
            "c1'%20OR%20'1'='1",
            "c1%22;DROP%20TABLE%20token;--",
            "%0d%0aset-cookie:%20x",
            "@c1",
        ] {
            for (method, path) in [
                ("GET", format!("/v1/changes/{name}")),
                ("GET", format!("/v1/changes/{name}/events")),
                ("POST", format!("/v1/changes/{name}/undo")),
                ("POST", format!("/v1/changes/{name}/abort")),
                ("GET", format!("/v1/rehearsals/{name}")),
                ("POST", format!("/v1/hosts/{name}/run")),
                ("DELETE", format!("/v1/hosts/{name}")),
                ("DELETE", format!("/v1/tokens/{name}")),
            ] {
                let body = if method == "POST" { r#"{"argv": ["status"]}"# } else { "" };
                let answer = client.with(&token, method, &path, body).await;
                assert!([400, 404].contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
                assert!(!answer.body.contains(secret) && !answer.body.contains("root:"), "{method} {path}");
            }
        }
        // `..` in the path of a request is a name like any other: there is no such call.
        for path in ["/v1/../v1/hosts", "/v1/hosts/..", "//v1/hosts", "/v1/hosts/", "http://elsewhere/v1/../hosts", "*"]
        {
            let answer = client.with(&token, "GET", path, "").await;
            assert!([400, 404, 405].contains(&answer.status), "{path}: {}", answer.status);
        }
        for host in
            ["", "..", "../web1", "/etc", "web1/..", "-oProxyCommand=x", "web1\n", "web 1", "wéb", "@c1", "web1\0"]
        {
            let body = serde_json::json!({ "host": host }).to_string();
            let answer = client.with(&token, "POST", "/v1/enrolments", &body).await;
            assert_eq!(answer.status, if host == "web1\n" { 200 } else { 400 }, "{host:?}: {}", answer.body);
        }
        assert_eq!(client.with(&token, "GET", "/v1/tokens", "").await.status, 200);
    });
}
