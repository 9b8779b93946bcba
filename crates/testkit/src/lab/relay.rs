//! The package relay: the only thing outside that lab hosts can reach, and only Debian's mirror through it.
//!
//! It listens on the lab network's bridge. To a lab host it *is* the mirror (the mirror's name stands in the
//! host's `/etc/hosts` with the bridge's address), and it also answers as an HTTP proxy on [`PROXY_PORT`]. Each
//! request is answered from files in the cache directory; what is missing there is fetched by `curl` over the
//! machine's network. A host that is not one of the sources gets 403.
//!
//! Packages and `by-hash` indexes never change under their name and are kept for ever. Other indexes are
//! fetched again after a day, or as soon as the suite's `InRelease` is newer than they are, since the two
//! belong together. When the mirror does not answer, an old index is served rather than none.

use super::network::{GATEWAY, Network};
use super::sources::Source;
use super::{LabError, disk};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

/// The port on the bridge where the relay answers as an HTTP proxy.
pub const PROXY_PORT: u16 = 3128;

const INDEX_AGE: Duration = Duration::from_secs(24 * 3600);
const IDLE: Duration = Duration::from_secs(60);

/// A running relay; its threads end soon after it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    stop: Arc<AtomicBool>,
}

struct Shared {
    cache: PathBuf,
    sources: Vec<Source>,
    stop: Arc<AtomicBool>,
    serial: AtomicU64,
}

impl Relay {
    /// Starts to listen in `network`.
    pub(crate) fn start(network: &Network, cache: &Path, sources: &[Source]) -> Result<Self, LabError> {
        fs::create_dir_all(cache).map_err(LabError::io("make", cache))?;
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            cache: cache.to_owned(),
            sources: sources.to_vec(),
            stop: Arc::clone(&stop),
            serial: AtomicU64::new(0),
        });
        let mut ports: Vec<u16> = sources.iter().map(Source::port).collect();
        ports.push(PROXY_PORT);
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            let listener = network.listen(SocketAddrV4::new(GATEWAY, port))?;
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared));
        }
        Ok(Self { stop })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    // Polling, so that the thread sees the stop without somebody having to connect.
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    while !shared.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                // A client that goes away is no fault of the relay.
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// One connection: requests one after the other, as apt pipelines them.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        answer(stream, shared, &request)?;
        if request.close {
            break;
        }
    }
    Ok(())
}

struct Request {
    method: String,
    host: String,
    path: String,
    since: Option<String>,
    close: bool,
}

impl Request {
    /// `None` at the end of the connection.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.by_ref().take(16_384).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or("").to_owned();
        let target = words.next().unwrap_or("").to_owned();
        let (mut host, path) = match target.strip_prefix("http://") {
            Some(rest) => rest.split_once('/').map_or_else(
                || (rest.to_owned(), "/".to_owned()),
                |(host, path)| (host.to_owned(), format!("/{path}")),
            ),
            None => (String::new(), target),
        };
        let (mut since, mut close) = (None, false);
        loop {
            let mut line = String::new();
            if reader.by_ref().take(16_384).read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "host" if host.is_empty() => value.clone_into(&mut host),
                "if-modified-since" => since = Some(value.to_owned()),
                "connection" => close = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        Ok(Some(Self { method, host, path, since, close }))
    }
}

fn answer(mut stream: &TcpStream, shared: &Shared, request: &Request) -> io::Result<()> {
    let Some(url) = shared.upstream(request) else {
        return refuse(stream, "403 Forbidden", "the lab relay serves only the mirror of the lab");
    };
    let file = match shared.cached_or_fetched(&url) {
        Ok(file) => file,
        Err(Miss::NotThere) => return refuse(stream, "404 Not Found", &url),
        Err(Miss::Failed(why)) => return refuse(stream, "502 Bad Gateway", &why),
    };
    let mut body = fs::File::open(file)?;
    let meta = body.metadata()?;
    let modified = http_date(meta.modified()?);
    if request.since.as_ref() == Some(&modified) {
        return write!(stream, "HTTP/1.1 304 Not Modified\r\nLast-Modified: {modified}\r\n\r\n");
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nLast-Modified: {modified}\r\n\r\n", meta.len())?;
    if request.method != "HEAD" {
        io::copy(&mut body, &mut stream)?;
    }
    Ok(())
}

fn refuse(mut stream: &TcpStream, status: &str, why: &str) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{why}\n", why.len() + 1)
}

/// The format of RFC 9110.
fn http_date(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .ok()
        .and_then(|at| jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok())
        .unwrap_or_default()
}

enum Miss {
    NotThere,
    Failed(String),
}

impl Shared {
    /// The address on the machine's network; `None` for anything but a file of one of the sources.
    fn upstream(&self, request: &Request) -> Option<String> {
        if request.method != "GET" && request.method != "HEAD" {
            return None;
        }
        let host = request.host.strip_suffix(":80").unwrap_or(&request.host);
        let fits = |source: &&Source| {
            source.authority.eq_ignore_ascii_case(host)
                && request.path.strip_prefix(&source.path).is_some_and(|rest| rest.starts_with('/'))
        };
        let source = self.sources.iter().find(fits)?;
        let odd = request.path.split('/').any(|part| part == "..");
        (!odd).then(|| format!("{}://{}{}", source.scheme, source.authority, request.path))
    }

