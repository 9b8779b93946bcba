//! An HTTP origin over plain sockets that says what it saw, a raw client, and a proxy between them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greenroom_net::egress::{AllowEntry, AllowList, Destination, Egress, Limits, Resolve};

/// A server. Each connection is served by `serve(stream, heads)` on a thread of its own.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Every request head that arrived, as text.
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    pub(crate) fn start(serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let serve = Arc::new(serve);
        thread::spawn({
            let (connections, heads) = (Arc::clone(&connections), Arc::clone(&heads));
            move || {
                for stream in listener.incoming() {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (serve, heads) = (Arc::clone(&serve), Arc::clone(&heads));
                    thread::spawn(move || serve(&mut Peer::new(stream.unwrap(), heads)));
                }
            }
        });
        Self { address, connections, heads }
    }

    /// A small web server: `/hello`, `/chunked`, `/until-close`, `/big`, `/echo`, `/empty`, `/cut`.
    pub(crate) fn web() -> Self {
        Self::start(|peer| {
            while let Some(head) = peer.head() {
                let body = peer.body(&head);
                if !answer(peer, &head, &body) {
                    return;
                }
            }
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// What `/big` sends: 3 MiB that differ everywhere.
pub(crate) fn big() -> Vec<u8> {
    (0..3u32 << 18).flat_map(u32::to_le_bytes).collect()
}

/// Answers one request; `false` closes the connection.
fn answer(peer: &mut Peer, head: &str, body: &[u8]) -> bool {
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    match path.split('?').next().unwrap() {
        "/hello" if method == "HEAD" => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"),
        "/hello" => {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nKeep-Alive: timeout=5\r\nX-Origin: yes\r\n\r\nhello\n");
        }
        "/chunked" => {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            peer.send("5;ext=1\r\nhello\r\n1\r\n\n\r\n0\r\nX-Trailer: 1\r\n\r\n");
        }
        "/until-close" => {
            peer.send("HTTP/1.1 200 OK\r\n\r\nhello\n");
            return false;
        }
        "/cut" => {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello\n");
            return false;
        }
        "/big" => {
            let big = big();
            peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", big.len()));
            peer.send_bytes(&big);
        }
        "/echo" => {
            peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            peer.send_bytes(body);
        }
        "/empty" => peer.send("HTTP/1.1 204 No Content\r\n\r\n"),
        "/hints" => {
            peer.send(
                "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n",
            );
        }
        _ => peer.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    }
    true
}

/// One end of a connection, with helpers to speak HTTP by hand.
pub(crate) struct Peer {
    pub(crate) reader: BufReader<TcpStream>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn new(stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream), heads }
    }

    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::new(TcpStream::connect(to).unwrap(), Arc::default())
    }

    /// The next head, without its empty line; `None` at the end.
    pub(crate) fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) | Err(_) => return None,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => head.push_str(&line),
            }
        }
        self.heads.lock().unwrap().push(head.clone());
        Some(head)
    }

    /// The body that `head` announces.
    pub(crate) fn body(&mut self, head: &str) -> Vec<u8> {
        let mut body = Vec::new();
        if let Some(length) = field(head, "content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.reader.read_exact(&mut body).unwrap();
        } else if field(head, "transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                self.reader.read_line(&mut line).unwrap();
                let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
                let start = body.len();
                body.resize(start + size, 0);
                self.reader.read_exact(&mut body[start..]).unwrap();
                self.reader.read_line(&mut String::new()).unwrap();
                if size == 0 {
                    break;
                }
            }
        }
        body
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset after the last byte is an end, too.
        let _ = self.reader.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        // The other side may be gone: what it received is what a test looks at.
        let _ = self.reader.get_mut().write_all(bytes);
    }

    pub(crate) fn done_sending(&mut self) {
        self.reader.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// The value of a field in a head.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .find_map(|l| l.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()))
}

pub(crate) fn to(text: &str) -> Destination {
    let (host, port) = text.rsplit_once(':').unwrap();
    Destination::new(host, port.parse().unwrap()).unwrap()
}

/// Limits with which a test that waits for one does not wait long.
pub(crate) fn quick() -> Limits {
    Limits { head_time: Duration::from_millis(300), idle: Duration::from_millis(600), ..Limits::default() }
}

pub(crate) fn proxy(entries: Vec<AllowEntry>) -> Egress {
    proxy_with(entries, Limits::default())
}

pub(crate) fn proxy_with(entries: Vec<AllowEntry>, limits: Limits) -> Egress {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    Egress::start_with(listener, AllowList::new(entries), limits, Arc::new(Zone)).unwrap()
}

/// A proxy that lets through to `origin` by its address.
pub(crate) fn proxy_to(origin: &Origin) -> Egress {
    proxy(vec![AllowEntry::allowed(to(&origin.address.to_string()))])
}

/// A resolver for names that nobody owns.
pub(crate) struct Zone;

impl Resolve for Zone {
    fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        let text: &[&str] = match host {
            "loop.example" | "mirror.example" | "localhost" | "aptcache" => &["127.0.0.1"],
            "metadata.example" => &["169.254.169.254"],
            "mapped.example" => &["::ffff:127.0.0.1", "64:ff9b::7f00:1"],
            _ => return Err(std::io::Error::other("no such name")),
        };
        Ok(text.iter().map(|t| t.parse().unwrap()).collect())
    }
}
