//! Who reads how much from a drive, and what programs that make previews get of it.
//!
//! The drive sees what the system does not have in memory; a second reading of a file is not counted. Memory is bounded
//! however many programs come.

use crate::drive::faults::Faults;
use crate::drive::previews::Makers;
use crate::drive::previews::Previews;
use crate::drive::process;
use crate::drive::process::Thread;
use bygone_mount::Answer;
use bygone_mount::DriveError;
use bygone_mount::drive::Caller;
use bygone_mount::drive::Result;
use bytes::Bytes;
use lru::LruCache;
use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Programs told apart; the rest is one sum.
const PROGRAMS_MAX: usize = 64;
const THREADS_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not 0");
/// How long a thread is taken for the same without a look: it could run another program, or have ended.
const TRUST: Duration = Duration::from_millis(250);

/// What one program got from a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// File name of the program.
    pub program: String,
    /// Its process.
    pub pid: u32,
    /// Content it was given, bytes: what it read, and small files that it opened.
    pub bytes: u64,
    /// Openings it was refused because it makes previews.
    pub refused: u64,
}

/// What a drive gave to programs since it was mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Content, bytes.
    pub bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Reads that were answered at once, from memory.
    pub reads_at_once: u64,
    /// Reads that failed.
    pub reads_failed: u64,
    /// Openings refused to makers of previews.
    pub refused: u64,
    /// The programs, those who got most first.
    pub readers: Vec<Reader>,
    /// Bytes of programs that are not remembered one by one.
    pub bytes_of_others: u64,
}

/// Watches over the readers of a drive.
#[derive(Debug, Default)]
pub struct Watch {
    previews: Previews,
    makers: Makers,
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    threads: LruCache<u32, Known>,
    seen: Seen,
}

impl Default for State {
    fn default() -> State {
        State { threads: LruCache::new(THREADS_MAX), seen: Seen::default() }
    }
}

/// What was found out about a thread.
#[derive(Debug, Clone)]
struct Known {
    thread: Thread,
    who: Who,
    looked: Instant,
}

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Who {
    program: Arc<str>,
    pid: u32,
    makes_previews: bool,
}

impl Watch {
    /// With this rule for programs that make previews: those that are known as such, and these names.
    #[must_use]
    pub fn new(previews: Previews, also: &[String]) -> Arc<Watch> {
        Arc::new(Watch { previews, makers: Makers::and(also), ..Watch::default() })
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let mut seen = self.lock().seen.clone();
        seen.readers.sort_by_key(|reader| Reverse((reader.bytes, reader.refused)));
        seen
    }

    /// The rule for programs that make previews.
    #[must_use]
    pub fn previews(&self) -> Previews {
        self.previews
    }

    /// What could not be given.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Without a rule nobody need be asked.
    pub(super) fn asks_open(&self) -> bool {
        self.previews != Previews::On
    }

    /// May this program open a file? `is_kept` says whether all of the file is in memory or in the cache on disk.
    pub(super) fn open(self: &Arc<Self>, caller: Caller, is_kept: impl FnOnce() -> Answer<bool>) -> Answer<()> {
        match self.who(caller).filter(|who| who.makes_previews) {
            Some(who) if self.previews == Previews::Off => Answer::Now(self.refused(&who)),
            Some(who) if self.previews == Previews::Cached => {
                let this = self.clone();
                let judge = move |is_kept: Result<bool>| if is_kept? { Ok(()) } else { this.refused(&who) };
                match is_kept() {
                    Answer::Now(is_kept) => Answer::Now(judge(is_kept)),
                    Answer::Later(is_kept) => Answer::later(async move { judge(is_kept.await) }),
                }
            }
            _ => Answer::Now(Ok(())),
        }
    }

    /// A read by a program. For makers of previews nothing is fetched ahead: first `kept` is tried, which must not
    /// set anything off, then `any`, which may fetch what it needs.
    pub(super) fn read(
        self: &Arc<Self>,
        caller: Caller,
        any: impl FnOnce() -> Answer<Bytes> + Send + 'static,
        kept: impl FnOnce() -> Answer<Option<Bytes>>,
    ) -> Answer<Bytes> {
        let who = self.who(caller);
        let is_quiet = self.asks_open() && who.as_ref().is_some_and(|who| who.makes_previews);
        let answer = match if is_quiet { kept() } else { Answer::Now(Ok(None)) } {
            Answer::Now(Ok(None)) => any(),
            Answer::Now(read) => Answer::Now(read.map(Option::unwrap_or_default)),
            Answer::Later(kept) => Answer::later(async move {
                match kept.await? {
                    Some(bytes) => Ok(bytes),
                    None => any().wait().await,
                }
            }),
        };
        match answer {
            Answer::Now(read) => {
                self.note(who.as_ref(), &read, true);
                Answer::Now(read)
            }
            Answer::Later(read) => {
                let this = self.clone();
                Answer::later(async move {
                    let read = read.await;
                    this.note(who.as_ref(), &read, false);
                    read
                })
            }
        }
    }

