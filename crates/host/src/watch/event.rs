//! The bytes of a fanotify queue, taken apart. The format: fanotify(7).

/// Bits of an event.
pub(super) mod mask {
    pub(crate) const MODIFY: u64 = 0x2;
    pub(crate) const ATTRIB: u64 = 0x4;
    pub(crate) const CLOSE_WRITE: u64 = 0x8;
    pub(crate) const MOVED_FROM: u64 = 0x40;
    pub(crate) const MOVED_TO: u64 = 0x80;
    pub(crate) const CREATE: u64 = 0x100;
    pub(crate) const DELETE: u64 = 0x200;
    pub(crate) const OVERFLOW: u64 = 0x4000;
    pub(crate) const RENAME: u64 = 0x1000_0000;
    pub(crate) const ONDIR: u64 = 0x4000_0000;
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The directory: the file system's id (8 bytes), then its handle as `open_by_handle_at` takes it.
    pub(super) dir: &'a [u8],
    /// `.` for the directory itself.
    pub(super) name: &'a [u8],
}

/// One event, or several of one process on one name that the kernel put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) mask: u64,
    /// 0 when the process is in no pid namespace that we see.
    pub(super) pid: u32,
    /// Where; for a rename where it was.
    pub(super) at: Option<Place<'a>>,
    /// For a rename: where it is now.
    pub(super) to: Option<Place<'a>>,
    /// The handle of the object itself, where the kernel gives it.
    pub(super) object: Option<&'a [u8]>,
}

const HEAD: usize = 24;
const FID: u8 = 1;
const DFID_NAME: u8 = 2;
const DFID: u8 = 3;
const OLD_DFID_NAME: u8 = 10;
const NEW_DFID_NAME: u8 = 12;

/// The events in what one read gave. Ends at the first that is damaged.
pub(super) fn events(buffer: &[u8]) -> impl Iterator<Item = Event<'_>> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let (event, after) = one(rest)?;
        rest = after;
        Some(event)
    })
}

fn one(buffer: &[u8]) -> Option<(Event<'_>, &[u8])> {
    let len = u32::from_ne_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
    let head = u16::from_ne_bytes(buffer.get(6..8)?.try_into().ok()?) as usize;
    let mask = u64::from_ne_bytes(buffer.get(8..16)?.try_into().ok()?);
    let pid = i32::from_ne_bytes(buffer.get(20..24)?.try_into().ok()?);
    if len < HEAD || head < HEAD {
        return None;
    }
    let (whole, after) = buffer.split_at_checked(len)?;
    let mut event = Event { mask, pid: u32::try_from(pid).unwrap_or(0), ..Event::default() };
    let mut info = whole.get(head..)?;
    while let Some(size) = info.get(2..4) {
        let size = u16::from_ne_bytes(size.try_into().ok()?) as usize;
        let Some((record, next)) = info.split_at_checked(size.max(4)) else { break };
        match record[0] {
            DFID_NAME | DFID | OLD_DFID_NAME => event.at = place(record).or(event.at),
            NEW_DFID_NAME => event.to = place(record),
            FID => event.object = place(record).map(|found| found.dir),
            _ => {}
        }
        info = next;
    }
    Some((event, after))
}

fn place(record: &[u8]) -> Option<Place<'_>> {
    let bytes = u32::from_ne_bytes(record.get(12..16)?.try_into().ok()?) as usize;
    let end = 20usize.checked_add(bytes)?;
    let dir = record.get(4..end)?;
    let name = record[end..].split(|b| *b == 0).next().unwrap_or_default();
    Some(Place { dir, name: if name.is_empty() { b"." } else { name } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, name: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, 0];
        out.extend_from_slice(b"FSID-FS!");
        out.extend_from_slice(&4u32.to_ne_bytes());
        out.extend_from_slice(&1i32.to_ne_bytes());
        out.extend_from_slice(b"hndl");
        out.extend_from_slice(name);
        out.push(0);
        while out.len() % 4 != 0 {
            out.push(0);
        }
        let len = out.len() as u16;
        out[2..4].copy_from_slice(&len.to_ne_bytes());
        out
    }

    fn event(mask: u64, pid: i32, records: &[Vec<u8>]) -> Vec<u8> {
        let records = records.concat();
        let mut out = ((HEAD + records.len()) as u32).to_ne_bytes().to_vec();
        out.extend_from_slice(&[3, 0, HEAD as u8, 0]);
        out.extend_from_slice(&mask.to_ne_bytes());
        out.extend_from_slice(&(-1i32).to_ne_bytes());
        out.extend_from_slice(&pid.to_ne_bytes());
        out.extend_from_slice(&records);
        out
    }

    #[test]
    fn events_are_taken_apart() {
        let mut raw = event(mask::CREATE, 7, &[record(DFID_NAME, b"a\nb"), record(FID, b"")]);
        raw.extend(event(mask::RENAME, 8, &[record(OLD_DFID_NAME, b"old"), record(NEW_DFID_NAME, b"new")]));
        raw.extend(event(mask::OVERFLOW, 0, &[]));
        let all: Vec<_> = events(&raw).collect();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].pid, all[0].at.unwrap().name), (7, &b"a\nb"[..]));
        assert!(all[0].at.unwrap().dir.ends_with(b"hndl") && all[0].object.is_some());
        assert_eq!((all[1].at.unwrap().name, all[1].to.unwrap().name), (&b"old"[..], &b"new"[..]));
        assert_eq!((all[2].mask, all[2].at), (mask::OVERFLOW, None));
    }

    #[test]
    fn damaged_bytes_end_the_list() {
        let raw = event(mask::CREATE, 7, &[record(DFID_NAME, b"name")]);
        for cut in 0..raw.len() {
            assert_eq!(events(&raw[..cut]).count(), 0);
        }
        for at in 0..raw.len() {
            let mut bad = raw.clone();
            bad[at] ^= 0xff;
            assert!(events(&bad).count() <= 1);
        }
    }
}
