//! Which version of the C library a program needs: the highest that one of its symbols names.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

/// A version of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

pub(super) fn of(program: &Path) -> Result<Version> {
    let table = super::text(Command::new("objdump").arg("-T").arg(program))?;
    highest(&table).with_context(|| format!("{} names no symbol of the C library", program.display()))
}

/// The highest of `GLIBC_2.34` and its like in the table of symbols that objdump(1) prints.
fn highest(table: &str) -> Option<Version> {
    let named = table.split(|c: char| c.is_whitespace() || "()".contains(c)).filter_map(|word| {
        let mut parts = word.strip_prefix("GLIBC_")?.split('.');
        Some(Version(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    });
    named.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_by_number_counts() {
        let table = "0000 DF *UND* 0000 (GLIBC_2.2.5) read\n0000 w D *UND* 0000 (GLIBC_2.34) x\n0 GLIBC_2.9 y GLIBC_PRIVATE z\n";
        assert_eq!(highest(table), Some(Version(2, 34)));
        assert_eq!(highest("nothing"), None);
        assert_eq!(Version(2, 35).to_string(), "2.35");
    }
}
