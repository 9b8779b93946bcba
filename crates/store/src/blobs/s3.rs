//! Blobs in a bucket of S3, or of a server that speaks the same.
//!
//! Objects have the names that files have in a directory, `PREFIX/ab/cdef…`, so a store can be copied from one to the other
//! with any tool. A content is hashed before it has its name, in a file without a name below `scratch`; a large one is
//! sent in parts. S3 shows an object only as a whole and keeps what it acknowledged, so [`BlobStore::sync`] has nothing
//! to do.
//!
//! An object whose length is right is taken for the content and not sent again: what damages an object at the same length is
//! found when it is read, and mended by [`BlobStore::remove`] and putting it again.
//!
//! The trait blocks and the client doesn't: each store has a runtime of its own, with one thread. Called from another runtime it
//! has to be on a thread that may block. Who wants many contents, or brings many, does not wait for each ([`ahead`]).

mod ahead;

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use greenroom_core::ContentHash;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, WriteMultipart};
use rustix::fs::{Mode, OFlags};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use self::ahead::{Ahead, Held, PLACES, Room, Sending};
use super::dir::pump;
use super::{BlobError, BlobStore, Hashes, Intake, Listing, Opened, Openings, Stored, opened};

/// What is longer is sent in parts of this length. S3 wants 5 MiB at least.
const PART: u64 = 8 * 1024 * 1024;

/// So many parts are on their way at once.
const PARTS: usize = 4;

/// Where a bucket is, and how to be let in.
#[derive(Clone, Default)]
pub struct S3Address {
    /// The bucket.
    pub bucket: String,
    /// What all names begin with; empty for none.
    pub prefix: String,
    /// The server, `https://HOST[:PORT]`; Amazon's if absent. Plain `http://` is for tests and for a server on this machine.
    pub endpoint: Option<String>,
    /// The region, where it matters.
    pub region: Option<String>,
    /// Key and secret. Without, what the machine's own role gives.
    pub credentials: Option<(String, String)>,
}

impl S3Address {
    /// Reads `s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME]`. Credentials are never part of an address.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("s3://").ok_or("it does not begin with s3://")?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err("it names no bucket".into());
        }
        let mut address = Self { bucket: bucket.into(), prefix: prefix.trim_matches('/').into(), ..Self::default() };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("endpoint", url)) => address.endpoint = Some(url.into()),
                Some(("region", name)) => address.region = Some(name.into()),
                _ => return Err(format!("it knows `endpoint` and `region`, not `{option}`")),
            }
        }
        Ok(address)
    }
}

/// Blobs in a bucket.
#[derive(Debug)]
pub struct S3Blobs {
    bucket: AmazonS3,
    prefix: String,
    /// The bucket and prefix, as messages name them.
    place: String,
    scratch: PathBuf,
    /// For what nobody waits for yet.
    places: Arc<Semaphore>,
    /// Absent only while this is dropped.
    runtime: Option<Runtime>,
}

impl S3Blobs {
    /// Opens the store at `address`. Nothing is asked of the server yet. Below the directory `scratch` are contents on their
    /// way, in files without names: the largest must have room there.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the address makes no sense.
    pub fn open(address: &S3Address, scratch: &Path) -> Result<Self, BlobError> {
        // The client takes the process's provider of cryptography. Whoever chose one before has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let place = format!("s3://{}/{}", address.bucket, address.prefix);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&address.bucket)
            .with_region(address.region.as_deref().unwrap_or("us-east-1"))
            .with_disable_bulk_delete(true);
        if let Some(endpoint) = &address.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some((key, secret)) = &address.credentials {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
        }
        let failed = |source| BlobError::Io { what: "use", path: place.clone().into(), source };
        let bucket = builder.build().map_err(|error| failed(io::Error::other(error)))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
        let prefix = address.prefix.clone();
        let places = Arc::new(Semaphore::new(PLACES));
        Ok(Self { bucket, prefix, place, scratch: scratch.into(), places, runtime: Some(runtime) })
    }

    fn runtime(&self) -> &Runtime {
        match &self.runtime {
            Some(runtime) => runtime,
            None => unreachable!("only drop takes it"),
        }
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime().block_on(work)
    }

    fn key(&self, hash: ContentHash) -> Key {
        let text = hash.to_string();
        let parts = self.prefix.split('/').filter(|part| !part.is_empty()).chain([&text[..2], &text[2..]]);
        parts.collect()
    }

    fn failed(&self, what: &'static str, hash: ContentHash, error: object_store::Error) -> BlobError {
        match error {
            object_store::Error::NotFound { .. } => BlobError::Absent(hash),
            error => BlobError::Io { what, path: self.name(hash), source: io::Error::other(error) },
        }
    }

    fn name(&self, hash: ContentHash) -> PathBuf {
        format!("s3://{}/{}", self.place.trim_start_matches("s3://").split('/').next().unwrap_or(""), self.key(hash))
            .into()
    }

