//! A process that can only compute: no files, no network, no other processes, bounded memory.

use landlock::ABI;
use landlock::Access;
use landlock::AccessFs;
use landlock::AccessNet;
use landlock::Ruleset;
use landlock::RulesetAttr;
use landlock::Scope;
use rustix::process::Resource;
use rustix::process::Rlimit;
use seccompiler::BpfProgram;
use seccompiler::SeccompAction;
use seccompiler::SeccompCmpArgLen;
use seccompiler::SeccompCmpOp;
use seccompiler::SeccompCondition;
use seccompiler::SeccompFilter;
use seccompiler::SeccompRule;
use std::collections::BTreeMap;
use std::io;

/// What a parser on one thread needs: pipes, memory, an end. Everything else ends the process.
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Those of them that name a file: input, output and errors only, for whoever
/// started the process may have left it more.
const CALLS_ON_FILES: &[libc::c_long] = &[libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev];

/// Gives up everything but standard input and output. Where the system has no Landlock the filter of system calls alone
/// has to do; without that one, nothing is read.
pub(super) fn enter(memory_bytes_max: u64) -> io::Result<()> {
    for (resource, most) in [(Resource::As, memory_bytes_max), (Resource::Core, 0), (Resource::Fsize, 0)] {
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    rustix::thread::set_no_new_privs(true)?;
    let _fewer_on_old_kernels = restrict_files();
    let filter = filter().map_err(io::Error::other)?;
    seccompiler::apply_filter(&filter).map_err(io::Error::other)
}

fn restrict_files() -> Result<(), landlock::RulesetError> {
    let abi = ABI::V6;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?;
    rules.create()?.restrict_self()?;
    Ok(())
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let only = |argument, compared, number| -> Result<_, seccompiler::BackendError> {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compared, number)?;
        Ok(vec![SeccompRule::new(vec![condition])?])
    };
    for call in CALLS_ON_FILES {
        calls.insert(*call, only(0, SeccompCmpOp::Le, 2)?);
    }
    // Memory, and no file.
    calls.insert(libc::SYS_mmap, only(4, SeccompCmpOp::Eq, u64::from(u32::MAX))?);
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(calls, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}
