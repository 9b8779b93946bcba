//! Hosts whose images are alike: one rehearsal on a stage stands for all of them, as long as nothing that it does names a host.
//!
//! Two hosts are alike when what is declared for them is the same and their images have the same paths with the same contents,
//! owners, rights and attributes. Set aside are modification times, what is a host's own by its place, and in `/etc` the texts that
//! are equal once each host's names and addresses are taken out.
//!
//! Whether the effect may be shared is known when it is there ([`shareable`]). Each host gets a changeset of its own out of it,
//! with what is on that host's image before.

use std::collections::BTreeMap;

use greenroom_core::image::{Manifest, Own, Twin, apart, fresh};
use greenroom_core::parity::Identity;
use greenroom_core::plan::Part;
use greenroom_core::rehearsal::Rehearsal;
use greenroom_core::{Changeset, ContentHash, Entry, Kind, api, changeset};
use greenroom_store::blobs::BlobStore;

use super::FleetError;
use super::contents::{read_changeset, read_manifest};

/// The largest text that is compared by its meaning, and the largest content that is searched for names, in bytes.
const TEXT: u64 = 256 << 10;

/// A host with its image, and what is declared for it.
pub(super) struct Member {
    pub(super) image: api::Image,
    pub(super) declared: String,
}

/// Hosts by likeness, each group in the order of the letters.
pub(super) fn groups(blobs: &dyn BlobStore, hosts: &BTreeMap<String, Member>) -> Result<Vec<Vec<String>>, FleetError> {
    let own = Own::default();
    let mut out: Vec<(Manifest, &Member, Vec<String>)> = Vec::new();
    'hosts: for (host, member) in hosts {
        let manifest = read_manifest(blobs, member.image.manifest)?;
        for (theirs, first, group) in &mut out {
            if are_alike(blobs, (theirs, first), (&manifest, member), &own)? {
                group.push(host.clone());
                continue 'hosts;
            }
        }
        out.push((manifest, member, vec![host.clone()]));
    }
    Ok(out.into_iter().map(|(.., group)| group).collect())
}

fn are_alike(
    blobs: &dyn BlobStore,
    (a, first): (&Manifest, &Member),
    (b, second): (&Manifest, &Member),
    own: &Own,
) -> Result<bool, FleetError> {
    let (one, other) = (&first.image.system, &second.image.system);
    let equal = first.declared == second.declared
        && (&one.distribution, &one.architecture, &one.stores)
            == (&other.distribution, &other.architecture, &other.stores);
    if !equal {
        return Ok(false);
    }
    for entry in apart(a, b, own) {
        if !says_the_same(blobs, &entry, (&one.identity, &other.identity))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn says_the_same(blobs: &dyn BlobStore, entry: &Entry, names: (&Identity, &Identity)) -> Result<bool, FleetError> {
    let (Some(before), Some(after)) = (&entry.before, &entry.after) else { return Ok(false) };
    let (Some(a), Some(b)) = (before.content(), after.content()) else { return Ok(false) };
    let mut metadata = (**before).clone();
    (metadata.kind, metadata.mtime) = (after.kind.clone(), after.mtime);
    let small = before.size() <= TEXT && after.size() <= TEXT;
    if metadata != **after || !small || !entry.path.starts_with(&"/etc".into()) {
        return Ok(false);
    }
    let text = |id| Ok::<_, FleetError>(String::from_utf8(blobs.read_range(id, 0, TEXT)?).ok());
    let (Some(a), Some(b)) = (text(a)?, text(b)?) else { return Ok(false) };
    Ok(Own::same((&a, names.0), (&b, names.1)))
}

/// Whether what a rehearsal does is the same thing on every host that is like `identity`'s: it changes nothing that is a host's own,
/// no text and no link that it makes names this one, and it makes no private key.
pub(super) fn shareable(blobs: &dyn BlobStore, record: &Rehearsal, identity: &Identity) -> Result<bool, FleetError> {
    let own = Own::default();
    let mut needles: Vec<&[u8]> = vec![b"PRIVATE KEY-----"];
    let names = [&identity.hostname, &identity.machine_id].into_iter().chain(&identity.addresses);
    needles.extend(names.filter(|name| !name.is_empty()).map(|name| name.as_bytes()));
    let named = |text: &[u8]| needles.iter().any(|needle| text.windows(needle.len()).any(|window| window == *needle));
    for id in record.changesets() {
        let changeset = read_changeset(blobs, id)?;
        for entry in changeset.entries() {
            let link = entry.after.as_ref().is_some_and(|node| matches!(&node.kind, Kind::Symlink(to) if named(to)));
            if own.of(&entry.path) || link || named(entry.path.as_bytes()) {
                return Ok(false);
            }
        }
        for (content, size) in fresh(&changeset) {
            if size <= TEXT && named(&blobs.read_range(content, 0, TEXT)?) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What was rehearsed on the image of another, for the host of this manifest; its changesets are in the store. `None`: the change
/// finds something else here.
pub(super) fn for_twin(
    blobs: &dyn BlobStore,
    record: &Rehearsal,
    manifest: ContentHash,
) -> Result<Option<Rehearsal>, FleetError> {
    let manifest = read_manifest(blobs, manifest)?;
    let mut record = record.clone();
    let mut twin = Twin::new(&manifest);
    for part in &mut record.parts {
        let Part::Files { changeset, .. } = part else { continue };
        let Some(mine) = twin.part(&read_changeset(blobs, *changeset)?) else { return Ok(None) };
        *changeset = keep(blobs, &mine)?;
    }
    if let Some(whole) = &mut record.changeset {
        let Some(mine) = Twin::new(&manifest).part(&read_changeset(blobs, *whole)?) else { return Ok(None) };
        *whole = keep(blobs, &mine)?;
    }
    Ok(Some(record))
}

fn keep(blobs: &dyn BlobStore, changeset: &Changeset) -> Result<ContentHash, FleetError> {
    Ok(blobs.put_bytes(&changeset::codec::encoded(changeset))?)
}