    /// A file without a name.
    fn scratch_file(&self) -> Result<File, BlobError> {
        let oflags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.scratch, oflags, Mode::RUSR | Mode::WUSR);
        file.map(File::from).map_err(|error| self.scratch_failed(error.into()))
    }

    fn scratch_failed(&self, source: io::Error) -> BlobError {
        BlobError::Io { what: "write a file in", path: self.scratch.clone(), source }
    }

    /// Sends what `file` has from its beginning.
    fn send(&self, file: &mut File, hash: ContentHash, length: u64) -> Result<(), BlobError> {
        if self.length(hash)? == Some(length) {
            return Ok(());
        }
        file.rewind().map_err(|error| self.scratch_failed(error))?;
        let key = self.key(hash);
        if length <= PART {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|error| self.scratch_failed(error))?;
            return match self.block_on(self.bucket.put(&key, bytes.into())) {
                Ok(_) => Ok(()),
                Err(error) => Err(self.failed("send", hash, error)),
            };
        }
        let failed = |error| self.failed("send", hash, error);
        self.block_on(async {
            let upload = self.bucket.put_multipart(&key).await.map_err(failed)?;
            let mut parts = WriteMultipart::new_with_chunk_size(upload, usize::try_from(PART).unwrap_or(usize::MAX));
            let mut buffer = vec![0; 1024 * 1024];
            loop {
                if let Err(error) = parts.wait_for_capacity(PARTS).await {
                    // The server forgets what came of it.
                    let _ = parts.abort().await;
                    return Err(failed(error));
                }
                match file.read(&mut buffer) {
                    Ok(0) => return parts.finish().await.map(|_| ()).map_err(failed),
                    Ok(length) => parts.write(&buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        let _ = parts.abort().await;
                        return Err(self.scratch_failed(error));
                    }
                }
            }
        })
    }

    /// Gives a content, from this offset on, to `chunk` as it comes; the hash and length of that.
    fn receive(
        &self,
        hash: ContentHash,
        from: u64,
        mut chunk: impl FnMut(&[u8]) -> Result<(), BlobError>,
    ) -> Result<(ContentHash, u64), BlobError> {
        let failed = |error| self.failed("fetch", hash, error);
        self.block_on(async {
            let mut hasher = blake3::Hasher::new();
            let range = (from > 0).then_some(GetRange::Offset(from));
            let options = GetOptions { range, ..GetOptions::default() };
            let mut stream = self.bucket.get_opts(&self.key(hash), options).await.map_err(failed)?.into_stream();
            while let Some(bytes) = stream.try_next().await.map_err(failed)? {
                hasher.update(&bytes);
                chunk(&bytes)?;
            }
            Ok((hasher.finalize().into(), hasher.count()))
        })
    }

    /// A content in a file, and the hash of what was not known yet: it begins with `known`.
    fn fetch(&self, hash: ContentHash, known: &[u8]) -> Result<(File, ContentHash), BlobError> {
        let mut file = self.scratch_file()?;
        let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(|error| self.scratch_failed(error));
        write(known)?;
        let (found, _) = self.receive(hash, known.len() as u64, write)?;
        file.rewind().map_err(|error| self.scratch_failed(error))?;
        Ok((file, found))
    }

    fn found(
        &self,
        hash: ContentHash,
        found: Result<ObjectMeta, object_store::Error>,
    ) -> Result<Option<u64>, BlobError> {
        match found {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look for", hash, error)),
        }
    }

    fn stage(&self, reader: &mut dyn Read) -> Result<(File, ContentHash, u64), BlobError> {
        let mut file = self.scratch_file()?;
        let (hash, length) = pump(
            reader,
            |bytes| file.write_all(bytes).map_err(|error| self.scratch_failed(error)),
            |source| BlobError::Stream { what: "read", source },
        )?;
        Ok((file, hash, length))
    }
}

impl BlobStore for S3Blobs {
    fn put_bytes(&self, bytes: &[u8]) -> Result<ContentHash, BlobError> {
        self.put_reader(&mut &*bytes)
    }

    fn put_reader(&self, reader: &mut dyn Read) -> Result<ContentHash, BlobError> {
        let (mut file, hash, length) = self.stage(reader)?;
        self.send(&mut file, hash, length)?;
        Ok(hash)
    }

    fn put_promised(&self, reader: &mut dyn Read, promised: ContentHash) -> Result<bool, BlobError> {
        let (mut file, hash, length) = self.stage(reader)?;
        if hash == promised {
            self.send(&mut file, hash, length)?;
        }
        Ok(hash == promised)
    }

