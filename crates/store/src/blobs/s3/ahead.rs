//! Several requests at once, for a caller who would wait for one after the other.
//!
//! What is asked for in an order is asked for before its turn ([`Ahead`]); what is put is on its way while the next is read
//! ([`Sending`]). That takes places: one for a request with [`PLACE`] bytes of its content, more for what is longer, all as long as
//! the bytes are here. A caller has [`EACH`] requests under way at most, in [`EACH`] and [`MORE`] places: 8 MiB. All of them
//! together have [`PLACES`]: 32 MiB, however many they are.
//!
//! Nobody waits for a place that another has, who may be as slow as a host's network: where there is none, one follows the other.
//! So does what is too long for all of this; it goes through a file.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use greenroom_core::ContentHash;
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _};
use tokio::sync::{OwnedSemaphorePermit as Permit, Semaphore};
use tokio::task::JoinHandle;

use super::S3Blobs;
use crate::blobs::{BlobError, BlobStore as _, Intake};

/// Requests that one caller has under way at most.
const EACH: usize = 32;

/// Places that the contents of one caller have at most besides, for what is longer than [`PLACE`].
const MORE: usize = 32;

/// Bytes in one place.
const PLACE: u64 = 128 * 1024;

/// Places that there are. Each may be a connection.
pub(super) const PLACES: usize = 256;

/// The places that so many bytes take.
fn places(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PLACE)).unwrap_or(u32::MAX)
}

/// What `work` makes of each name, in their order, and the place that it had; `None`: there was none.
pub(super) struct Ahead<'a, T, W> {
    store: &'a S3Blobs,
    names: std::slice::Iter<'a, ContentHash>,
    work: W,
    coming: VecDeque<(ContentHash, JoinHandle<(T, Permit)>)>,
}

impl<'a, T, W> Ahead<'a, T, W> {
    pub(super) fn new(store: &'a S3Blobs, names: &'a [ContentHash], work: W) -> Self {
        Self { store, names: names.iter(), work, coming: VecDeque::new() }
    }
}

impl<T: Send + 'static, F: Future<Output = T> + Send + 'static, W: Fn(AmazonS3, Key) -> F> Iterator
    for Ahead<'_, T, W>
{
    type Item = (ContentHash, Option<(T, Permit)>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.coming.len() < EACH
            && let Some(name) = self.names.as_slice().first()
            && let Ok(place) = Arc::clone(&self.store.places).try_acquire_owned()
        {
            let work = (self.work)(self.store.bucket.clone(), self.store.key(*name));
            self.coming.push_back((*name, self.store.runtime().spawn(async { (work.await, place) })));
            self.names.next();
        }
        match self.coming.pop_front() {
            Some((name, coming)) => Some((name, self.store.block_on(coming).ok())),
            None => self.names.next().map(|name| (*name, None)),
        }
    }
}

impl<T, W> Drop for Ahead<'_, T, W> {
    fn drop(&mut self) {
        for (_, coming) in &self.coming {
            coming.abort();
        }
    }
}

/// A content, or as much of it as there was a place for.
pub(super) struct Begun {
    pub(super) bytes: Vec<u8>,
    /// Of all of it.
    pub(super) length: u64,
    more: Option<[Permit; 2]>,
}

/// Where the contents of one caller find more places.
#[derive(Clone)]
pub(super) struct Room([Arc<Semaphore>; 2]);

impl Room {
    pub(super) fn new(store: &S3Blobs) -> Self {
        Self([Arc::new(Semaphore::new(MORE)), Arc::clone(&store.places)])
    }

    pub(super) async fn begin(self, bucket: AmazonS3, key: Key) -> Result<Begun, Error> {
        let options = GetOptions { range: Some(GetRange::Bounded(0..PLACE)), ..GetOptions::default() };
        let got = bucket.get_opts(&key, options).await?;
        let length = got.meta.size;
        let mut bytes = got.bytes().await?.to_vec();
        let have = bytes.len() as u64;
        let more = self.more(places(length.saturating_sub(have)));
        if have < length && more.is_some() {
            bytes.extend_from_slice(&bucket.get_range(&key, have..length).await?);
        }
        Ok(Begun { bytes, length, more })
    }

    fn more(self, places: u32) -> Option<[Permit; 2]> {
        let [own, all] = self.0.map(|room| room.try_acquire_many_owned(places).ok());
        Some([own?, all?])
    }
}

/// A content in its places.
pub(super) struct Held {
    bytes: io::Cursor<Vec<u8>>,
    _places: (Permit, Option<[Permit; 2]>),
}

impl Held {
    pub(super) fn new(begun: Begun, place: Permit) -> Self {
        Self { bytes: io::Cursor::new(begun.bytes), _places: (place, begun.more) }
    }
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

/// Contents that are being put.
pub(super) struct Sending<'a> {
    store: &'a S3Blobs,
    sent: VecDeque<(ContentHash, u32, JoinHandle<Sent>)>,
}

/// What was tried, and why it failed.
type Sent = Result<(), (&'static str, Error)>;

impl<'a> Sending<'a> {
    pub(super) fn new(store: &'a S3Blobs) -> Self {
        Self { store, sent: VecDeque::new() }
    }

    /// Waits until there are so many at most on their way, in so many places.
    fn wait(&mut self, most: usize, places: usize) -> Result<(), BlobError> {
        while self.sent.len() > most || self.sent.iter().map(|one| one.1 as usize).sum::<usize>() > places {
            let Some((hash, _, sent)) = self.sent.pop_front() else { break };
            let lost = |error| Err(("send", Error::Generic { store: "S3", source: Box::new(error) }));
            let sent = self.store.block_on(sent).unwrap_or_else(lost);
            sent.map_err(|(what, error)| self.store.failed(what, hash, error))?;
        }
        Ok(())
    }
}

impl Intake for Sending<'_> {
    fn put(&mut self, reader: &mut dyn Read, promised: ContentHash) -> Result<bool, BlobError> {
        let mut bytes = Vec::new();
        let read = Read::take(&mut *reader, MORE as u64 * PLACE + 1).read_to_end(&mut bytes);
        read.map_err(|source| BlobError::Stream { what: "read", source })?;
        let places = places(bytes.len() as u64).max(1);
        if places as usize > MORE {
            return self.store.put_promised(&mut bytes.chain(reader), promised);
        }
        if ContentHash::of(&bytes) != promised {
            return Ok(false);
        }
        self.wait(EACH - 1, EACH + MORE - places as usize)?;
        let place = Arc::clone(&self.store.places).try_acquire_many_owned(places).ok();
        let alone = place.is_none();
        let sending = send(self.store.bucket.clone(), self.store.key(promised), bytes);
        let sent = self.store.runtime().spawn(async {
            let _place = place;
            sending.await
        });
        self.sent.push_back((promised, places, sent));
        if alone { self.wait(0, 0) } else { Ok(()) }.map(|()| true)
    }

    fn end(mut self: Box<Self>) -> Result<(), BlobError> {
        self.wait(0, 0)
    }
}

/// Sends what is not there.
async fn send(bucket: AmazonS3, key: Key, bytes: Vec<u8>) -> Sent {
    match bucket.head(&key).await {
        Ok(there) if there.size == bytes.len() as u64 => return Ok(()),
        Ok(_) | Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(("look for", error)),
    }
    bucket.put(&key, bytes.into()).await.map(drop).map_err(|error| ("send", error))
}
