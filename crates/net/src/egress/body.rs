//! Bodies: relayed by their framing with a fixed buffer, never held as a whole. Chunks are taken apart and made anew; chunk
//! extensions and trailers are dropped.

use std::io;

use super::wire::Wire;

/// The longest chunk-size line, and all trailers together, in bytes.
const LINE_MAX: usize = 256;
const TRAILERS_MAX: usize = 16 * 1024;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Nothing,
    /// After so many bytes.
    Length(u64),
    /// With a chunk of size 0.
    Chunked,
    /// When the sender closes.
    UntilClose,
}

/// What stopped a relay.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The sender went away, or was silent for too long.
    #[error("the body ended too early")]
    Read(#[source] io::Error),
    /// The receiver went away, or did not take it.
    #[error("the body was not taken")]
    Write(#[source] io::Error),
    /// The chunks are not chunks.
    #[error("the body is malformed: {0}")]
    Malformed(&'static str),
}

/// Moves a body framed as `framing` from one side to the other; `chunk` puts what is passed on into chunks.
pub(super) fn relay(from: &mut Wire, framing: Framing, to: &mut Wire, chunk: bool) -> Result<(), RelayError> {
    match framing {
        Framing::Nothing => return Ok(()),
        Framing::Length(n) => relay_exactly(from, n, to, chunk)?,
        Framing::Chunked => loop {
            let size = chunk_size(from)?;
            if size == 0 {
                skip_trailers(from)?;
                break;
            }
            relay_exactly(from, size, to, chunk)?;
            if !line(from, 2)?.is_empty() {
                return Err(RelayError::Malformed("a chunk is longer than its size says"));
            }
        },
        Framing::UntilClose => {
            while some(from)? {
                let held = from.buffered().len();
                pass(from, held, to, chunk)?;
            }
        }
    }
    if chunk { to.write_all(b"0\r\n\r\n").map_err(RelayError::Write) } else { Ok(()) }
}

fn relay_exactly(from: &mut Wire, mut left: u64, to: &mut Wire, chunk: bool) -> Result<(), RelayError> {
    while left > 0 {
        if !some(from)? {
            return Err(RelayError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let now = from.buffered().len().min(usize::try_from(left).unwrap_or(usize::MAX));
        pass(from, now, to, chunk)?;
        left -= now as u64;
    }
    Ok(())
}

/// Passes the first `count` buffered bytes on.
fn pass(from: &mut Wire, count: usize, to: &mut Wire, chunk: bool) -> Result<(), RelayError> {
    if chunk {
        let mut framed = format!("{count:x}\r\n").into_bytes();
        framed.extend_from_slice(&from.buffered()[..count]);
        framed.extend_from_slice(b"\r\n");
        to.write_all(&framed).map_err(RelayError::Write)?;
    } else {
        to.write_all(&from.buffered()[..count]).map_err(RelayError::Write)?;
    }
    from.consume(count);
    Ok(())
}

/// Makes sure that something is buffered; `false` when the sender has closed.
fn some(from: &mut Wire) -> Result<bool, RelayError> {
    if !from.buffered().is_empty() {
        return Ok(true);
    }
    from.fill(None).map(|n| n > 0).map_err(RelayError::Read)
}

/// Takes one line that ends in CR LF, without it, at most `max` bytes with it.
fn line(from: &mut Wire, max: usize) -> Result<Vec<u8>, RelayError> {
    loop {
        let held = from.buffered();
        if let Some(lf) = held.iter().take(max).position(|&b| b == b'\n') {
            let taken = held[..lf].to_vec();
            from.consume(lf + 1);
            return match taken.split_last() {
                Some((b'\r', text)) if !text.contains(&b'\r') => Ok(text.to_vec()),
                _ => Err(RelayError::Malformed("a line does not end in CR LF")),
            };
        }
        if held.len() >= max {
            return Err(RelayError::Malformed("a line between chunks is too long"));
        }
        if from.fill(None).map_err(RelayError::Read)? == 0 {
            return Err(RelayError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn chunk_size(from: &mut Wire) -> Result<u64, RelayError> {
    parse_size(&line(from, LINE_MAX)?).ok_or(RelayError::Malformed("a chunk has no size"))
}

/// `chunk-size [ chunk-ext ]` (RFC 9112, section 7.1). At most 15 digits: beyond that it is no size but an attempt to overflow.
fn parse_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|&b| matches!(b, b';' | b' ' | b'\t')).unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    let extension = rest.trim_ascii_start();
    if digits.is_empty() || digits.len() > 15 || !(extension.is_empty() || extension.starts_with(b";")) {
        return None;
    }
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn skip_trailers(from: &mut Wire) -> Result<(), RelayError> {
    let mut left = TRAILERS_MAX;
    loop {
        let trailer = line(from, left)?;
        if trailer.is_empty() {
            return Ok(());
        }
        left = left.saturating_sub(trailer.len() + 2);
    }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_of_chunks() {
        for (line, size) in [
            ("0", Some(0)),
            ("1a", Some(26)),
            ("00fF", Some(255)),
            ("5;name=value", Some(5)),
            ("5 ;x", Some(5)),
            ("5 ", Some(5)),
            ("", None),
            (";x", None),
            ("-1", None),
            ("+1", None),
            ("0x5", None),
            ("5 5", None),
            ("fffffffffffffffff", None),
        ] {
            assert_eq!(parse_size(line.as_bytes()), size, "{line:?}");
        }
    }
}
