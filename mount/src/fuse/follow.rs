//! Where FUSE threads run: on the processor of the program that asks, as long as each hears little questions of one alone.
//!
//! Such a program sleeps until it is answered, so its processor is free, awake and warm. The scheduler does not know that, FUSE
//! does not tell it, and it prefers a processor that idles: to wake that one takes longer than most answers, in a virtual machine above
//! all. A cold `tar` of 50 000 small files takes 3.6 s with threads anywhere and 2.7 s like this, on two virtual processors. It cannot be had
//! whole: the scheduler moves the program away when it is woken by an answer, and is followed. Who reads much at once keeps two processors
//! busy and is served by another one.
//!
//! Threads that a FUSE thread starts are bound like it: a drive starts none, it works in tasks of its runtime.

use rustix::thread::CpuSet;
use rustix::thread::sched_getaffinity;
use rustix::thread::sched_setaffinity;
use std::cell::RefCell;
use std::fs;

/// Questions of one program in a row after which it is looked (again) where it runs: 20 us for each look.
const LOOK_EVERY: u32 = 32;
/// To read more than this at once is no little question.
const LITTLE_BYTES_MAX: u32 = 64 << 10;
/// Which of the numbers behind the name in `/proc/PID/stat` is the processor (field 39 of all).
const PROCESSOR_FIELD: usize = 36;

thread_local! {
    static FOLLOWER: RefCell<Follower> = RefCell::new(Follower::default());
}

/// This FUSE thread answers a question of the thread `pid` next.
pub(crate) fn heard(pid: u32) {
    FOLLOWER.with_borrow_mut(|follower| follower.heard(pid));
}

/// The same for a question for content.
pub(crate) fn heard_read(pid: u32, bytes: u32) {
    if bytes <= LITTLE_BYTES_MAX { heard(pid) } else { FOLLOWER.with_borrow_mut(Follower::leave) }
}

/// What one FUSE thread knows.
#[derive(Default)]
struct Follower {
    pid: u32,
    in_a_row: u32,
    /// The processor it is bound to, and all those it may run on.
    bound: Option<(usize, CpuSet)>,
}

impl Follower {
    fn heard(&mut self, pid: u32) {
        if pid != self.pid {
            self.leave();
            self.pid = pid;
        }
        self.in_a_row += 1;
        if self.in_a_row == LOOK_EVERY {
            self.in_a_row = 0;
            match processor(pid) {
                Some(processor) => self.go(processor),
                None => self.leave(),
            }
        }
    }

    fn go(&mut self, to: usize) {
        let home = match self.bound {
            Some((at, _)) if at == to => return,
            Some((_, home)) => Some(home),
            None => sched_getaffinity(None).ok(),
        };
        let mut there = CpuSet::new();
        there.set(to);
        match home.filter(|home| home.count() > 1 && home.is_set(to)) {
            Some(home) if sched_setaffinity(None, &there).is_ok() => self.bound = Some((to, home)),
            // Where it cannot follow, it must not stay behind either.
            _ => self.leave(),
        }
    }

    /// From now on anywhere again.
    fn leave(&mut self) {
        self.in_a_row = 0;
        if let Some((_, home)) = self.bound.take() {
            // It runs on one of them in any case.
            let _ = sched_setaffinity(None, &home);
        }
    }
}

/// Where a thread runs, or ran last.
fn processor(pid: u32) -> Option<usize> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything.
    let behind_name = stat.rsplit(|byte| *byte == b')').next()?;
    let number = str::from_utf8(behind_name).ok()?.split_ascii_whitespace().nth(PROCESSOR_FIELD)?.parse().ok()?;
    (number < CpuSet::MAX_CPU).then_some(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::thread;

    fn allowed() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect()
    }

    fn pid() -> u32 {
        u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap()
    }

    /// A thread that runs on one processor, until it is told to end; then it is waited for until the system has forgotten it.
    fn bound_to(place: usize) -> (u32, impl FnOnce()) {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = thread::Builder::new().name(") 1 2 3".to_owned()).spawn(move || {
            let mut there = CpuSet::new();
            there.set(place);
            sched_setaffinity(None, &there).unwrap();
            tell.send(pid()).unwrap();
            let _ = ended.recv();
        });
        let pid = told.recv().unwrap();
        (pid, move || {
            drop(end);
            thread.unwrap().join().unwrap();
            while processor(pid).is_some() {
                thread::yield_now();
            }
        })
    }

    #[test]
    fn who_cannot_follow_does_not_stay_behind() {
        let all = allowed();
        let follow = move || {
            let (pid, end) = bound_to(all[0]);
            (0..LOOK_EVERY).for_each(|_| heard(pid));
            assert_eq!(allowed(), all[..1]);
            // As if the caller had gone where this process may not run.
            FOLLOWER.with_borrow_mut(|follower| follower.go(CpuSet::MAX_CPU - 1));
            assert_eq!(allowed(), all);
            end();
        };
        thread::spawn(follow).join().unwrap();
    }

    #[test]
    fn a_thread_follows_one_caller_and_leaves_for_others_and_for_large_reads() {
        let home = allowed();
        let follow = move || {
            for processor in home.iter().copied().take(4) {
                let (pid, end) = bound_to(processor);
                (0..LOOK_EVERY - 1).for_each(|_| heard(pid));
                assert_eq!(allowed(), home);
                heard_read(pid, LITTLE_BYTES_MAX);
                assert_eq!(allowed(), [processor]);
                heard_read(pid, LITTLE_BYTES_MAX + 1);
                assert_eq!(allowed(), home);
                (0..LOOK_EVERY).for_each(|_| heard(pid));
                assert_eq!(allowed(), [processor]);
                heard(pid + 1);
                assert_eq!(allowed(), home);
                (0..10 * LOOK_EVERY).for_each(|turn| heard(pid + turn % 2));
                assert_eq!(allowed(), home);
                (0..LOOK_EVERY).for_each(|_| heard(pid));
                end();
                (0..LOOK_EVERY).for_each(|_| heard(pid));
                assert_eq!(allowed(), home, "its caller is gone");
            }
        };
        thread::spawn(follow).join().unwrap();
    }
}
