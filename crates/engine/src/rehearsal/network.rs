//! What a copy can reach: nothing, or the host's package sources through a proxy, or (when asked for by name) all.

use std::fs;
use std::path::Path;

use greenroom_core::rehearsal::{Destination as Reached, Net};
use greenroom_host::sources::package_sources;
use greenroom_host::sys::fs::resolve_in_root;
use greenroom_host::sys::ns::Network;
use greenroom_net::egress::{AllowEntry, AllowList, Destination, Egress, EgressReport, Limits};

use crate::EngineError;

/// The proxy's port inside a copy.
const PORT: u16 = 3142;

/// A copy's network, for as long as the copy runs.
pub(super) struct Outside {
    /// `None`: the host's own network.
    pub(super) network: Option<Network>,
    proxy: Option<Egress>,
    /// What in the host's configuration could not be understood.
    pub(super) problems: Vec<String>,
}

impl Outside {
    pub(super) fn open(root: &Path, net: Net, allow: &[AllowEntry]) -> Result<Self, EngineError> {
        let mut out = Self { network: None, proxy: None, problems: Vec::new() };
        if net == Net::Host {
            return Ok(out);
        }
        // The kernel takes its time; the sources are read meanwhile.
        let making = std::thread::spawn(|| Network::new(PORT));
        let found = (net == Net::Packages).then(|| package_sources(root));
        let made = making.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let network = made.map_err(EngineError::system("make a network namespace for the copy"))?;
        if let Some(found) = found {
            let mut entries = allow.to_vec();
            out.problems = found.problems;
            for source in found.destinations {
                match Destination::new(&source.host, source.port) {
                    Ok(destination) => {
                        let mut entry = AllowEntry::configured(destination);
                        if let Some(via) = source.via
                            && let Ok(proxy) = Destination::new(&via.host, via.port)
                        {
                            entry = entry.through(proxy);
                        }
                        entries.push(entry);
                    }
                    Err(error) => out.problems.push(format!("{}: {error}", source.why)),
                }
            }
            let listener = network.listener.try_clone().map_err(EngineError::system("start the copy's proxy"))?;
            let proxy = Egress::start(listener, AllowList::new(entries), Limits::default());
            out.proxy = Some(
                proxy.map_err(|error| EngineError::system("start the copy's proxy")(std::io::Error::other(error)))?,
            );
        }
        out.network = Some(network);
        Ok(out)
    }

    /// The environment by which programs find the proxy.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        if self.proxy.is_none() {
            return Vec::new();
        }
        let url = format!("http://127.0.0.1:{PORT}");
        let mut out: Vec<(String, String)> = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"]
            .map(|name| (name.to_owned(), url.clone()))
            .to_vec();
        out.extend(["no_proxy", "NO_PROXY"].map(|name| (name.to_owned(), "localhost,127.0.0.1,::1".to_owned())));
        out
    }

    /// Tells apt in the copy, whatever proxy the host's own configuration names. The file is Greenroom's own and is never
    /// part of what a change did.
    pub(super) fn configure_apt(&self, copy: &Path) -> Result<(), EngineError> {
        let Ok(dir) = resolve_in_root(copy, Path::new("/etc/apt/apt.conf.d")) else { return Ok(()) };
        let Ok(meta) = fs::symlink_metadata(&dir) else { return Ok(()) };
        if self.proxy.is_none() || !meta.is_dir() {
            return Ok(());
        }
        let path = dir.join("zz99greenroom-copy");
        let text = format!(
            "// This copy reaches its package sources through Greenroom's proxy.\n\
             #clear Acquire::http::Proxy;\n#clear Acquire::https::Proxy;\n\
             Acquire::http::Proxy \"http://127.0.0.1:{PORT}\";\nAcquire::https::Proxy \"http://127.0.0.1:{PORT}\";\n"
        );
        fs::write(&path, text).map_err(EngineError::file("write", &path))?;
        let restored = meta.modified().and_then(|time| fs::File::open(&dir)?.set_modified(time));
        restored.map_err(EngineError::file("set the time of", &dir))
    }

    /// Ends the proxy and says what went through.
    pub(super) fn close(self) -> (Vec<Reached>, Vec<Reached>) {
        told(self.proxy.map_or_else(EgressReport::default, Egress::finish))
    }

    /// What went through so far.
    pub(super) fn so_far(&self) -> (Vec<Reached>, Vec<Reached>) {
        told(self.proxy.as_ref().map_or_else(EgressReport::default, Egress::report))
    }
}

fn told(report: EgressReport) -> (Vec<Reached>, Vec<Reached>) {
    let list = |uses: Vec<greenroom_net::egress::DestinationUse>| {
        let one = |u: greenroom_net::egress::DestinationUse| Reached {
            to: format!("{}:{}", u.host, u.port),
            connections: u.connections,
            bytes: u.bytes_down,
        };
        uses.into_iter().map(one).collect()
    };
    (list(report.allowed), list(report.refused))
}
