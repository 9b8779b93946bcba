//! Where the running kernel keeps the members of its structures, from its own description (BTF, `/sys/kernel/btf/vmlinux`).
//!
//! The format: Documentation/bpf/btf.rst of the Linux tree. Only what is needed to find a member's offset is read.

use std::collections::HashMap;

/// The description is missing, damaged or lacks something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BtfError {
    #[error("the kernel's type description is damaged at byte {0}")]
    Damaged(usize),
    #[error("the kernel's type description has no {0}")]
    Missing(String),
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const MAGIC: u16 = 0xeb9f;

/// A parsed description.
pub(super) struct Btf<'a> {
    data: &'a [u8],
    strings: &'a [u8],
    /// Byte offsets of the types; the number of a type is its index plus one.
    types: Vec<u32>,
    structs: HashMap<&'a [u8], u32>,
}

fn u32_at(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or(BtfError::Damaged(at))?;
    Ok(u32::from_ne_bytes(bytes))
}

/// What follows the common part of a type, in bytes.
fn tail(kind: u32, count: usize, at: usize) -> Result<usize, BtfError> {
    Ok(match kind {
        0 | 2 | 7..=12 | 16 | 18 => 0,
        1 | 14 | 17 => 4,
        3 => 12,
        STRUCT | UNION | 15 | 19 => count * 12,
        6 | 13 => count * 8,
        _ => return Err(BtfError::Damaged(at)),
    })
}

impl<'a> Btf<'a> {
    /// Reads the bytes of a description.
    pub(super) fn parse(raw: &'a [u8]) -> Result<Self, BtfError> {
        let magic = raw.get(..2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError::Damaged(0));
        }
        let field = |at: usize| u32_at(raw, at).map(|n| n as usize);
        let (head, type_at, type_len, text_at, text_len) = (field(4)?, field(8)?, field(12)?, field(16)?, field(20)?);
        let part = |at: usize, len: usize| {
            let from = head.checked_add(at).ok_or(BtfError::Damaged(8))?;
            raw.get(from..from.saturating_add(len)).ok_or(BtfError::Damaged(from))
        };
        let (data, strings) = (part(type_at, type_len)?, part(text_at, text_len)?);
        let mut out = Self { data, strings, types: Vec::new(), structs: HashMap::new() };
        let mut at = 0;
        while at < data.len() {
            let info = u32_at(data, at + 4)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            out.types.push(u32::try_from(at).map_err(|_| BtfError::Damaged(at))?);
            if kind == STRUCT {
                let name = out.text(u32_at(data, at)?);
                if !name.is_empty() {
                    let number = u32::try_from(out.types.len()).map_err(|_| BtfError::Damaged(at))?;
                    out.structs.entry(name).or_insert(number);
                }
            }
            at += 12 + tail(kind, count, at)?;
        }
        Ok(out)
    }

    fn text(&self, at: u32) -> &'a [u8] {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.split(|b| *b == 0).next().unwrap_or_default()
    }

    /// The size of a structure.
    pub(super) fn size(&self, of: &str) -> Result<i32, BtfError> {
        let number = self.structs.get(of.as_bytes()).ok_or_else(|| BtfError::Missing(format!("struct {of}")))?;
        let at = self.types[*number as usize - 1] as usize;
        i32::try_from(u32_at(self.data, at + 8)?).map_err(|_| BtfError::Damaged(at))
    }

    /// The offset in bytes of a member, also one of an unnamed structure inside.
    pub(super) fn offset(&self, of: &str, member: &str) -> Result<i32, BtfError> {
        let missing = || BtfError::Missing(format!("{of}.{member}"));
        let number = *self.structs.get(of.as_bytes()).ok_or_else(missing)?;
        let bits = self.find(number, member.as_bytes(), 0)?.ok_or_else(missing)?;
        i32::try_from(bits / 8).map_err(|_| missing())
    }

    fn find(&self, number: u32, member: &[u8], depth: u32) -> Result<Option<u32>, BtfError> {
        let Some(at) = (number as usize).checked_sub(1).and_then(|n| self.types.get(n)).map(|at| *at as usize) else {
            return Ok(None);
        };
        let info = u32_at(self.data, at + 4)?;
        if depth > 8 || !matches!(info >> 24 & 0x1f, STRUCT | UNION) {
            return Ok(None);
        }
        for index in 0..(info & 0xffff) as usize {
            let here = at + 12 + index * 12;
            let name = self.text(u32_at(self.data, here)?);
            let place = u32_at(self.data, here + 8)?;
            // With the flag set the upper byte is the width of a bit field.
            let bits = if info >> 31 == 1 { place & 0x00ff_ffff } else { place };
            if name == member {
                return Ok(Some(bits));
            }
            if name.is_empty()
                && let Some(inner) = self.find(u32_at(self.data, here + 4)?, member, depth + 1)?
            {
                return Ok(Some(bits + inner));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct task { int pid; struct { long a; long arg; }; };` as a description.
    fn sample() -> Vec<u8> {
        let strings = b"\0task\0pid\0a\0arg\0int\0";
        let name = |text: &str| strings.windows(text.len()).position(|w| w == text.as_bytes()).unwrap() as u32;
        let words: Vec<u32> = vec![
            name("int"),
            1 << 24,
            4,
            32, // 1: int
            0,
            STRUCT << 24 | 2,
            16,
            name("a\0"),
            1,
            0,
            name("arg"),
            1,
            64, // 2: unnamed
            name("task"),
            STRUCT << 24 | 2,
            24,
            name("pid"),
            1,
            0,
            0,
            2,
            64, // 3: task
        ];
        let types: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut out = MAGIC.to_ne_bytes().to_vec();
        out.extend_from_slice(&[1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&types);
        out.extend_from_slice(strings);
        out
    }

    #[test]
    fn members_are_found_also_in_unnamed_structures() {
        let raw = sample();
        let btf = Btf::parse(&raw).unwrap();
        assert_eq!(btf.size("task"), Ok(24));
        assert_eq!(btf.offset("task", "pid"), Ok(0));
        assert_eq!(btf.offset("task", "a"), Ok(8));
        assert_eq!(btf.offset("task", "arg"), Ok(16));
        assert_eq!(btf.offset("task", "nothing"), Err(BtfError::Missing("task.nothing".to_owned())));
        assert_eq!(btf.offset("none", "pid"), Err(BtfError::Missing("none.pid".to_owned())));
    }

    #[test]
    fn damaged_descriptions_are_refused_and_never_read_past_their_end() {
        let raw = sample();
        for cut in 0..raw.len() {
            // Whatever is cut off: an answer or an error, no panic.
            if let Ok(btf) = Btf::parse(&raw[..cut]) {
                let _ = btf.offset("task", "arg");
            }
        }
        for at in 0..raw.len() {
            let mut bad = raw.clone();
            bad[at] ^= 0xff;
            if let Ok(btf) = Btf::parse(&bad) {
                let _ = btf.offset("task", "arg");
            }
        }
        assert!(Btf::parse(b"").is_err());
    }
}
