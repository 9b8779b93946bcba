//! Hosts that are alike: what was rehearsed on the image of one, for another.

use std::collections::BTreeMap;

use super::{Manifest, Own, between};
use crate::changeset::DirTime;
use crate::{Changeset, Entry, Mtime, Node, TreePath};

/// In what two hosts differ, but for modification times and for what is a host's own by its place.
#[must_use]
pub fn apart(a: &Manifest, b: &Manifest, own: &Own) -> Vec<Entry> {
    let entries = between(a, b).entries().to_vec();
    entries.into_iter().filter(|entry| !own.of(&entry.path) && !same(&entry.before, &entry.after)).collect()
}

/// Whether both are the same, whatever their times.
fn same(a: &Option<Box<Node>>, b: &Option<Box<Node>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Node { mtime: b.mtime, ..(**a).clone() } == **b,
        (None, None) => true,
        _ => false,
    }
}

/// A host that is like the one that a change was rehearsed for. The parts of the change go through in their order.
#[derive(Debug)]
pub struct Twin<'m> {
    manifest: &'m Manifest,
    now: BTreeMap<TreePath, Option<Box<Node>>>,
    times: BTreeMap<TreePath, Mtime>,
}

impl<'m> Twin<'m> {
    /// The host of this manifest.
    #[must_use]
    pub fn new(manifest: &'m Manifest) -> Self {
        Self { manifest, now: BTreeMap::new(), times: BTreeMap::new() }
    }

    /// The next part, as it is on this host: what is there before has this host's times, and what the change leaves of a path
    /// stays. `None`: a path that it changes is something else here.
    pub fn part(&mut self, part: &Changeset) -> Option<Changeset> {
        let (mut entries, mut times) = (Vec::new(), Vec::new());
        for entry in part.entries() {
            let known = || self.manifest.get(&entry.path).and_then(|entry| entry.after.clone());
            let before = self.now.get(&entry.path).cloned().unwrap_or_else(known);
            if !same(&before, &entry.before) {
                return None;
            }
            let mut after = entry.after.clone();
            if let (Some(mine), Some(theirs), Some(after)) = (&before, &entry.before, &mut after)
                && after.mtime == theirs.mtime
            {
                after.mtime = mine.mtime;
            }
            self.now.insert(entry.path.clone(), after.clone());
            entries.push(Entry { path: entry.path.clone(), before, after });
        }
        for time in part.dir_times() {
            let all = self.manifest.dir_times();
            let known =
                || all.binary_search_by(|known| known.path.cmp(&time.path)).map_or(DirTime::NONE, |at| all[at].after);
            let before = self.times.get(&time.path).copied().unwrap_or_else(known);
            self.times.insert(time.path.clone(), time.after);
            times.push(DirTime { path: time.path.clone(), before, after: time.after });
        }
        Changeset::new(entries, times).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{advanced, manifest};
    use crate::{ContentHash, Kind};

    fn file(content: &str, mode: u16, at: i64) -> Box<Node> {
        let kind = Kind::File { size: content.len() as u64, content: ContentHash::of(content.as_bytes()) };
        let mtime = Mtime { sec: at, nsec: 0 };
        Box::new(Node { kind, mode, flags: 0, uid: 0, gid: 0, mtime, xattrs: Box::default(), link: None })
    }

    fn host(files: &[(&str, &str, u16, i64)]) -> Manifest {
        let nodes = files.iter().map(|(path, content, mode, at)| ((*path).into(), file(content, *mode, *at)));
        manifest(nodes.collect(), Vec::new()).unwrap()
    }

    #[test]
    fn a_change_for_one_is_a_change_for_its_twin() {
        let web1 = host(&[
            ("/a", "1", 0o644, 10),
            ("/b", "2", 0o644, 11),
            ("/c", "3", 0o644, 12),
            ("/etc/hostname", "web1", 0o644, 1),
        ]);
        let web2 = host(&[
            ("/a", "1", 0o644, 20),
            ("/b", "2", 0o644, 21),
            ("/c", "3", 0o644, 22),
            ("/etc/hostname", "web2", 0o644, 2),
        ]);
        let web3 = host(&[("/a", "1", 0o644, 20), ("/b", "other", 0o644, 21)]);
        let own = Own::default();
        assert!(apart(&web1, &web2, &own).is_empty());
        let other: Vec<String> = apart(&web1, &web3, &own).iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(other, ["/b", "/c"]);
        // Two parts: a is written and then loses a right, b only loses a right, c goes, d comes.
        let middle = host(&[("/a", "new", 0o644, 99), ("/b", "2", 0o600, 11), ("/c", "3", 0o644, 12)]);
        let after = host(&[("/a", "new", 0o600, 99), ("/b", "2", 0o600, 11), ("/d", "4", 0o644, 99)]);
        let without_name = |host: &Manifest| host.clone().filtered(|path| !own.of(path));
        let parts = [between(&without_name(&web1), &middle), between(&middle, &after)];
        let mut twin = Twin::new(&web2);
        let there = parts.iter().fold(web2.clone(), |host, part| advanced(&host, &twin.part(part).unwrap()).unwrap());
        let wanted = host(&[
            ("/a", "new", 0o600, 99),
            ("/b", "2", 0o600, 21),
            ("/d", "4", 0o644, 99),
            ("/etc/hostname", "web2", 0o644, 2),
        ]);
        assert_eq!(there, wanted);
        assert!(Twin::new(&web3).part(&parts[0]).is_none());
        let name = between(&host(&[("/etc/hostname", "web1", 0o644, 1)]), &host(&[]));
        assert!(Twin::new(&web2).part(&name).is_none());
    }
}
