//! Runs the program and stops it before every system call that changes files, to kill it there, to let the call fail,
//! or to write down what it did.
//!
//! Calls are counted over all threads, in the order in which they begin. Only those count that name something below
//! the folders of interest: what goes to the terminal or between threads is left alone. System calls are numbered and
//! called as on x86-64; on other processors these tests are left out.

use nix::libc;
use nix::sys::ptrace;
use nix::sys::ptrace::Options;
use nix::sys::wait::WaitPidFlag;
use nix::sys::wait::WaitStatus;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// What a call does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum What {
    Create,
    Write,
    Truncate,
    Sync,
    Mkdir,
    Rename,
    Link,
    Unlink,
    /// Times, modes, owners, extended attributes.
    Meta,
}

impl What {
    /// True if it may fail because the disk is full.
    pub(crate) fn takes_space(self) -> bool {
        matches!(self, What::Create | What::Write | What::Sync | What::Mkdir | What::Rename | What::Link)
    }
}

/// A system call that is about to happen, or has.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) what: What,
    pub(crate) path: PathBuf,
    /// The second name of a rename or link.
    pub(crate) to: PathBuf,
    /// Where it writes, or how long the file becomes; `None`: where the last one ended.
    pub(crate) offset: Option<u64>,
    /// What it writes, if that is recorded.
    pub(crate) bytes: Vec<u8>,
    /// How many calls had succeeded when this one began.
    pub(crate) began: usize,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Go,
    /// The program is killed before it.
    Kill,
    /// Half of what should be written is written, then the program is killed; as `Kill` if it writes nothing.
    Tear,
    /// It does nothing and fails with this number.
    Fail(i32),
}

/// Says what becomes of each call.
pub(crate) trait Watch {
    /// Before a call.
    fn before(&mut self, call: &Call) -> Act;

    /// After a call that succeeded.
    fn after(&mut self, _call: Call) {}

    /// Whether the bytes that are written are of interest.
    fn wants_bytes(&self) -> bool {
        false
    }
}

/// Does this to the call of this number, counted from 1.
pub(crate) struct At {
    pub(crate) number: usize,
    pub(crate) act: Act,
    pub(crate) calls: usize,
    /// The call it came to.
    pub(crate) hit: Option<Call>,
}

impl At {
    pub(crate) fn new(number: usize, act: Act) -> At {
        At { number, act, calls: 0, hit: None }
    }
}

impl Watch for At {
    fn before(&mut self, call: &Call) -> Act {
        self.calls += 1;
        if self.calls != self.number {
            return Act::Go;
        }
        self.hit = Some(call.clone());
        self.act
    }
}

