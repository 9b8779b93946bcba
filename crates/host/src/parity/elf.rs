//! The tables of a program or library that say what it loads (System V ABI, chapter 5, and ld.so(8)).

use std::fs::File;
use std::ops::Range;

use object::Endianness;
use object::elf::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, DynamicTag, FileHeader32, FileHeader64,
};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::read::{ReadCache, ReadRef};

/// What a file says of what it loads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    /// Class and machine: a library of another is passed over.
    pub(super) machine: (u8, u16),
    /// The program that loads it.
    pub(super) interpreter: Option<String>,
    /// The name that it is asked for by.
    pub(super) soname: Option<String>,
    /// The names of the libraries that it asks for, in order.
    pub(super) needed: Vec<String>,
    /// Directories of `DT_RPATH`, which what it loads looks into as well.
    pub(super) rpath: Vec<String>,
    /// Directories of `DT_RUNPATH`.
    pub(super) runpath: Vec<String>,
}

/// Names that are asked for; more than any program has.
const MOST: usize = 1000;

/// No table that counts here is longer.
const LARGEST: u64 = 16 << 20;

/// A file that is read piece by piece, no piece of which is larger than it can be in a file that is what it claims.
#[derive(Clone, Copy)]
struct Pieces<'a>(&'a ReadCache<File>);

impl<'a> ReadRef<'a> for Pieces<'a> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > LARGEST { Err(()) } else { self.0.read_bytes_at(offset, size) }
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
}

/// `None`: it is no ELF file, or a broken one.
pub(super) fn tables(file: File) -> Option<Tables> {
    let cache = ReadCache::new(file);
    let data = Pieces(&cache);
    match data.read_bytes_at(0, 5).ok()? {
        [0x7f, b'E', b'L', b'F', 1] => read::<FileHeader32<Endianness>>(data, 1),
        [0x7f, b'E', b'L', b'F', 2] => read::<FileHeader64<Endianness>>(data, 2),
        _ => None,
    }
}

fn read<E: FileHeader<Endian = Endianness>>(data: Pieces<'_>, class: u8) -> Option<Tables> {
    let header = E::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let mut out = Tables { machine: (class, header.e_machine(endian).0), ..Tables::default() };
    let name = |bytes: &[u8]| greenroom_core::path::Shown(bytes).to_string();
    out.interpreter = segments.iter().find_map(|segment| segment.interpreter(endian, data).ok().flatten()).map(name);
    let Some(entries) = segments.iter().find_map(|segment| segment.dynamic(endian, data).ok().flatten()) else {
        return Some(out);
    };
    let number = |tag: DynamicTag| {
        entries.iter().find(|entry| entry.d_tag(endian) == tag).map(|entry| entry.d_val(endian).into())
    };
    let (Some(at), Some(size)): (Option<u64>, Option<u64>) = (number(DT_STRTAB), number(DT_STRSZ)) else {
        return Some(out);
    };
    let strings = segments.iter().find_map(|segment| segment.data_range(endian, data, at, size).ok().flatten())?;
    let string = |offset: u64| {
        let rest = strings.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|b| *b == 0)?;
        Some(name(&rest[..end]))
    };
    for entry in entries {
        let tag = entry.d_tag(endian);
        let Some(text) = string(entry.d_val(endian).into()).filter(|text| !text.is_empty()) else { continue };
        let dirs = || text.split(':').filter(|dir| !dir.is_empty()).map(str::to_owned).collect();
        match tag {
            DT_SONAME => out.soname = Some(text),
            DT_NEEDED if out.needed.len() < MOST => out.needed.push(text),
            DT_RPATH => out.rpath = dirs(),
            DT_RUNPATH => out.runpath = dirs(),
            _ => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_program_and_a_library_of_this_machine() {
        let shell = tables(File::open("/bin/sh").unwrap()).unwrap();
        assert!(shell.needed.iter().any(|name| name.starts_with("libc.so")), "{shell:?}");
        assert!(shell.interpreter.is_some_and(|path| path.contains("ld-linux")));
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.split_whitespace().find(|word| word.contains("/libc.so")).unwrap();
        assert!(tables(File::open(libc).unwrap()).unwrap().soname.is_some_and(|name| name.starts_with("libc.so")));
        assert_eq!(tables(File::open("/etc/passwd").unwrap()), None);
    }

    proptest! {
        #[test]
        fn a_damaged_file_does_no_harm(at in 0usize..4096, byte: u8, length in 0usize..200_000) {
            let mut data = std::fs::read("/bin/sh").unwrap();
            data[at] = byte;
            data.truncate(length);
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &data).unwrap();
            let _ = tables(file);
        }
    }
}