    /// Takes note of content that a program got when it opened a file.
    pub(super) fn gave(&self, caller: Caller, bytes: &Bytes) {
        self.note(self.who(caller).as_ref(), &Ok(bytes.clone()), true);
    }

    /// Who a caller is; `None` if the system does not tell.
    fn who(&self, caller: Caller) -> Option<Who> {
        let known = self.lock().threads.get(&caller.pid).cloned();
        if let Some(known) = known.as_ref().filter(|known| known.looked.elapsed() < TRUST) {
            return Some(known.who.clone());
        }
        let thread = process::thread(caller.pid)?;
        let who = match known.filter(|known| known.thread == thread) {
            Some(known) => known.who,
            None => {
                let process = process::process(caller.pid);
                Who {
                    makes_previews: self.makers.has(&thread, process.as_ref()),
                    pid: process.as_ref().map_or(caller.pid, |process| process.pid),
                    program: process.map_or(thread.name.as_str().into(), |process| process.program.into()),
                }
            }
        };
        self.lock().threads.put(caller.pid, Known { thread, who: who.clone(), looked: Instant::now() });
        Some(who)
    }

    fn refused(&self, who: &Who) -> Result<()> {
        let mut state = self.lock();
        state.seen.refused += 1;
        state.seen.reader(Some(who), |reader| reader.refused += 1);
        Err(DriveError::Denied)
    }

