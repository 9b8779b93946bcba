//! The two programs: what is noted when a process is forked and when it runs another program.
//!
//! They run in the kernel at its tracepoints `sched_process_fork(parent, child)` and `sched_process_exec(task, old, bprm)`, put
//! a record together in a scratch area of the core they run on, and hand it to a ring that the watch reads. They follow
//! pointers by `bpf_probe_read_kernel`, which gives zeros where an address is none, so nothing has to be checked on the way.
//!
//! Process numbers are those of the watch's own pid namespace, as fanotify gives them. A process that has no number there is
//! none of ours and leaves no record.

use super::asm::{Asm, Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, Reg, STACK, Width, helper};
use super::btf::{Btf, BtfError};

/// Where the parts of a record are. All numbers are of the machine's byte order.
pub(super) mod at {
    pub(crate) const KIND: i16 = 0;
    pub(crate) const PID: i16 = 4;
    pub(crate) const PARENT: i16 = 8;
    pub(crate) const UID: i16 = 12;
    pub(crate) const LOGIN: i16 = 16;
    pub(crate) const ARGS_LEN: i16 = 20;
    pub(crate) const ENV_LEN: i16 = 24;
    /// Records that this core could not hand over, since the start.
    pub(crate) const LOST: i16 = 28;
    /// The number of the core.
    pub(crate) const CORE: i16 = 32;
    pub(crate) const COMM: i16 = 40;
    pub(crate) const TTY: i16 = 56;
    /// The names of the control group and of the two above it.
    pub(crate) const GROUPS: i16 = 88;
    pub(crate) const PROGRAM: i16 = GROUPS + 3 * GROUP_LEN as i16;
    pub(crate) const TEXT: i16 = PROGRAM + PROGRAM_LEN as i16;
    pub(crate) const COMM_LEN: i32 = 16;
    pub(crate) const TTY_LEN: i32 = 32;
    pub(crate) const GROUP_LEN: i32 = 128;
    pub(crate) const PROGRAM_LEN: i32 = 256;
    /// The length of a fork's record.
    pub(crate) const FORK_LEN: i32 = 40;
    /// Of arguments and environment each no more than this is noted.
    pub(crate) const TEXT_LEN: i32 = 4096;
}

/// The scratch area.
pub(super) const SCRATCH: u32 = at::TEXT as u32 + 2 * at::TEXT_LEN as u32;

pub(super) const FORK: u32 = 1;
pub(super) const EXEC: u32 = 2;
/// `BPF_RB_NO_WAKEUP`: forks are read with what comes next.
const NO_WAKEUP: i32 = 1;
/// `BPF_RB_FORCE_WAKEUP`: otherwise the ring wakes nobody while forks in it are unread.
const WAKEUP: i32 = 2;
/// How deep pid namespaces can nest (`MAX_PID_NS_LEVEL`) is 32; a watch sits in the first few.
const LEVELS: i32 = 5;

/// Offsets in the running kernel.
pub(super) struct Offsets {
    task_pid: i32,
    task_tgid: i32,
    leader: i32,
    parent: i32,
    thread_pid: i32,
    cred: i32,
    mm: i32,
    login: Option<i32>,
    signal: i32,
    comm: i32,
    cgroups: i32,
    level: i32,
    numbers: i32,
    upid: i32,
    nr: i32,
    ns: i32,
    inum: i32,
    euid: i32,
    args: (i32, i32),
    env: (i32, i32),
    tty: i32,
    tty_name: i32,
    group: i32,
    node: i32,
    node_name: i32,
    node_parent: i32,
    interp: i32,
}

impl Offsets {
    pub(super) fn of(btf: &Btf<'_>) -> Result<Self, BtfError> {
        let task = |member: &str| btf.offset("task_struct", member);
        let mm = |member: &str| btf.offset("mm_struct", member);
        Ok(Self {
            task_pid: task("pid")?,
            task_tgid: task("tgid")?,
            leader: task("group_leader")?,
            parent: task("real_parent")?,
            thread_pid: task("thread_pid")?,
            cred: task("cred")?,
            mm: task("mm")?,
            // Only where the kernel has audit.
            login: task("loginuid").ok(),
            signal: task("signal")?,
            comm: task("comm")?,
            cgroups: task("cgroups")?,
            level: btf.offset("pid", "level")?,
            numbers: btf.offset("pid", "numbers")?,
            upid: btf.size("upid")?,
            nr: btf.offset("upid", "nr")?,
            ns: btf.offset("upid", "ns")?,
            inum: btf.offset("pid_namespace", "ns")? + btf.offset("ns_common", "inum")?,
            euid: btf.offset("cred", "euid")?,
            args: (mm("arg_start")?, mm("arg_end")?),
            env: (mm("env_start")?, mm("env_end")?),
            tty: btf.offset("signal_struct", "tty")?,
            tty_name: btf.offset("tty_struct", "name")?,
            group: btf.offset("css_set", "dfl_cgrp")?,
            node: btf.offset("cgroup", "kn")?,
            node_name: btf.offset("kernfs_node", "name")?,
            // Renamed in Linux 6.15.
            node_parent: btf.offset("kernfs_node", "__parent").or_else(|_| btf.offset("kernfs_node", "parent"))?,
            interp: btf.offset("linux_binprm", "interp")?,
        })
    }
}

