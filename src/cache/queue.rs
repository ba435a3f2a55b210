//! What is to be written, between the readers and the one thread that writes: bounded, never waited for.
//!
//! Segments that do not fit are dropped, for they can be fetched again. Marks of what was read are gathered for a
//! while, because each would cost a transaction otherwise. What is bad is forgotten first.

use crate::cache::lock;
use crate::cache::objects::Key;
use crate::cache::writer::Work;
use crate::id::ObjectId;
use std::collections::HashMap;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Marks are written when there are so many, or after a second.
const TOUCHES_SOON: usize = 1024;
/// More marks than that are dropped.
const TOUCHES_MAX: usize = 16 << 10;
const TOUCHES_WAIT: Duration = Duration::from_secs(1);

/// Shared by readers and the thread that writes.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Each with its turn.
    work: Vec<(u64, Work)>,
    bytes: usize,
    forgotten: HashMap<(ObjectId, i64), u8>,
    touched: HashMap<Touched, u64>,
    turn: u64,
    /// When the first of the marks was made.
    since: Option<Instant>,
    /// Somebody waits: nothing is gathered any longer.
    urgent: bool,
    is_busy: bool,
    stop_by: Option<Instant>,
    has_ended: bool,
}

#[derive(PartialEq, Eq, Hash)]
enum Touched {
    Run(ObjectId, i64),
    Object(Key),
}

impl Inner {
    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    fn is_empty(&self) -> bool {
        self.work.is_empty() && self.forgotten.is_empty() && self.touched.is_empty()
    }

    /// When something has to be done; `None` if nothing has.
    fn due(&self, now: Instant) -> Option<Instant> {
        let at_once = !self.work.is_empty() || !self.forgotten.is_empty() || self.touched.len() >= TOUCHES_SOON;
        if at_once || (self.urgent && !self.is_empty()) {
            return Some(now);
        }
        self.since.map(|since| since + TOUCHES_WAIT)
    }

    /// All there is, in the order in which it happened; first what must not be found again.
    fn take(&mut self) -> Vec<Work> {
        self.bytes = 0;
        self.since = None;
        let mut work = std::mem::take(&mut self.work);
        work.extend(self.touched.drain().map(|(touched, turn)| match touched {
            Touched::Run(pack, run) => (turn, Work::Touch(pack, run)),
            Touched::Object(key) => (turn, Work::TouchObject(key)),
        }));
        work.sort_by_key(|(turn, _)| *turn);
        let forgotten = self.forgotten.drain().map(|((pack, run), segments)| Work::Forget(pack, run, segments));
        forgotten.chain(work.into_iter().map(|(_, work)| work)).collect()
    }
}