    fn note(&self, who: Option<&Who>, read: &Result<Bytes>, at_once: bool) {
        let seen = &mut self.lock().seen;
        seen.reads += 1;
        seen.reads_at_once += u64::from(at_once);
        match read {
            Err(_) => seen.reads_failed += 1,
            Ok(bytes) => {
                let bytes = bytes.len() as u64;
                seen.bytes += bytes;
                if !seen.reader(who, |reader| reader.bytes += bytes) {
                    seen.bytes_of_others += bytes;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Writes something down for a program. False if nothing is known of it.
    fn reader(&mut self, who: Option<&Who>, write: impl FnOnce(&mut Reader)) -> bool {
        let Some(who) = who else { return false };
        let is_it = |reader: &Reader| reader.pid == who.pid && *reader.program == *who.program;
        let at = self.readers.iter().position(is_it).unwrap_or_else(|| {
            self.make_room();
            let reader = Reader { program: who.program.to_string(), pid: who.pid, bytes: 0, refused: 0 };
            self.readers.push(reader);
            self.readers.len() - 1
        });
        write(&mut self.readers[at]);
        true
    }

    /// The one who got least is forgotten.
    fn make_room(&mut self) {
        if self.readers.len() >= PROGRAMS_MAX {
            let least = self.readers.iter().enumerate().min_by_key(|(_, reader)| (reader.bytes, reader.refused));
            if let Some(at) = least.map(|(at, _)| at) {
                self.bytes_of_others += self.readers.remove(at).bytes;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::drive::refuse;

    fn me() -> Caller {
        let pid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        Caller { pid, uid: 0 }
    }

    fn our_name() -> String {
        std::env::current_exe().unwrap().file_name().unwrap().to_string_lossy().into_owned()
    }

    const CONTENT: &[u8] = b"content";

    fn content() -> Answer<Bytes> {
        Answer::Now(Ok(Bytes::from_static(CONTENT)))
    }

    fn is(kept: bool) -> Answer<bool> {
        Answer::Now(Ok(kept))
    }

    fn nothing() -> Answer<Option<Bytes>> {
        Answer::Now(Ok(None))
    }

    fn now<T>(answer: Answer<T>) -> Result<T> {
        match answer {
            Answer::Now(result) => result,
            Answer::Later(_) => panic!("has to wait"),
        }
    }

    #[test]
    fn readers_are_counted() {
        let watch = Watch::new(Previews::On, &[]);
        assert!(!watch.asks_open());
        for _ in 0..3 {
            now(watch.read(me(), content, nothing)).unwrap();
        }
        let stranger = Caller::default();
        now(watch.read(stranger, content, nothing)).unwrap();
        now(watch.read(me(), || refuse(DriveError::Io), nothing)).unwrap_err();
        let seen = watch.seen();
        assert_eq!((seen.bytes, seen.bytes_of_others), (28, 7));
        assert_eq!((seen.reads, seen.reads_at_once, seen.reads_failed), (5, 5, 1));
        let us = Reader { program: our_name(), pid: std::process::id(), bytes: 21, refused: 0 };
        assert_eq!(seen.readers, [us]);
    }

    #[tokio::test]
    async fn what_comes_later_is_counted_when_it_comes() {
        let watch = Watch::new(Previews::On, &[]);
        let answer = watch.read(me(), || Answer::later(async { now(content()) }), nothing);
        assert_eq!(watch.seen().bytes, 0);
        assert_eq!(answer.wait().await.unwrap(), CONTENT);
        let seen = watch.seen();
        assert_eq!((seen.bytes, seen.reads, seen.reads_at_once), (7, 1, 0));
    }

    #[test]
    fn makers_of_previews_open_what_the_rule_says() {
        for (previews, there, elsewhere) in [
            (Previews::On, Ok(()), Ok(())),
            (Previews::Cached, Ok(()), Err(DriveError::Denied)),
            (Previews::Off, Err(DriveError::Denied), Err(DriveError::Denied)),
        ] {
            let watch = Watch::new(previews, &[our_name()]);
            assert_eq!(watch.asks_open(), previews != Previews::On);
            assert_eq!((now(watch.open(me(), || is(true))), now(watch.open(me(), || is(false)))), (there, elsewhere));
            let refused = u64::from(there.is_err()) + u64::from(elsewhere.is_err());
            assert_eq!(watch.seen().refused, refused);
        }
    }

    #[test]
    fn makers_of_previews_set_nothing_off_and_are_not_refused_any_more() {
        let watch = Watch::new(Previews::Cached, &[our_name()]);
        let fetched = || -> Answer<Bytes> { panic!("it must not fetch") };
        let kept = || Answer::Now(now(content()).map(Some));
        assert_eq!(now(watch.read(me(), fetched, kept)).unwrap(), CONTENT);
        assert_eq!(now(watch.read(me(), content, nothing)).unwrap(), CONTENT);
        assert_eq!((watch.seen().refused, watch.seen().bytes), (0, 14));
    }

    #[tokio::test]
    async fn what_the_disk_has_is_waited_for() {
        let watch = Watch::new(Previews::Cached, &[our_name()]);
        let kept = |is_kept| move || Answer::later(async move { Ok(is_kept) });
        assert_eq!(watch.open(me(), kept(true)).wait().await, Ok(()));
        assert_eq!(watch.open(me(), kept(false)).wait().await, Err(DriveError::Denied));
        let fetched = || -> Answer<Bytes> { panic!("it must not fetch") };
        let on_disk = || Answer::later(async { now(content()).map(Some) });
        assert_eq!(watch.read(me(), fetched, on_disk).wait().await.unwrap(), CONTENT);
        let lost = || Answer::later(async { Ok(None) });
        assert_eq!(watch.read(me(), content, lost).wait().await.unwrap(), CONTENT);
        assert_eq!((watch.seen().refused, watch.seen().bytes), (1, 14));
    }

    #[test]
    fn ordinary_and_unknown_programs_get_everything() {
        for previews in [Previews::On, Previews::Cached, Previews::Off] {
            let watch = Watch::new(previews, &["tumblerd".to_owned()]);
            for caller in [me(), Caller::default(), Caller { pid: u32::MAX, uid: 0 }] {
                assert_eq!(now(watch.open(caller, || is(false))), Ok(()));
                let at_hand = || -> Answer<Option<Bytes>> { panic!("it is asked like all others") };
                assert_eq!(now(watch.read(caller, content, at_hand)).unwrap(), CONTENT);
            }
            assert_eq!(watch.seen().refused, 0);
        }
    }

    #[test]
    fn many_programs_take_bounded_memory() {
        let mut seen = Seen::default();
        for pid in 1..=1000 {
            let who = Who { program: format!("p{pid}").into(), pid, makes_previews: false };
            seen.reader(Some(&who), |reader| reader.bytes += u64::from(pid));
        }
        assert_eq!(seen.readers.len(), PROGRAMS_MAX);
        let kept: u64 = seen.readers.iter().map(|reader| reader.bytes).sum();
        assert_eq!(kept + seen.bytes_of_others, 1000 * 1001 / 2);
        assert!(seen.readers.iter().all(|reader| reader.bytes > 1000 - PROGRAMS_MAX as u64));
    }
}