/// Descriptors of the maps, and the namespace whose numbers are wanted.
#[derive(Clone, Copy)]
pub(super) struct Maps {
    pub(super) scratch: i32,
    pub(super) ring: i32,
    pub(super) namespace: u32,
}

// Places on the stack.
const POINTER: i16 = -8;
const START: i16 = -16;
const END: i16 = -24;
const SAVED: i16 = -32;
const BPRM: i16 = -40;
const KEY: i16 = -48;

struct Writer<'a> {
    asm: Asm,
    offsets: &'a Offsets,
    maps: Maps,
}

impl Writer<'_> {
    /// Copies `len` bytes from `base + off` in the kernel to `to + place`.
    fn read(&mut self, (to, place): (Reg, i16), len: i32, base: Reg, off: i32) {
        self.asm
            .mov(R3, base)
            .add(R3, off)
            .mov(R1, to)
            .add(R1, i32::from(place))
            .set(R2, len)
            .call(helper::READ_KERNEL);
    }

    /// Follows the pointer at `base + off` into `dst`.
    fn follow(&mut self, dst: Reg, base: Reg, off: i32) {
        self.read((STACK, POINTER), 8, base, off);
        self.asm.load(Width::Double, dst, STACK, POINTER);
    }

    /// Register 7 becomes the scratch area number `key` of this core.
    fn begin(&mut self, key: i32, kind: u32, done: Label) {
        let kind = kind as i32;
        self.asm.store_value(Width::Word, STACK, KEY, key).map(R1, self.maps.scratch).mov(R2, STACK);
        self.asm.add(R2, i32::from(KEY)).call(helper::MAP_LOOKUP).if_equal(R0, 0, done).mov(R7, R0);
        self.asm.store_value(Width::Word, R7, at::KIND, kind);
        self.asm.call(helper::CORE).store(Width::Word, R7, at::CORE, R0);
    }

    /// Writes the number that the process of `task` has in our namespace to `place` of the record, 0 where it has none. Uses
    /// registers 8 and 9.
    fn number(&mut self, task: Reg, place: i16) {
        let o = self.offsets;
        let (numbers, upid, nr, ns, inum, level) = (o.numbers, o.upid, o.nr, o.ns, o.inum, o.level);
        self.asm.store_value(Width::Word, R7, place, 0);
        self.follow(R8, task, o.thread_pid);
        let done = self.asm.label();
        for step in 0..LEVELS {
            let (found, next) = (self.asm.label(), self.asm.label());
            self.read((STACK, START), 4, R8, level);
            self.asm.load(Width::Word, R1, STACK, START).if_less(R1, step, done);
            self.follow(R9, R8, numbers + step * upid + ns);
            self.read((STACK, START), 4, R9, inum);
            // A 64-bit comparison with a sign-extended constant would be wrong for numbers from 0x80000000 on, which these are.
            self.asm.load(Width::Word, R1, STACK, START).load_u32(R2, self.maps.namespace);
            self.asm.if_equal_reg(R1, R2, found).jump(next).here(found);
            self.read((R7, place), 4, R8, numbers + step * upid + nr);
            self.asm.jump(done).here(next);
        }
        self.asm.here(done);
    }

    /// Hands over `len` bytes of the record and counts it when there was no room.
    fn output(&mut self, len: Result<i32, Reg>, flags: i32, done: Label) {
        match len {
            Ok(fixed) => self.asm.set(R3, fixed),
            Err(reg) => self.asm.mov(R3, reg),
        };
        self.asm.map(R1, self.maps.ring).mov(R2, R7).set(R4, flags).call(helper::RING_OUTPUT).if_equal(R0, 0, done);
        self.asm.load(Width::Word, R1, R7, at::LOST).add(R1, 1).store(Width::Word, R7, at::LOST, R1);
    }

    fn finish(mut self, done: Label) -> Vec<[u8; 8]> {
        self.asm.here(done).set(R0, 0).exit();
        self.asm.finish()
    }

    /// Copies the user memory between the two addresses at `bounds` of the memory description at `SAVED`, as much as is allowed,
    /// to the record at `TEXT` plus `after`; its length goes to `len` and to `place`.
    fn text(&mut self, bounds: (i32, i32), len: Reg, place: i16, after: Option<Reg>) {
        for (off, to) in [(bounds.0, START), (bounds.1, END)] {
            self.asm.load(Width::Double, R3, STACK, SAVED).add(R3, off).mov(R1, STACK).add(R1, i32::from(to));
            self.asm.set(R2, 8).call(helper::READ_KERNEL);
        }
        let fits = self.asm.label();
        self.asm.load(Width::Double, len, STACK, END).load(Width::Double, R1, STACK, START).sub_reg(len, R1);
        self.asm.if_at_most(len, at::TEXT_LEN, fits).set(len, at::TEXT_LEN).here(fits);
        self.asm.store(Width::Word, R7, place, len).mov(R1, R7).add(R1, i32::from(at::TEXT));
        if let Some(after) = after {
            self.asm.add_reg(R1, after);
        }
        self.asm.mov(R2, len).load(Width::Double, R3, STACK, START).call(helper::READ_USER);
    }
}

