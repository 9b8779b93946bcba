//! How likely a difference is the reason: 0 (never) to 100 (look here first). docs/reference.md has this table; a test
//! compares both.
//!
//! The order is an opinion, written down so that it can be argued with: code that runs comes before code that is only
//! there; what nobody recorded before what a version number shows; what a service reads before what it does not.

/// Why a difference has its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// A patched library.
    LibraryPatched,
    /// A library from somewhere else.
    LibraryForeign,
    /// A library of another version.
    LibraryVersion,
    /// A library on one side.
    LibraryOnly,
    /// A patched program.
    ProgramPatched,
    /// A program of another version.
    ProgramVersion,
    /// A patched file.
    PackageCode,
    /// Another patched file.
    PackageFile,
    /// A deleted file of a package.
    PackageFileGone,
    /// An interpreter.
    Runtime,
    /// A failed unit.
    UnitFailed,
    /// Environment.
    ServiceEnvironment,
    /// A unit's state.
    UnitState,
    /// Configuration of a service.
    ServiceConfiguration,
    /// Ports.
    Port,
    /// Locale.
    Locale,
    /// Time zone.
    TimeZone,
    /// Enabled.
    Unit,
    /// Privileges.
    Privilege,
    /// Limits.
    Limit,
    /// Sysctl.
    Sysctl,
    /// Configuration.
    Configuration,
    /// Boot parameter.
    BootParameter,
    /// Kernel.
    Kernel,
    /// Unpackaged code.
    Code,
    /// Package version.
    Package,
    /// Package on one side.
    PackageOnly,
    /// Mount.
    Mount,
    /// Configuration with another version of its package.
    ConfigurationOfVersion,
    /// User ids.
    User,
    /// Permissions.
    Permissions,
    /// CPU.
    Cpu,
    /// A file.
    File,
    /// Shown above already.
    PackageShown,
    /// By memory.
    SysctlSized,
    /// Comments.
    Comments,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Why.
    pub rank: Rank,
    /// The `kind` of such a difference.
    pub kind: &'static str,
    /// 0 to 100.
    pub weight: u8,
    /// When it is given.
    pub when: &'static str,
}

macro_rules! rows {
    ($($rank:ident $kind:literal $weight:literal $when:literal)*) => {
        &[$(Row { rank: Rank::$rank, kind: $kind, weight: $weight, when: $when }),*]
    };
}

/// All weights, heaviest first.
pub const TABLE: &[Row] = rows! {
    LibraryPatched "library" 100 "a shared library that services load: same package version, other content"
    LibraryForeign "library" 98 "a shared library that services load: on one side it belongs to no package"
    ProgramPatched "program" 96 "a service's program: same package version, or no package, and other content"
    LibraryVersion "library" 94 "a shared library that services load: another package version"
    ProgramVersion "program" 90 "a service's program: another package version"
    LibraryOnly "library" 88 "a shared library that services load on one side alone"
    PackageCode "package_file" 86 "code of a package that no service is known to load: same version, other content"
    Runtime "runtime" 84 "an interpreter or runtime: another version or another file"
    UnitFailed "unit" 82 "a unit that failed on one side"
    PackageFileGone "package_file" 80 "a file of a package that is installed on both sides is missing on one"
    ServiceEnvironment "service_environment" 78 "the environment of a service"
    UnitState "unit" 76 "a unit that runs on one side alone"
    PackageFile "package_file" 74 "another file of a package: same version, other content"
    ServiceConfiguration "configuration" 72 "configuration that bears the name of a service"
    Port "port" 70 "a port that somebody listens on, or another service on it"
    TimeZone "time_zone" 69 "the time zone"
    Locale "locale" 68 "the locale"
    Unit "unit" 66 "a unit that is enabled, disabled or masked"
    Privilege "permissions" 65 "setuid, setgid, capabilities or the immutable flag"
    Limit "limit" 64 "a limit of a running service"
    Sysctl "sysctl" 62 "a kernel parameter"
    Configuration "configuration" 60 "other configuration"
    BootParameter "boot_parameter" 58 "a parameter that the kernel was booted with"
    Kernel "kernel" 56 "the running kernel"
    Code "file" 54 "a program or library that belongs to no package"
    Package "package" 50 "a package: another version"
    PackageOnly "package" 48 "a package on one side alone"
    Mount "mount" 46 "a mounted file system"
    ConfigurationOfVersion "configuration" 44 "configuration of a package that has another version"
    User "user" 40 "a user or a group: id, home, shell, or on one side alone"
    Permissions "permissions" 36 "owner, group, mode or other attributes of a path"
    Cpu "cpu" 34 "what the processor is and can"
    File "file" 30 "any other file"
    PackageShown "package" 20 "a package whose library or program is listed above already"
    SysctlSized "sysctl" 12 "a kernel parameter that the kernel derives from the machine's memory and processors"
    Comments "configuration" 5 "configuration: comments, blanks and order alone"
};

impl Rank {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // Every rank has a row, by the test below.
        TABLE.iter().find(|row| row.rank == self).unwrap_or(&TABLE[TABLE.len() - 1])
    }
}

/// Libraries whose difference is felt first, by the start of their names: added to the weight as a tie-break.
pub const SENSITIVE: &[&str] = &["libssl.", "libcrypto.", "libgnutls.", "libc.so", "libstdc++.", "libcurl.", "libpq."];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn heaviest_first_and_each_once() {
        assert!(TABLE.windows(2).all(|pair| pair[0].weight > pair[1].weight));
        assert_eq!(TABLE.iter().map(|row| format!("{:?}", row.rank)).collect::<BTreeSet<_>>().len(), TABLE.len());
        for row in TABLE {
            assert_eq!(row.rank.row().weight, row.weight);
        }
        assert_eq!(TABLE.len(), Rank::Comments as usize + 1, "a rank without a row");
    }

    #[test]
    fn the_document_has_this_table() {
        let text = include_str!("../../../../docs/reference.md");
        for row in TABLE {
            let line = format!("| {} | `{}` | {} |", row.weight, row.kind, row.when);
            assert!(text.contains(&line), "docs/reference.md lacks:\n{line}");
        }
    }
}
