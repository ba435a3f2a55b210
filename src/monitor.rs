//! How a deed tells what it is doing: progress and non-fatal problems go to a [`Monitor`], never to the terminal.

use std::error::Error;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Something that happened during a deed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// How much there is to do, as far as known by now; replaces earlier figures.
    Total {
        /// Files and other nodes.
        nodes: u64,
        /// Bytes of content.
        bytes: u64,
    },
    /// Work on this path begins (snapshot path, or local path for a source).
    Path(&'a [u8]),
    /// This much more is done.
    Done {
        /// Files and other nodes.
        nodes: u64,
        /// Bytes of content.
        bytes: u64,
    },
    /// Left out on request (exclude rules and the like); for verbose output.
    Skipped {
        /// What was left out.
        path: &'a [u8],
        /// The reason, a few words.
        why: &'a str,
    },
    /// Something about a path that people should know; nothing failed.
    Note {
        /// What it is about.
        path: &'a [u8],
        /// A sentence.
        text: &'a str,
    },
    /// A dry run found something to do; for verbose output.
    Would {
        /// What it is about.
        path: &'a [u8],
        /// True for a folder.
        is_folder: bool,
        /// What would be done to it.
        deed: Deed,
    },
    /// One path failed and the deed goes on. Enough of these make exit code 3.
    Problem {
        /// What could not be done.
        path: &'a [u8],
        /// Why.
        cause: &'a (dyn Error + 'static),
    },
}

/// What would be done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Nothing is there yet.
    Create,
    /// Something else is there.
    Change,
    /// It would be gone.
    Remove,
}

/// Receives events, from any thread; and carries the user's wish to stop.
pub trait Monitor: Send + Sync {
    /// Takes note of one event. Must be quick: called from busy threads.
    fn event(&self, event: Event<'_>);

    /// True if it is worth the time to find out [`Event::Total`] before the work is done.
    fn wants_total(&self) -> bool {
        false
    }

    /// True if [`Event::Would`] is of interest: to tell it takes another look at what is there.
    fn wants_deeds(&self) -> bool {
        false
    }

    /// True once the user wants the deed to end early (Ctrl-C). Asked between steps.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Remembers problems and ignores the rest: for tests and for callers without a terminal.
#[derive(Debug, Default)]
pub struct Collect {
    /// Each problem as `path: cause: its cause ...`.
    pub problems: Mutex<Vec<String>>,
    /// Set it to cancel.
    pub cancelled: AtomicBool,
}

impl Monitor for Collect {
    fn event(&self, event: Event<'_>) {
        if let Event::Problem { path, cause } = event {
            let line = format!("{}: {}", crate::path::Show(path), chain(cause));
            self.problems.lock().expect("no panic while holding the lock").push(line);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// An error with all its causes on one line, each layer once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text += ": ";
        text += &next.to_string();
        cause = next.source();
    }
    text
}