    fn cached_or_fetched(&self, url: &str) -> Result<PathBuf, Miss> {
        let file = self.file_of(url);
        if self.fresh(url, &file) {
            return Ok(file);
        }
        match self.fetch(url, &file) {
            Err(Miss::Failed(_)) if file.exists() => Ok(file),
            other => other.map(|()| file),
        }
    }

    fn file_of(&self, url: &str) -> PathBuf {
        self.cache.join(&blake3::hash(url.as_bytes()).to_hex()[..32])
    }

    fn fresh(&self, url: &str, file: &Path) -> bool {
        let Some(fetched) = fetched_at(file) else { return false };
        if !url.contains("/dists/") || url.contains("/by-hash/") {
            return true;
        }
        let young = SystemTime::now().duration_since(fetched).is_ok_and(|age| age < INDEX_AGE);
        let release = release_of(url).map(|release| self.file_of(&release));
        let superseded = release.and_then(|release| fetched_at(&release)).is_some_and(|at| at > fetched);
        young && !superseded
    }

    /// Fetches into a file of its own and puts it in place with one rename: other relays use the same cache.
    fn fetch(&self, url: &str, file: &Path) -> Result<(), Miss> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.cache.join(format!(".{}-{serial}.new", std::process::id()));
        let curl = Command::new("curl")
            .args(["--silent", "--location", "--remote-time", "--retry", "3", "--max-time", "600"])
            .args(["--connect-timeout", "20", "--write-out", "%{http_code}", "--output"])
            .arg(&unfinished)
            .arg("--")
            .arg(url)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Miss::Failed(format!("cannot start curl: {error}")))?;
        let code = String::from_utf8_lossy(&curl.stdout).into_owned();
        let result = match (curl.status.success(), code.as_str()) {
            (true, "200") => {
                fs::rename(&unfinished, file).map_err(|error| Miss::Failed(format!("cannot keep {url}: {error}")))
            }
            (true, "404" | "410") => Err(Miss::NotThere),
            _ => Err(Miss::Failed(format!("the mirror answered {code} for {url}"))),
        };
        let _ = fs::remove_file(&unfinished);
        result
    }
}

/// When a cached file was put in place. Its mtime is the mirror's (and goes to clients as Last-Modified);
/// its ctime is ours.
fn fetched_at(file: &Path) -> Option<SystemTime> {
    let meta = fs::metadata(file).ok()?;
    let seconds = u64::try_from(meta.ctime()).ok()?;
    let nanos = u32::try_from(meta.ctime_nsec()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

/// The `InRelease` that an index belongs to; `None` for that file itself.
fn release_of(url: &str) -> Option<String> {
    let (archive, rest) = url.split_once("/dists/")?;
    let suite = rest.split('/').next()?;
    let release = format!("{archive}/dists/{suite}/InRelease");
    (release != url).then_some(release)
}

/// Lines for `/etc/hosts` that make the relay the mirror.
pub(crate) fn hosts_lines(sources: &[Source]) -> String {
    let mut names: Vec<&str> = sources.iter().map(Source::host).collect();
    names.sort_unstable();
    names.dedup();
    names.iter().map(|name| format!("{GATEWAY} {name}\n")).collect()
}

/// Points apt and nothing else of a root at the relay's proxy port, for tests of a host behind a proxy.
pub(crate) fn configure_apt_proxy(root: &Path) -> Result<(), LabError> {
    disk::write(
        &root.join("etc/apt/apt.conf.d/90lab-proxy"),
        &format!("Acquire::http::Proxy \"http://{GATEWAY}:{PROXY_PORT}\";\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        Request::read(&mut text.as_bytes()).unwrap().unwrap()
    }

    fn shared() -> Shared {
        Shared {
            cache: PathBuf::new(),
            sources: super::super::sources::of_machine(Path::new("/nonexistent")),
            stop: Arc::default(),
            serial: AtomicU64::new(0),
        }
    }

    #[test]
    fn only_files_of_the_sources_have_an_upstream() {
        let table = [
            ("GET /debian/x HTTP/1.1\r\nHost: deb.debian.org\r\n\r\n", Some("http://deb.debian.org/debian/x")),
            ("GET http://deb.debian.org/debian/x HTTP/1.1\r\n\r\n", Some("http://deb.debian.org/debian/x")),
            ("GET http://deb.debian.org:80/debian/x HTTP/1.1\r\n\r\n", Some("http://deb.debian.org/debian/x")),
            ("GET /debian/../x HTTP/1.1\r\nHost: deb.debian.org\r\n\r\n", None),
            ("GET /other/x HTTP/1.1\r\nHost: deb.debian.org\r\n\r\n", None),
            ("GET /debian/x HTTP/1.1\r\nHost: example.org\r\n\r\n", None),
            ("POST /debian/x HTTP/1.1\r\nHost: deb.debian.org\r\n\r\n", None),
            ("CONNECT deb.debian.org:443 HTTP/1.1\r\n\r\n", None),
            ("nonsense\r\n\r\n", None),
        ];
        for (text, expected) in table {
            assert_eq!(shared().upstream(&request(text)).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_connection_is_no_request() {
        assert!(Request::read(&mut &b""[..]).unwrap().is_none());
    }

    #[test]
    fn dates_are_those_of_http() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
