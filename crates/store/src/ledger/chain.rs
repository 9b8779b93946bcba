//! What is hashed: one entry, field by field.
//!
//! Canonical encoding, version 1, fed to BLAKE3 in its key derivation mode with the context [`CONTEXT`]:
//!
//! * the fields in the order of [`Row::hash`], beginning with `prev`;
//! * each field is a presence byte (0 absent, 1 present); if present, its length in bytes as 64 bits little endian, and
//!   its bytes. Texts are their UTF-8, `seq` and `uid` are 64 bits little endian, hashes are their hexadecimal text.
//!
//! Lengths before the bytes make it injective: no text can slide from one field into the next.

use super::{Actor, Entry};

/// Keeps these hashes apart from all other uses of BLAKE3. A new encoding gets a new context.
const CONTEXT: &str = "greenroom ledger entry v1";

/// An entry as it is stored: `detail` is the JSON text.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) at: String,
    pub(super) kind: String,
    pub(super) actor: Actor,
    pub(super) change: Option<String>,
    pub(super) rehearsal: Option<String>,
    pub(super) root: String,
    pub(super) why: Option<String>,
    pub(super) detail: String,
    pub(super) once: Option<String>,
    pub(super) prev: String,
    /// As stored; [`Row::hash`] is what it should be.
    pub(super) hash: String,
}

impl Row {
    /// The hash of everything but `hash` itself, in lower-case hexadecimal.
    pub(super) fn hash(&self) -> String {
        let mut encoder = Encoder(blake3::Hasher::new_derive_key(CONTEXT));
        encoder.text(&self.prev);
        encoder.bytes(&self.seq.to_le_bytes());
        encoder.text(&self.id);
        encoder.text(&self.at);
        encoder.text(&self.kind);
        encoder.text(&self.actor.user);
        encoder.bytes(&u64::from(self.actor.uid).to_le_bytes());
        encoder.maybe(self.actor.login_user.as_deref());
        encoder.maybe(self.actor.tty.as_deref());
        encoder.maybe(self.actor.from.as_deref());
        encoder.maybe(self.actor.command.as_deref());
        encoder.maybe(self.change.as_deref());
        encoder.maybe(self.rehearsal.as_deref());
        encoder.text(&self.root);
        encoder.maybe(self.why.as_deref());
        encoder.text(&self.detail);
        encoder.maybe(self.once.as_deref());
        encoder.0.finalize().to_hex().to_string()
    }

    /// The entry that callers see.
    pub(super) fn into_entry(self) -> Result<Entry, serde_json::Error> {
        Ok(Entry {
            detail: serde_json::from_str(&self.detail)?,
            seq: self.seq,
            id: self.id,
            at: self.at,
            kind: self.kind,
            actor: self.actor,
            change: self.change,
            rehearsal: self.rehearsal,
            root: self.root,
            why: self.why,
            once: self.once,
            prev: self.prev,
            hash: self.hash,
        })
    }
}

struct Encoder(blake3::Hasher);

impl Encoder {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&[1]);
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn maybe(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => {
                self.0.update(&[0]);
            }
        }
    }
}