    fn intake(&self) -> Box<dyn Intake + '_> {
        Box::new(Sending::new(self))
    }

    fn adopt_link(&self, dir: BorrowedFd<'_>, source: &Path, hash: ContentHash) -> Result<(), BlobError> {
        let mut file = open_regular(dir, source)?;
        let (mut staged, found, length) = self.stage(&mut file)?;
        if found != hash {
            return Err(BlobError::Changed { path: source.into(), promised: hash, found });
        }
        self.send(&mut staged, hash, length)
    }

    fn open(&self, hash: ContentHash) -> Result<File, BlobError> {
        Ok(self.fetch(hash, &[])?.0)
    }

    fn open_all<'a>(&'a self, hashes: &'a [ContentHash]) -> Openings<'a> {
        let room = Room::new(self);
        let begin = move |bucket, key| room.clone().begin(bucket, key);
        Box::new(Ahead::new(self, hashes, begin).map(|(hash, came)| match came {
            Some((Ok(begun), place)) if begun.bytes.len() as u64 == begun.length => {
                Ok(Opened { length: begun.length, content: Box::new(Held::new(begun, place)) })
            }
            Some((Ok(begun), _)) => opened(self.fetch(hash, &begun.bytes)?.0, hash),
            // Whatever is wrong is said as of one that is opened alone. An empty one comes here too: no part of it can be asked for.
            Some((Err(_), _)) | None => opened(self.open(hash)?, hash),
        }))
    }

    fn open_verified(&self, hash: ContentHash) -> Result<File, BlobError> {
        let (file, found) = self.fetch(hash, &[])?;
        if found == hash { Ok(file) } else { Err(BlobError::Damaged { hash, found }) }
    }

    fn copy_out(&self, hash: ContentHash, writer: &mut dyn Write) -> Result<u64, BlobError> {
        let (found, length) = self.receive(hash, 0, |bytes| {
            writer.write_all(bytes).map_err(|source| BlobError::Stream { what: "write", source })
        })?;
        if found == hash { Ok(length) } else { Err(BlobError::Damaged { hash, found }) }
    }

    fn read_range(&self, hash: ContentHash, from: u64, length: u64) -> Result<Vec<u8>, BlobError> {
        let Some(whole) = self.length(hash)? else { return Err(BlobError::Absent(hash)) };
        let end = from.saturating_add(length).min(whole);
        if from >= end {
            return Ok(Vec::new());
        }
        let bytes = self.block_on(self.bucket.get_range(&self.key(hash), from..end));
        bytes.map(|bytes| bytes.to_vec()).map_err(|error| self.failed("fetch", hash, error))
    }

    fn length(&self, hash: ContentHash) -> Result<Option<u64>, BlobError> {
        self.found(hash, self.block_on(self.bucket.head(&self.key(hash))))
    }

    fn lengths(&self, hashes: &[ContentHash]) -> Result<Vec<Option<u64>>, BlobError> {
        let look = |bucket: AmazonS3, key| async move { bucket.head(&key).await };
        let looks = Ahead::new(self, hashes, look);
        looks.map(|(hash, came)| came.map_or_else(|| self.length(hash), |(found, _)| self.found(hash, found))).collect()
    }

    fn remove(&self, hash: ContentHash) -> Result<bool, BlobError> {
        if self.length(hash)?.is_none() {
            return Ok(false);
        }
        self.block_on(self.bucket.delete(&self.key(hash))).map_err(|error| self.failed("remove", hash, error))?;
        Ok(true)
    }

    fn iter(&self) -> Hashes<'_> {
        Box::new(self.listing().map(|one| one.map(|(hash, _)| hash)))
    }

    fn listing(&self) -> Listing<'_> {
        let prefix = Key::from(self.prefix.as_str());
        let listed = self.block_on(self.bucket.list(Some(&prefix)).try_collect::<Vec<_>>());
        let objects = match listed {
            Ok(objects) => objects,
            Err(error) => {
                let source = io::Error::other(error);
                return Box::new(std::iter::once(Err(BlobError::Io {
                    what: "list",
                    path: self.place.clone().into(),
                    source,
                })));
            }
        };
        // Other names are none of ours.
        Box::new(objects.into_iter().filter_map(move |object| {
            let hash: ContentHash = object
                .location
                .as_ref()
                .rsplitn(3, '/')
                .take(2)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<String>()
                .parse()
                .ok()?;
            let stored = Stored { bytes: object.size, since: object.last_modified.timestamp() };
            (self.key(hash) == object.location).then_some(Ok((hash, stored)))
        }))
    }

    fn verify(&self, hash: ContentHash) -> Result<(), BlobError> {
        self.copy_out(hash, &mut io::sink()).map(|_| ())
    }

    fn sync(&self) -> Result<(), BlobError> {
        Ok(())
    }
}

impl Drop for S3Blobs {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime that is dropped inside another one panics; this way it doesn't wait.
            runtime.shutdown_background();
        }
    }
}

/// Opens a file that is handed in, and nothing but a file.
fn open_regular(dir: BorrowedFd<'_>, path: &Path) -> Result<File, BlobError> {
    let failed = |source| BlobError::Io { what: "read", path: path.into(), source };
    let oflags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, path, oflags, Mode::empty()) {
        // A symbolic link.
        Err(rustix::io::Errno::LOOP) => Err(BlobError::NotAFile(path.into())),
        Err(error) => Err(failed(error.into())),
        Ok(file) => {
            let file = File::from(file);
            if file.metadata().map_err(failed)?.is_file() { Ok(file) } else { Err(BlobError::NotAFile(path.into())) }
        }
    }
}