/// How a run ended.
pub(crate) struct Traced {
    /// `None` if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end, or until it is killed. `below`: the folders of interest, without links in their names.
#[allow(clippy::zombie_processes)] // the tracer waits for it
pub(crate) fn run(command: &Command, below: &[&Path], watch: &mut dyn Watch) -> Traced {
    let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    // It waits until somebody watches it.
    let mut waiting = Command::new("sh");
    waiting.args(["-c", "read go; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    waiting.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    waiting.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    waiting.stdin(Stdio::piped()).stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
    let mut child = waiting.spawn().unwrap();
    let leader = Pid::from_raw(child.id().cast_signed());
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(leader, options).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let code = Tracer { leader, below, watch, threads: HashMap::new(), ended: 0, is_dead: false }.run();
    // The tracer has waited for it already.
    let _no_child_any_more = child.wait();
    Traced { code, stdout: fs::read_to_string(out.path()).unwrap(), stderr: fs::read_to_string(err.path()).unwrap() }
}

/// What a thread is doing.
#[derive(Default)]
struct Thread {
    /// It is within a system call.
    is_inside: bool,
    /// That one is of interest.
    call: Option<Call>,
    act: Option<Act>,
}

struct Tracer<'a> {
    leader: Pid,
    below: &'a [&'a Path],
    watch: &'a mut dyn Watch,
    threads: HashMap<i32, Thread>,
    ended: usize,
    is_dead: bool,
}

impl Tracer<'_> {
    fn run(mut self) -> Option<i32> {
        let mut is_running = false;
        loop {
            // Other tests have children of their own.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let (thread, signal) = match waitpid(None::<Pid>, Some(flags)).unwrap() {
                WaitStatus::Exited(thread, code) if thread == self.leader => return (!self.is_dead).then_some(code),
                WaitStatus::Signaled(thread, ..) if thread == self.leader => return None,
                WaitStatus::PtraceSyscall(thread) => {
                    self.stopped(thread);
                    (thread, None)
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        is_running = true;
                        self.threads.insert(thread.as_raw(), Thread { is_inside: true, ..Thread::default() });
                    }
                    (thread, None)
                }
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                _ => continue,
            };
            // It may be dead already.
            let _ = if is_running { ptrace::syscall(thread, signal) } else { ptrace::cont(thread, signal) };
        }
    }

    /// A thread is about to enter a system call, or has left it.
    fn stopped(&mut self, thread: Pid) {
        let state = self.threads.entry(thread.as_raw()).or_default();
        state.is_inside = !state.is_inside;
        if self.is_dead {
            return;
        }
        if state.is_inside {
            self.entered(thread);
        } else if let Some(call) = state.call.take() {
            let act = state.act.take();
            self.left(thread, call, act);
        }
    }

    fn entered(&mut self, thread: Pid) {
        let Ok(mut registers) = ptrace::getregs(thread) else { return };
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8];
        let Some(mut call) = self.call_of(thread, registers.orig_rax, arguments) else { return };
        call.began = self.ended;
        let act = self.watch.before(&call);
        match act {
            Act::Go => {}
            Act::Tear if call.what == What::Write && registers.rdx > 1 => {
                registers.rdx /= 2;
                ptrace::setregs(thread, registers).unwrap();
            }
            Act::Kill | Act::Tear => return self.kill(),
            Act::Fail(_) => {
                registers.orig_rax = u64::MAX;
                ptrace::setregs(thread, registers).unwrap();
            }
        }
        let state = self.threads.get_mut(&thread.as_raw()).unwrap();
        (state.call, state.act) = (Some(call), Some(act));
    }

    fn left(&mut self, thread: Pid, mut call: Call, act: Option<Act>) {
        let Ok(mut registers) = ptrace::getregs(thread) else { return };
        match act {
            Some(Act::Tear) => self.kill(),
            Some(Act::Fail(error)) => {
                registers.rax = i64::from(-error).cast_unsigned();
                ptrace::setregs(thread, registers).unwrap();
            }
            _ if registers.rax.cast_signed() >= 0 => {
                call.bytes.truncate(usize::try_from(registers.rax).unwrap());
                self.watch.after(call);
                self.ended += 1;
            }
            _ => {}
        }
    }

    fn kill(&mut self) {
        self.is_dead = true;
        let leader = rustix::process::Pid::from_raw(self.leader.as_raw()).unwrap();
        rustix::process::kill_process(leader, rustix::process::Signal::KILL).unwrap();
    }

    /// The call, if it changes something below the folders of interest.
    fn call_of(&self, thread: Pid, number: u64, arguments: [u64; 5]) -> Option<Call> {
        let [a, b, c, d, _] = arguments;
        let fd = |fd: u64| fs::read_link(format!("/proc/{thread}/fd/{}", fd as i32)).unwrap_or_default();
        let named = |at: u64, name: u64| self.path(thread, Some(at), name);
        let here = |name: u64| self.path(thread, None, name);
        let creates = |flags: u64| flags & (libc::O_CREAT as u64) != 0;
        let number = i64::try_from(number).ok()?;
        let mut offset = None;
        let mut to = PathBuf::new();
        let (what, path) = match number {
            libc::SYS_write => (What::Write, fd(a)),
            libc::SYS_pwrite64 => {
                offset = Some(d);
                (What::Write, fd(a))
            }
            libc::SYS_open if creates(b) => (What::Create, here(a)),
            libc::SYS_openat if creates(c) => (What::Create, named(a, b)),
            // The flags are the first field of what the third argument points to.
            libc::SYS_openat2 if creates(self.word(thread, c)) => (What::Create, named(a, b)),
            libc::SYS_mkdir => (What::Mkdir, here(a)),
            libc::SYS_mkdirat => (What::Mkdir, named(a, b)),
            libc::SYS_rename => {
                to = here(b);
                (What::Rename, here(a))
            }
            libc::SYS_renameat | libc::SYS_renameat2 => {
                to = named(c, d);
                (What::Rename, named(a, b))
            }
            libc::SYS_link => {
                to = here(b);
                (What::Link, here(a))
            }
            libc::SYS_linkat => {
                to = named(c, d);
                (What::Link, named(a, b))
            }
            libc::SYS_symlink => (What::Create, here(b)),
            libc::SYS_symlinkat => (What::Create, named(b, c)),
            libc::SYS_mknodat => (What::Create, named(a, b)),
            libc::SYS_unlink | libc::SYS_rmdir => (What::Unlink, here(a)),
            libc::SYS_unlinkat => (What::Unlink, named(a, b)),
            libc::SYS_fsync | libc::SYS_fdatasync => (What::Sync, fd(a)),
            libc::SYS_ftruncate => {
                offset = Some(b);
                (What::Truncate, fd(a))
            }
            libc::SYS_fchmod | libc::SYS_fchown | libc::SYS_fsetxattr => (What::Meta, fd(a)),
            libc::SYS_utimensat if b == 0 => (What::Meta, fd(a)),
            libc::SYS_utimensat | libc::SYS_fchownat | libc::SYS_fchmodat => (What::Meta, named(a, b)),
            _ => return None,
        };
        let is_ours = |path: &Path| self.below.iter().any(|folder| path.starts_with(folder));
        if !is_ours(&path) {
            return None;
        }
        let mut bytes = Vec::new();
        if what == What::Write && self.watch.wants_bytes() {
            bytes = vec![0; usize::try_from(c).unwrap()];
            let memory = File::open(format!("/proc/{thread}/mem")).unwrap();
            memory.read_exact_at(&mut bytes, b).unwrap();
        }
        Some(Call { what, path, to, offset, bytes, began: 0 })
    }

    fn word(&self, thread: Pid, at: u64) -> u64 {
        let mut word = [0; 8];
        let memory = File::open(format!("/proc/{thread}/mem"));
        let _ = memory.and_then(|memory| memory.read_exact_at(&mut word, at));
        u64::from_le_bytes(word)
    }

    /// A name in the memory of the thread, made absolute.
    fn path(&self, thread: Pid, at: Option<u64>, name: u64) -> PathBuf {
        let mut bytes = vec![0; 4096];
        let read = File::open(format!("/proc/{thread}/mem")).and_then(|memory| memory.read_at(&mut bytes, name));
        bytes.truncate(read.unwrap_or(0));
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
        bytes.truncate(end);
        let name = PathBuf::from(OsString::from_vec(bytes));
        if name.is_absolute() {
            return name;
        }
        let folder = match at.map(|at| at as i32) {
            None | Some(libc::AT_FDCWD) => fs::read_link(format!("/proc/{thread}/cwd")),
            Some(fd) => fs::read_link(format!("/proc/{thread}/fd/{fd}")),
        };
        folder.unwrap_or_default().join(name)
    }
}