/// At `sched_process_fork`: the new process and the one it comes from. New threads leave no record.
pub(super) fn fork(offsets: &Offsets, maps: Maps) -> Vec<[u8; 8]> {
    let mut w = Writer { asm: Asm::default(), offsets, maps };
    let done = w.asm.label();
    w.asm.load(Width::Double, R8, R1, 0).load(Width::Double, R6, R1, 8).store(Width::Double, STACK, SAVED, R8);
    w.read((STACK, START), 4, R6, offsets.task_pid);
    w.read((STACK, END), 4, R6, offsets.task_tgid);
    w.asm.load(Width::Word, R1, STACK, START).load(Width::Word, R2, STACK, END).if_not_reg(R1, R2, done);
    w.begin(0, FORK, done);
    w.number(R6, at::PID);
    w.asm.load(Width::Word, R1, R7, at::PID).if_equal(R1, 0, done).load(Width::Double, R8, STACK, SAVED);
    w.follow(R6, R8, offsets.leader);
    w.number(R6, at::PARENT);
    w.output(Ok(at::FORK_LEN), NO_WAKEUP, done);
    w.finish(done)
}

/// At `sched_process_exec`: all that is to be known of the program that begins.
pub(super) fn exec(offsets: &Offsets, maps: Maps) -> Vec<[u8; 8]> {
    let mut w = Writer { asm: Asm::default(), offsets, maps };
    let done = w.asm.label();
    w.asm.load(Width::Double, R6, R1, 0).load(Width::Double, R2, R1, 16).store(Width::Double, STACK, BPRM, R2);
    w.begin(1, EXEC, done);
    w.number(R6, at::PID);
    w.asm.load(Width::Word, R1, R7, at::PID).if_equal(R1, 0, done);
    w.follow(R9, R6, offsets.parent);
    w.follow(R9, R9, offsets.leader);
    w.asm.store(Width::Double, STACK, SAVED, R6).mov(R6, R9);
    w.number(R6, at::PARENT);
    w.asm.load(Width::Double, R6, STACK, SAVED);
    w.follow(R9, R6, offsets.cred);
    w.read((R7, at::UID), 4, R9, offsets.euid);
    match offsets.login {
        Some(login) => w.read((R7, at::LOGIN), 4, R6, login),
        None => drop(w.asm.store_value(Width::Word, R7, at::LOGIN, -1)),
    }
    w.read((R7, at::COMM), at::COMM_LEN, R6, offsets.comm);
    w.follow(R9, R6, offsets.signal);
    w.follow(R9, R9, offsets.tty);
    w.read((R7, at::TTY), at::TTY_LEN, R9, offsets.tty_name);
    groups(&mut w);
    w.asm.load(Width::Double, R9, STACK, BPRM);
    w.follow(R9, R9, offsets.interp);
    string(&mut w, at::PROGRAM, at::PROGRAM_LEN, R9);
    w.follow(R9, R6, offsets.mm);
    w.asm.store(Width::Double, STACK, SAVED, R9);
    w.text(offsets.args, R8, at::ARGS_LEN, None);
    w.text(offsets.env, R9, at::ENV_LEN, Some(R8));
    w.asm.add_reg(R9, R8).add(R9, i32::from(at::TEXT));
    w.output(Err(R9), WAKEUP, done);
    w.finish(done)
}

fn string(w: &mut Writer<'_>, place: i16, len: i32, from: Reg) {
    // The scratch area keeps what was there before when nothing can be read.
    w.asm.store_value(Width::Word, R7, place, 0);
    w.asm.mov(R1, R7).add(R1, i32::from(place)).set(R2, len).mov(R3, from).call(helper::READ_KERNEL_STR);
}

/// The names of the control group in the unified hierarchy and of the two above it.
fn groups(w: &mut Writer<'_>) {
    let o = w.offsets;
    let (name, parent) = (o.node_name, o.node_parent);
    w.follow(R9, R6, o.cgroups);
    w.follow(R9, R9, o.group);
    w.follow(R9, R9, o.node);
    for index in 0..3 {
        w.follow(R8, R9, name);
        string(w, at::GROUPS + index * at::GROUP_LEN as i16, at::GROUP_LEN, R8);
        w.follow(R9, R9, parent);
    }
}
