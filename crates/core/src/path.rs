//! A path in a host's tree: absolute, as bytes, because Linux allows every byte but `/` and NUL in a name.
//!
//! In JSON it is a string when it is UTF-8 and `{"base64": "…"}` when it is not. [`std::fmt::Display`] escapes what
//! could forge or hide a line of a report: control characters, invalid UTF-8, invisible and direction-changing ones.

use std::fmt;

use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An absolute path inside a host's tree. `/` is the tree's root, wherever that is mounted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// The root of the tree.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::from(&b"/"[..]))
    }

    /// Makes a path from bytes; a missing leading slash is added, doubled and trailing slashes go.
    ///
    /// `.` and `..` components are kept as they are: a caller that takes paths from outside checks
    /// [`TreePath::is_plain`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut out = Vec::with_capacity(bytes.len() + 1);
        for part in bytes.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            out.push(b'/');
            out.extend_from_slice(part);
        }
        if out.is_empty() {
            out.push(b'/');
        }
        Self(out.into_boxed_slice())
    }

    /// The child `name` of this directory.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut out = Vec::with_capacity(self.0.len() + name.len() + 1);
        if self.0.len() > 1 {
            out.extend_from_slice(&self.0);
        }
        out.push(b'/');
        out.extend_from_slice(name);
        Self(out.into_boxed_slice())
    }

    /// The bytes, with the leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes without the leading slash: what the *at* system calls take; `.` for the root.
    #[must_use]
    pub fn relative(&self) -> &[u8] {
        if self.0.len() == 1 { b"." } else { &self.0[1..] }
    }

    /// The directory this lies in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.0.len() == 1 {
            return None;
        }
        let cut = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(if cut == 0 { Self::root() } else { Self(Box::from(&self.0[..cut])) })
    }

    /// Whether this is the directory that `other` lies in.
    #[must_use]
    pub fn is_parent_of(&self, other: &Self) -> bool {
        match other.0.iter().rposition(|b| *b == b'/') {
            Some(0) => other.0.len() > 1 && self.0.len() == 1,
            Some(cut) => *self.0 == other.0[..cut],
            None => false,
        }
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let cut = self.0.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        &self.0[cut..]
    }

    /// Whether this is `ancestor` or lies below it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.0.len() == 1
            || (self.0.starts_with(&ancestor.0)
                && (self.0.len() == ancestor.0.len() || self.0[ancestor.0.len()] == b'/'))
    }

    /// Whether no component is `.`, `..` or holds a NUL byte: such a path names one place in the tree and no other.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0[1..].split(|b| *b == b'/').all(|part| part != b"." && part != b".." && !part.contains(&0))
    }

    /// The number of components.
    #[must_use]
    pub fn depth(&self) -> usize {
        if self.0.len() == 1 { 0 } else { self.0.iter().filter(|b| **b == b'/').count() }
    }
}

impl From<&str> for TreePath {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, f)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Bytes from a host, shown so that they cannot act on a terminal.
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f)
    }
}

fn escape(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                '\\' => f.write_str("\\\\")?,
                c if c.is_control() || is_invisible(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Characters that change or hide what is beside them: directional marks, zero-width characters, separators.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}')
}

impl Serialize for TreePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bytes_json::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for TreePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytes_json::deserialize(deserializer).map(|bytes: Vec<u8>| Self::new(&bytes))
    }
}

/// Bytes in JSON: a string when they are UTF-8, `{"base64": "…"}` when not.
pub mod bytes_json {
    use base64::Engine as _;

    use super::{Deserialize, Deserializer, STANDARD, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Repr<'a> {
        Text(std::borrow::Cow<'a, str>),
        Binary { base64: String },
    }

    /// Writes `bytes` as a string or as base64.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Repr::Text(text.into()).serialize(serializer),
            Err(_) => Repr::Binary { base64: STANDARD.encode(bytes) }.serialize(serializer),
        }
    }

    /// Reads what [`serialize`] wrote.
    ///
    /// # Errors
    /// Neither a string nor valid base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        match Repr::deserialize(deserializer)? {
            Repr::Text(text) => Ok(text.into_owned().into_bytes()),
            Repr::Binary { base64 } => STANDARD.decode(base64).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_nothing_that_acts_on_a_terminal() {
        let cases: &[(&[u8], &str)] = &[
            (b"/a\nb", "/a\\nb"),
            (b"/\x1b[31m", "/\\u{1b}[31m"),
            (b"/\xff\xfe", "/\\xff\\xfe"),
            ("/\u{202e}txt".as_bytes(), "/\\u{202e}txt"),
            (b"/back\\slash", "/back\\\\slash"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(TreePath::new(bytes).to_string(), *shown);
        }
    }

    proptest! {
        #[test]
        fn json_keeps_every_byte(names in proptest::collection::vec(proptest::collection::vec(1u8..=255, 1..20), 0..6)) {
            let mut path = TreePath::root();
            for name in &names {
                let name: Vec<u8> = name.iter().map(|b| if *b == b'/' { b'_' } else { *b }).collect();
                path = path.join(&name);
            }
            let json = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(&serde_json::from_str::<TreePath>(&json).unwrap(), &path);
            prop_assert_eq!(path.depth(), names.len());
            if let Some(parent) = path.parent() {
                prop_assert!(path.starts_with(&parent));
                prop_assert_eq!(parent.join(path.name()), path);
            }
        }
    }
}
