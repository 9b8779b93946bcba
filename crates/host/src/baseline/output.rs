//! Where the pages of a first record go: into the record, or, when linked files are in them, into a spool until all names are known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use greenroom_core::TreePath;

use super::file::{Writer, number};
use super::held::{Entry, Held};
use super::home::Home;
use super::keys::{KEY, Key};
use super::links::{self, Groups, Shared, Spool};
use super::page::{Filling, Reading};
use super::record::{child, dir_bytes};
use super::row::{Row, put_bytes, put_left_out, put_node, put_number};
use super::types::BaselineError;

/// What all threads write to.
pub(super) struct Output<'a> {
    home: &'a Home,
    out: Mutex<Out>,
}

struct Out {
    writer: Writer,
    groups: Groups,
    spool: Spool,
}

impl<'a> Output<'a> {
    pub(super) fn new(home: &'a Home, writer: Writer) -> Self {
        let out = Out { writer, groups: Groups::default(), spool: Spool::default() };
        Self { home, out: Mutex::new(out) }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All names are known: writes what waited for that.
    pub(super) fn finish(self) -> Result<Writer, BaselineError> {
        link(self.out.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where a page becomes bytes.
#[derive(Default)]
pub(super) struct Encoder {
    filling: Filling,
    keys: Vec<u8>,
    page: Vec<u8>,
    /// The linked files in the page.
    shared: Vec<(u32, Shared)>,
}

impl Encoder {
    /// Writes a page of which all is known.
    pub(super) fn write(&mut self, output: &Output<'_>, held: &Held) -> Result<(), BaselineError> {
        for (name, entry) in held.entries() {
            match entry {
                Entry::Waits | Entry::Gone => {}
                Entry::LeftOut(why) => {
                    self.filling.add(name, |out| put_left_out(out, *why));
                    Key::NONE.put(&mut self.keys);
                }
                Entry::State { node, key, shared } => {
                    if let Some(shared) = shared {
                        self.shared.push((self.filling.count(), *shared));
                        output.lock().groups.add(*shared, child(held.dir.as_ref(), name).as_bytes());
                    }
                    self.filling.add(name, |out| put_node(out, node));
                    key.put(&mut self.keys);
                }
            }
        }
        let count = self.filling.count();
        if count == 0 {
            return Ok(());
        }
        let dir = dir_bytes(held.dir.as_ref());
        self.filling.finish(dir, &mut self.page);
        debug_assert_eq!(self.keys.len(), count as usize * KEY);
        let mut out = output.lock();
        if self.shared.is_empty() {
            out.writer.page(number(dir), held.part, count, &self.page, &self.keys)?;
        } else {
            let mut waiting = vec![1];
            put_number(&mut waiting, held.part.into());
            put_bytes(&mut waiting, &self.page);
            put_bytes(&mut waiting, &self.keys);
            put_number(&mut waiting, self.shared.len() as u64);
            for (at, shared) in self.shared.drain(..) {
                put_number(&mut waiting, at.into());
                shared.put(&mut waiting);
            }
            out.spool.write(output.home, &waiting)?;
        }
        drop(out);
        self.keys.clear();
        Ok(())
    }
}

/// Writes the pages that waited for their files' groups.
fn link(out: Out) -> Result<Writer, BaselineError> {
    let Out { mut writer, groups, mut spool } = out;
    let fail = |error| BaselineError::system("read linked files")(error);
    let mut from = spool.read()?;
    let (mut filling, mut page, mut name) = (Filling::default(), Vec::new(), Vec::new());
    while let Some(more) = links::byte(&mut from).map_err(fail)? {
        debug_assert_eq!(more, 1);
        let (part, old, keys, shared) = waiting_page(&mut from).map_err(fail)?;
        let (Some((dir, mut rows)), mut at) = (Reading::new(&old), 0) else { continue };
        name.clear();
        while rows.left() > 0 {
            let Some(row) = rows.next(&mut name) else { break };
            let first = shared.iter().find(|(number, _)| *number == at).and_then(|(_, shared)| groups.first(shared));
            filling.add(&name, |out| match row {
                Row::LeftOut(why) => put_left_out(out, why),
                Row::State(state) => {
                    if let Some(mut node) = state.node() {
                        node.link = first.map(TreePath::new);
                        put_node(out, &node);
                    }
                }
            });
            at += 1;
        }
        filling.finish(dir, &mut page);
        writer.page(number(dir), part, at, &page, &keys)?;
    }
    Ok(writer)
}

type WaitingPage = (u32, Vec<u8>, Vec<u8>, Vec<(u32, Shared)>);

fn waiting_page(from: &mut impl std::io::Read) -> std::io::Result<WaitingPage> {
    let small = |value: u64| u32::try_from(value).map_err(std::io::Error::other);
    let part = small(links::number(from)?)?;
    let (page, keys) = (links::bytes(from)?, links::bytes(from)?);
    let mut shared = Vec::new();
    for _ in 0..links::number(from)? {
        shared.push((small(links::number(from)?)?, Shared::read(from)?));
    }
    Ok((part, page, keys, shared))
}
