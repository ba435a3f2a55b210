//! Who a thread number is, as far as the system tells: the only place that reads `/proc`.
//!
//! Reads nothing that could wait for the process's memory (`cmdline`, `maps`): a program may hold that while it waits
//! for an answer from the very drive that asks here. Where there is no `/proc`, or it hides others, nobody is known.

use std::fs;
use std::path::Path;

/// What `/proc/N/stat` says of a thread: changes when the number is given to another, or another program runs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thread {
    /// Name of the thread, at most 15 bytes.
    pub(super) name: String,
    /// When it began, in ticks since the system did.
    began: u64,
}

#[cfg(test)]
impl Thread {
    /// One of this name.
    pub(super) fn named(name: &str) -> Thread {
        Thread { name: name.to_owned(), began: 1 }
    }
}

/// The process a thread belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// File name of its program; where that may not be known, the name of its first thread.
    pub(super) program: String,
}

/// A thread, by its number.
pub(super) fn thread(number: u32) -> Option<Thread> {
    let stat = fs::read(format!("/proc/{number}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat))
}

/// `number (name) state parent ...`: the name may have anything in it, parentheses too.
fn parse_stat(stat: &str) -> Option<Thread> {
    /// Of the fields behind the name.
    const BEGAN: usize = 19;
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let began = rest.split_ascii_whitespace().nth(BEGAN)?.parse().ok()?;
    Some(Thread { name: name.to_owned(), began })
}

/// The process of a thread.
pub(super) fn process(number: u32) -> Option<Process> {
    let status = fs::read(format!("/proc/{number}/status")).ok()?;
    let pid = field(&String::from_utf8_lossy(&status), "Tgid:")?.parse().ok()?;
    let program = program(pid).or_else(|| Some(thread(pid)?.name))?;
    Some(Process { pid, program })
}

fn program(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_string_lossy();
    // What the system adds when a program was replaced while it ran.
    Some(name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned())
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// Memory of this process that is in use now, and the most there ever was, bytes.
#[must_use]
pub fn memory() -> Option<(u64, u64)> {
    let status = fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let bytes = |key| Some(field(&status, key)?.strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024);
    Some((bytes("VmRSS:")?, bytes("VmHWM:")?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_anything_in_them() {
        let fields = "S 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0";
        for name in ["cat", "a b", "x) S 1 (y", ")", ""] {
            let parsed = parse_stat(&format!("17 ({name}) {fields}")).unwrap();
            assert_eq!(parsed, Thread { name: name.to_owned(), began: 4242 });
        }
        for bad in ["", "17", "17 (cat", "17 (cat) S 1", "17 (cat) S 1 2 3 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 x 0"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn we_are_known() {
        let number = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let ours = std::thread::Builder::new().name("a thread of a long name".to_owned());
        let named = ours.spawn(|| thread(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs())).unwrap();
        assert_eq!(named.join().unwrap().unwrap().name, "a thread of a l");
        let found = process(number).unwrap();
        assert_eq!(found.pid, std::process::id());
        let program = std::env::current_exe().unwrap();
        assert_eq!(found.program, program.file_name().unwrap().to_str().unwrap());
        assert_eq!((thread(0), process(0)), (None, None));
        let (now, most) = memory().unwrap();
        assert!(now > 1 << 20 && most >= now / 2, "{now} {most}");
    }
}
