//! One look at a service from where it runs: whether something answers, in a bounded time.
//!
//! What is asked is whether the service answers, not who it is: a certificate is not checked, because on the host itself the name in it is
//! another one (`127.0.0.1`). Redirections are not followed and no proxy is asked.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::tls::{TlsConfig, TlsProvider};

/// Asks with GET; the status that comes back. Of the body nothing is read.
///
/// # Errors
/// Why there is no answer, in words.
pub fn http(url: &str, limit: Duration) -> Result<u16, String> {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .disable_verification(true)
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
        .build();
    let answer = ureq::Agent::from(config).get(url).call().map_err(|error| match error {
        ureq::Error::Timeout(_) => late(limit),
        other => other.to_string(),
    })?;
    Ok(answer.status().as_u16())
}

/// Connects, and closes again.
///
/// # Errors
/// Why there is no connection, in words.
pub fn tcp(host: &str, port: u16, limit: Duration) -> Result<(), String> {
    let began = Instant::now();
    let addresses = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(late(limit));
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => why = late(limit),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn late(limit: Duration) -> String {
    format!("no answer within {} ms", limit.as_millis())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    /// Answers one request with `text`; an empty one is never answered.
    fn server(text: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(text.as_bytes());
            if text.is_empty() {
                std::thread::sleep(LIMIT * 20);
            }
        });
        port
    }

    #[test]
    fn a_status_is_an_answer_and_silence_is_none() {
        let ask = |port: u16| http(&format!("http://127.0.0.1:{port}/health"), LIMIT);
        assert_eq!(ask(server("HTTP/1.1 204 No Content\r\n\r\n")), Ok(204));
        assert_eq!(ask(server("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")), Ok(503));
        assert_eq!(ask(server("HTTP/1.1 302 Go\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n")), Ok(302));
        assert!(ask(server("")).unwrap_err().contains("within 500 ms"));
        assert!(ask(server("SSH-2.0-x\r\n")).is_err());
    }

    #[test]
    fn a_port_is_open_or_not() {
        let port = server("");
        assert_eq!(tcp("localhost", port, LIMIT), Ok(()));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(tcp("127.0.0.1", closed, LIMIT).unwrap_err().contains("refused"));
    }
}
