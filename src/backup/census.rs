//! Counting what there is to do, for a progress bar that knows its end: taken from the parent if there is one, else by
//! a walk of its own beside the backup.

use crate::format::page::add_bytes;
use crate::format::record::Snapshot;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::source;
use crate::source::Step;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Nodes between two messages.
const NODES_EACH: u64 = 20_000;

/// A count that is still to be made.
pub(super) struct Census<'a> {
    monitor: &'a dyn Monitor,
}

impl<'a> Census<'a> {
    /// Tells what the parent had; without one, and if the monitor cares, there is a count to be made.
    pub(super) fn new(parent: Option<&Snapshot>, monitor: &'a dyn Monitor, is_stream: bool) -> Option<Census<'a>> {
        if is_stream || !monitor.wants_total() {
            return None;
        }
        match parent {
            Some(parent) => {
                monitor.event(Event::Total { nodes: parent.nodes, bytes: parent.bytes });
                None
            }
            None => Some(Census { monitor }),
        }
    }

    /// Counts until the end, or until the backup is done. What cannot be counted the backup itself will report.
    pub(super) fn take(self, options: &source::Options, stop: &AtomicBool) {
        let Ok(walk) = source::walk(&source::Options { threads: 0, ..options.clone() }) else { return };
        let (mut nodes, mut bytes) = (0, 0);
        for step in walk {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if let Step::Found(found) = step {
                nodes += 1;
                bytes = add_bytes(bytes, if found.stat.is_file() { found.stat.size } else { 0 });
                if nodes % NODES_EACH == 0 {
                    self.monitor.event(Event::Total { nodes, bytes });
                }
            }
        }
        self.monitor.event(Event::Total { nodes, bytes });
    }
}
