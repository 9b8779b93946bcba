//! Many contents in one stream: how they go over a network.
//!
//! ```text
//! stream  = zstd of frame*            ends where the last frame ends
//! frame   = hash[32] u64(length) byte[length]       little-endian
//! ```
//! Whoever packs promises hashes; whoever [unpacks](unpack) believes none of them: a content that is something else is not stored.
//! Neither side needs a content in memory as a whole, and the window of the compression is bounded.

use std::io::{self, Read, Write};

use greenroom_core::ContentHash;

use super::{BlobError, BlobStore, Intake};

/// The level of compression. The next higher one takes half as much time again for a tenth less.
const LEVEL: i32 = -1;

/// The largest window that is unpacked, as a power of two: 8 MiB.
const WINDOW: u32 = 23;

/// How much is read at once.
const CHUNK: usize = 128 * 1024;

/// Why a stream was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Nobody asked for this.
    #[error("the content {0} was not asked for")]
    Unasked(ContentHash),
    /// It ends within a frame, or is no stream of contents.
    #[error("the stream of contents is broken")]
    Stream(#[source] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Contents that were stored.
    pub stored: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Contents that were not what their hash says, and were not stored.
    pub changed: Vec<ContentHash>,
}

/// Packs contents.
pub struct Packer<W: Write>(zstd::Encoder<'static, W>);

impl<W: Write> Packer<W> {
    /// A stream into `out`.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(out: W) -> io::Result<Self> {
        zstd::Encoder::new(out, LEVEL).map(Self)
    }

    /// Puts in exactly `length` bytes of `content`. What is shorter is filled up and what is longer cut off: the other end sees
    /// that it is not `hash`, and the stream stays whole.
    ///
    /// # Errors
    /// `content` cannot be read (nothing was put in then, unless it failed after its first bytes), or the stream not be written.
    pub fn put(&mut self, hash: ContentHash, length: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK)).max(1)];
        let mut left = length;
        let mut got = if left > 0 { read(content, &mut buffer)? } else { 0 };
        self.0.write_all(&hash.0)?;
        self.0.write_all(&length.to_le_bytes())?;
        while left > 0 {
            if got == 0 {
                io::copy(&mut io::repeat(0).take(left), &mut self.0)?;
                break;
            }
            let some = usize::try_from(left).unwrap_or(got).min(got);
            self.0.write_all(&buffer[..some])?;
            left -= some as u64;
            // What fails from here on ends the content early, as if somebody had cut it.
            got = if left > 0 { read(content, &mut buffer).unwrap_or(0) } else { 0 };
        }
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(self) -> io::Result<W> {
        self.0.finish()
    }
}

fn read(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match content.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Stores the contents of a stream, each that is what its hash says. `wanted` is asked for each by its hash and length, and ends
/// it all by a no. What was stored before an error stays; it is durable after a sync, as ever.
///
/// # Errors
/// See [`PackError`].
pub fn unpack(
    from: impl Read,
    store: &dyn BlobStore,
    mut wanted: impl FnMut(ContentHash, u64) -> bool,
) -> Result<Unpacked, PackError> {
    let mut intake = store.intake();
    let unpacked = take(from, &mut *intake, &mut wanted);
    let there = intake.end();
    let unpacked = unpacked?;
    there?;
    Ok(unpacked)
}

fn take(
    from: impl Read,
    intake: &mut dyn Intake,
    wanted: &mut dyn FnMut(ContentHash, u64) -> bool,
) -> Result<Unpacked, PackError> {
    let mut stream = zstd::Decoder::new(from).map_err(PackError::Stream)?;
    stream.window_log_max(WINDOW).map_err(PackError::Stream)?;
    let mut out = Unpacked::default();
    while let Some((hash, length)) = head(&mut stream).map_err(PackError::Stream)? {
        if !wanted(hash, length) {
            return Err(PackError::Unasked(hash));
        }
        let mut content = (&mut stream).take(length);
        match intake.put(&mut content, hash) {
            // It ends before the content does.
            Ok(false) if content.limit() > 0 => return Err(PackError::Stream(io::ErrorKind::UnexpectedEof.into())),
            Ok(true) => (out.stored, out.bytes) = (out.stored + 1, out.bytes + length),
            Ok(false) => out.changed.push(hash),
            Err(BlobError::Stream { source, .. }) => return Err(PackError::Stream(source)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(out)
}

/// The head of the next frame; `None`: there is none.
fn head(stream: &mut impl Read) -> io::Result<Option<(ContentHash, u64)>> {
    let mut first = [0; 1];
    if read(stream, &mut first)? == 0 {
        return Ok(None);
    }
    let (mut hash, mut length) = ([0; 32], [0; 8]);
    hash[0] = first[0];
    stream.read_exact(&mut hash[1..])?;
    stream.read_exact(&mut length)?;
    Ok(Some((ContentHash(hash), u64::from_le_bytes(length))))
}
