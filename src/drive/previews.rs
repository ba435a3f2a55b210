//! Which programs make previews or build search indexes, and what they get: a folder of photos that is opened in a file
//! manager must not be fetched as a whole.
//!
//! Who opens a file decides; reading is never refused. A program is known by the name of the thread that asks or by the
//! file name of its program; never by what it does. Whoever is not known is an ordinary program.

use crate::drive::process::Process;
use crate::drive::process::Thread;

/// What programs that make previews get from a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Previews {
    /// Everything, like all programs. The system then opens files without asking.
    #[default]
    On,
    /// Files that are in memory or in the cache on disk as a whole; their opening of others is refused.
    Cached,
    /// Nothing: their opening of a file is refused.
    Off,
}

/// Programs and threads that make previews, or read files to index them. `*` at an end stands for anything.
const MAKERS: &[&str] = &[
    // Xfce, LXQt and others
    "tumblerd",
    "*-thumbnailer",
    "ffmpegthumbnailer",
    "ffmpegthumbs",
    // GNOME; not the loaders of glycin: they decode for viewers too, from files that those have opened
    "gnome-thumbnail*",
    // KDE: the name of the worker's thread; the one that copies is `KIO::WorkerThre`
    "kioslave5",
    "kioworker",
    "kio_thumbnail*",
    "thumbnail.so",
    // Indexers
    "baloo_file*",
    "tracker-extract*",
    "tracker-miner-f*",
    "localsearch*",
    "recollindex",
];

/// A thread's name is cut here by the system.
const THREAD_NAME_MAX: usize = 15;

/// Knows the programs that make previews.
#[derive(Debug, Default)]
pub(super) struct Makers {
    also: Vec<String>,
}

impl Makers {
    /// Those of the table, and these.
    pub(super) fn and(also: &[String]) -> Makers {
        Makers { also: also.to_vec() }
    }

    /// True if this thread makes previews.
    pub(super) fn has(&self, thread: &Thread, process: Option<&Process>) -> bool {
        let mut names = MAKERS.iter().copied().chain(self.also.iter().map(String::as_str));
        names.any(|name| is_thread(name, &thread.name) || process.is_some_and(|p| is_program(name, &p.program)))
    }
}

fn is_program(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        _ => name == pattern,
    }
}

/// The same for a name that may have been cut.
fn is_thread(pattern: &str, name: &str) -> bool {
    let cut = (0..=THREAD_NAME_MAX.min(pattern.len())).rev().find_map(|end| pattern.get(..end)).unwrap_or_default();
    is_program(pattern, name) || (pattern.len() > THREAD_NAME_MAX && !pattern.contains('*') && name == cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_maker(also: &[&str], thread: &str, program: &str) -> bool {
        let also: Vec<String> = also.iter().map(|name| (*name).to_owned()).collect();
        let process = Process { pid: 7, program: program.to_owned() };
        Makers::and(&also).has(&Thread::named(thread), Some(&process))
    }

    #[test]
    fn known_makers() {
        for (thread, program) in [
            ("pool-tumblerd", "tumblerd"),
            ("tumblerd", "python3.11"),
            ("gdk-pixbuf-thum", "gdk-pixbuf-thumbnailer"),
            ("evince-thumbnai", "evince-thumbnailer"),
            ("tokio-runtime-w", "glycin-thumbnailer"),
            ("kioslave5", "kioslave5"),
            ("baloo_file_extr", "baloo_file_extractor"),
            ("pool-spawner", "tracker-extract-3"),
            ("localsearch-3", "localsearch-3"),
        ] {
            assert!(is_maker(&[], thread, program), "{thread} {program}");
        }
    }

    #[test]
    fn ordinary_programs() {
        for (thread, program) in [
            ("thunar", "thunar"),
            ("KIO::WorkerThre", "dolphin"),
            ("cp", "cp"),
            ("rsync", "rsync"),
            ("loader", "pcmanfm"),
            ("gly-loader", "glycin-image-rs"),
            ("", ""),
            ("thumbnailer-x", "my-thumbnailers"),
        ] {
            assert!(!is_maker(&[], thread, program), "{thread} {program}");
        }
    }

    #[test]
    fn more_can_be_named() {
        assert!(is_maker(&["loader"], "loader", "pcmanfm"));
        assert!(is_maker(&["my-picture-indexer"], "my-picture-inde", "unknown"));
        assert!(is_maker(&["shot*"], "x", "shotwell"));
        assert!(!is_maker(&["loader"], "load", "load"));
    }
}
