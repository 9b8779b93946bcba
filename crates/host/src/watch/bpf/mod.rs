//! Forks and program starts as they happen, from inside the kernel.
//!
//! Two small programs ([`program`]) are put together by hand ([`asm`]) with the offsets of the running kernel ([`btf`]), so that
//! neither a compiler nor a table of kernels is needed. They write records to a ring ([`load`]); [`Tracer::read`] takes them out.
//! A record holds all of a process that is wanted: it does not matter whether the process is still there when it is read.
//!
//! Needs Linux 5.8 with its type description, and `CAP_BPF` with `CAP_PERFMON`, or root. Why so: docs/decisions/0016-attribution.md.

mod asm;
mod btf;
mod load;
mod program;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use program::{Maps, Offsets, at};

/// Enough for about 1,500 program starts that nobody has read yet.
const RING: u32 = 4 << 20;

/// Something that happened to a process. Numbers of processes are those of this process's pid namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Fork { pid: u32, parent: u32 },
    Exec(Box<Exec>),
}

impl Record {
    /// The process, and the one it comes from.
    pub(super) fn who(&self) -> (u32, u32) {
        match self {
            Self::Fork { pid, parent } => (*pid, *parent),
            Self::Exec(exec) => (exec.pid, exec.parent),
        }
    }
}

/// A program that began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exec {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) uid: u32,
    /// `u32::MAX` where nobody logged in.
    pub(super) login: u32,
    pub(super) comm: Vec<u8>,
    /// `pts3`, as the kernel calls it; empty without a terminal.
    pub(super) tty: Vec<u8>,
    /// The control group and those above it, innermost first.
    pub(super) groups: Vec<Vec<u8>>,
    /// The program file, by the name under which it was started; for a script its interpreter.
    pub(super) program: Vec<u8>,
    /// Arguments, each ended by NUL, cut after 4,096 bytes.
    pub(super) args: Vec<u8>,
    /// Environment, each ended by NUL, cut after 4,096 bytes.
    pub(super) env: Vec<u8>,
}

/// The programs at work.
pub(super) struct Tracer {
    ring: load::Ring,
    _held: Vec<OwnedFd>,
    lost: HashMap<u32, u32>,
}

impl Tracer {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// The kernel lacks something or does not allow it.
    pub(super) fn start() -> io::Result<Self> {
        // Before Linux 5.11 maps count against this limit.
        let all = rustix::process::Rlimit { current: None, maximum: None };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Memlock, all);
        let raw = fs::read("/sys/kernel/btf/vmlinux")?;
        let offsets = btf::Btf::parse(&raw).and_then(|btf| Offsets::of(&btf)).map_err(io::Error::other)?;
        let namespace = fs::metadata("/proc/self/ns/pid")?.ino();
        let namespace = u32::try_from(namespace).map_err(io::Error::other)?;
        let scratch = load::scratch(program::SCRATCH, 2)?;
        let ring = load::Ring::new(RING)?;
        let maps = Maps { scratch: scratch.as_raw_fd(), ring: ring.raw(), namespace };
        let mut held = Vec::from(load::attach(&program::fork(&offsets, maps), "sched_process_fork")?);
        held.extend(load::attach(&program::exec(&offsets, maps), "sched_process_exec")?);
        held.push(scratch);
        Ok(Self { ring, _held: held, lost: HashMap::new() })
    }

    /// Gives each record that is there to `take`, oldest first. True when records were lost since the last time.
    pub(super) fn read(&mut self, mut take: impl FnMut(Record)) -> bool {
        let Self { ring, lost, .. } = self;
        let mut more = false;
        ring.read(|raw| {
            if let Some(record) = parse(raw) {
                take(record);
            }
            // Each core counts for itself.
            let count = word(raw, at::LOST);
            let known = lost.entry(word(raw, at::CORE)).or_default();
            more |= *known != count;
            *known = count;
        });
        more
    }
}

impl AsFd for Tracer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

fn word(raw: &[u8], place: i16) -> u32 {
    let from = usize::try_from(place).unwrap_or(0);
    raw.get(from..from + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn parse(raw: &[u8]) -> Option<Record> {
    let (pid, parent) = (word(raw, at::PID), word(raw, at::PARENT));
    match word(raw, at::KIND) {
        program::FORK => Some(Record::Fork { pid, parent }),
        program::EXEC => {
            let part = |place: i16, len: i32| {
                let from = usize::try_from(place).ok()?;
                raw.get(from..from + usize::try_from(len).ok()?)
            };
            let name = |place, len| part(place, len).map(up_to_nul);
            let text = raw.get(usize::try_from(at::TEXT).ok()?..)?;
            let (args, env) = text.split_at_checked(word(raw, at::ARGS_LEN) as usize)?;
            let mut groups = Vec::new();
            for index in 0..3 {
                groups.push(name(at::GROUPS + index * at::GROUP_LEN as i16, at::GROUP_LEN)?);
            }
            Some(Record::Exec(Box::new(Exec {
                pid,
                parent,
                uid: word(raw, at::UID),
                login: word(raw, at::LOGIN),
                comm: name(at::COMM, at::COMM_LEN)?,
                tty: name(at::TTY, at::TTY_LEN)?,
                groups,
                program: name(at::PROGRAM, at::PROGRAM_LEN)?,
                args: args.to_vec(),
                env: env.get(..word(raw, at::ENV_LEN) as usize)?.to_vec(),
            })))
        }
        _ => None,
    }
}

fn up_to_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_are_cut_short_are_none() {
        let mut raw = vec![0u8; usize::try_from(at::TEXT).unwrap()];
        raw[..4].copy_from_slice(&program::EXEC.to_ne_bytes());
        raw[4..8].copy_from_slice(&77u32.to_ne_bytes());
        raw[20..24].copy_from_slice(&5u32.to_ne_bytes());
        raw.extend_from_slice(b"ls\0x\0");
        let Some(Record::Exec(exec)) = parse(&raw) else { panic!("no record") };
        assert_eq!((exec.pid, exec.args.as_slice()), (77, &b"ls\0x\0"[..]));
        for cut in 4..raw.len() {
            assert_eq!(parse(&raw[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn ten_thousand_short_lives_are_all_on_record() {
        greenroom_testkit::need_root!();
        use std::collections::HashSet;
        use std::process::Command;
        let mut tracer = Tracer::start().unwrap();
        let marker = format!("greenroom-{}", std::process::id());
        let (mut want, mut got) = (HashSet::new(), HashSet::new());
        let mut take = |got: &mut HashSet<u32>| {
            tracer.read(|record| {
                if let Record::Exec(exec) = record
                    && exec.args == format!("true\0{marker}\0").as_bytes()
                    && exec.parent == std::process::id()
                {
                    got.insert(exec.pid);
                }
            })
        };
        let mut lost = false;
        for count in 0..2_000 {
            let mut child = Command::new("true").arg(&marker).spawn().unwrap();
            want.insert(child.id());
            child.wait().unwrap();
            if count % 500 == 0 {
                lost |= take(&mut got);
            }
        }
        lost |= take(&mut got);
        assert!(!lost);
        assert_eq!(got, want);
    }
}