impl Queue {
    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, time: Duration) -> MutexGuard<'a, Inner> {
        self.changed.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Adds work that holds so many bytes; false if it does not fit.
    pub(super) fn add(&self, work: Vec<Work>, bytes: usize, bytes_max: usize) -> bool {
        let mut inner = lock(&self.inner);
        if inner.stop_by.is_some() || inner.bytes.saturating_add(bytes) > bytes_max {
            return false;
        }
        inner.bytes += bytes;
        for work in work {
            let turn = inner.next_turn();
            inner.work.push((turn, work));
        }
        drop(inner);
        self.changed.notify_all();
        true
    }

    /// These segments of a run are bad.
    pub(super) fn forget(&self, pack: ObjectId, run: i64, segments: u8) {
        let mut inner = lock(&self.inner);
        if inner.forgotten.len() < TOUCHES_MAX {
            *inner.forgotten.entry((pack, run)).or_default() |= segments;
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// These runs were read.
    pub(super) fn touch_runs(&self, pack: ObjectId, runs: &[i64]) {
        self.touch(runs.iter().map(|run| Touched::Run(pack, *run)));
    }

    /// This object was read.
    pub(super) fn touch_object(&self, key: Key) {
        self.touch(std::iter::once(Touched::Object(key)));
    }

    fn touch(&self, all: impl Iterator<Item = Touched>) {
        let mut inner = lock(&self.inner);
        for touched in all {
            let turn = inner.next_turn();
            if inner.touched.len() < TOUCHES_MAX || inner.touched.contains_key(&touched) {
                inner.touched.insert(touched, turn);
            }
        }
        let is_first = inner.since.is_none();
        if is_first {
            inner.since = Some(Instant::now());
        }
        let is_much = inner.touched.len() >= TOUCHES_SOON;
        drop(inner);
        if is_first || is_much {
            self.changed.notify_all();
        }
    }

    /// Waits for work; nothing after `idle` without any. `None` when it is over.
    pub(super) fn take(&self, idle: Duration) -> Option<Vec<Work>> {
        let mut inner = lock(&self.inner);
        inner.is_busy = false;
        self.changed.notify_all();
        let until = Instant::now() + idle;
        loop {
            let now = Instant::now();
            if inner.stop_by.is_some_and(|by| now >= by || inner.is_empty()) {
                return None;
            }
            let due = inner.due(now);
            if now >= until || due.is_some_and(|due| now >= due) {
                inner.is_busy = true;
                return Some(inner.take());
            }
            let next = due.map_or(until, |due| due.min(until));
            inner = self.wait(inner, next - now);
        }
    }

    /// Whether the time to stop has come, whatever is left.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.inner).stop_by.is_some_and(|by| Instant::now() >= by)
    }

    /// The thread says that it will not come back.
    pub(super) fn end(&self) {
        lock(&self.inner).has_ended = true;
        self.changed.notify_all();
    }

    /// Waits until all is done that was asked for; false if that takes longer than `time`.
    pub(super) fn flush(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut inner = lock(&self.inner);
        inner.urgent = true;
        self.changed.notify_all();
        loop {
            let now = Instant::now();
            let is_done = inner.is_empty() && !inner.is_busy;
            if is_done || inner.has_ended || now >= until {
                inner.urgent = false;
                return is_done;
            }
            inner = self.wait(inner, until - now);
        }
    }

    /// Tells the thread to finish within `time`, and waits for that; false if it does not.
    pub(super) fn stop(&self, time: Duration) -> bool {
        let by = Instant::now() + time;
        let mut inner = lock(&self.inner);
        inner.urgent = true;
        inner.stop_by = Some(by);
        self.changed.notify_all();
        // A batch that was begun may end a little later.
        let until = by + time;
        while !inner.has_ended {
            let now = Instant::now();
            if now >= until {
                return false;
            }
            inner = self.wait(inner, until - now);
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PACK: ObjectId = ObjectId([1; 16]);

    fn named(name: &str) -> Vec<Work> {
        vec![Work::ForgetObject(Key::object("p", name))]
    }

    fn shown(work: &[Work]) -> Vec<String> {
        let show = |work: &Work| match work {
            Work::Forget(_, run, segments) => format!("forget {run} {segments:04b}"),
            Work::Touch(_, run) => format!("touch {run}"),
            Work::TouchObject(_) => "touch object".to_owned(),
            _ => "work".to_owned(),
        };
        work.iter().map(show).collect()
    }

    #[test]
    fn work_comes_in_order_with_the_bad_first_and_each_mark_once() {
        let queue = Queue::default();
        queue.touch_runs(PACK, &[5, 6]);
        assert!(queue.add(named("a"), 0, 0));
        queue.forget(PACK, 3, 0b0001);
        queue.touch_object(Key::object("p", "a"));
        queue.touch_runs(PACK, &[5]);
        queue.forget(PACK, 3, 0b0100);
        let work = queue.take(Duration::ZERO).unwrap();
        assert_eq!(shown(&work), ["forget 3 0101", "touch 6", "work", "touch object", "touch 5"]);
        assert!(queue.take(Duration::ZERO).unwrap().is_empty());
    }

    #[test]
    fn bytes_are_bounded_and_counted_off_when_taken() {
        let queue = Queue::default();
        assert!(queue.add(named("a"), 60, 100) && !queue.add(named("b"), 60, 100) && queue.add(named("c"), 40, 100));
        assert_eq!(queue.take(Duration::ZERO).unwrap().len(), 2);
        assert!(queue.add(named("b"), 60, 100));
    }

    #[test]
    fn what_is_left_is_done_before_the_end_if_there_is_time() {
        let queue = Queue::default();
        assert!(queue.add(named("a"), 0, 0));
        std::thread::scope(|scope| {
            let stopped = scope.spawn(|| queue.stop(Duration::from_secs(60)));
            let mut count = 0;
            while let Some(work) = queue.take(Duration::from_secs(60)) {
                count += work.len();
            }
            queue.end();
            assert!(stopped.join().unwrap());
            assert_eq!(count, 1);
        });
        assert!(!queue.add(named("b"), 0, 0) && queue.flush(Duration::ZERO));
    }
}
