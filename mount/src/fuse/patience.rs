//! How long requests may wait: until the deadline, and much shorter once one has waited for so long in vain.
//!
//! Programs ask for one file after the other. While nobody answers, a file manager that looks into fifty files would wait for
//! fifty deadlines; so after the first one the others are told soon. All may wait for the whole time again once the storage has
//! answered anything, and in any case when as much time as the deadline has gone by. What others get meanwhile may be from
//! a cache and proves nothing.

use crate::drive::Answer;
use crate::drive::DriveError;
use crate::drive::Result;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long requests wait while nobody answers, at the most.
const SHORT_MAX: Duration = Duration::from_secs(2);
/// And this part of the deadline.
const SHORT_PART: u32 = 4;

/// Decides how long requests wait, and waits.
pub(crate) struct Patience {
    deadline: Duration,
    /// Changes whenever the storage has answered something.
    heard: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Becomes true when the session has ended: nobody waits for answers any more.
    ended: watch::Receiver<bool>,
    silence: Mutex<Option<Silence>>,
}

/// One has waited in vain.
#[derive(Debug, Clone, Copy)]
struct Silence {
    /// Until then nobody waits for long,
    until: Instant,
    /// unless something else was heard than by then.
    heard: u64,
}

/// When a request has to be answered, and what had been heard when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    began: Instant,
    until: Instant,
    heard: u64,
}

impl Patience {
    pub(crate) fn new(
        deadline: Duration,
        ended: watch::Receiver<bool>,
        heard: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Arc<Patience> {
        Arc::new(Patience { deadline, heard: Box::new(heard), ended, silence: Mutex::default() })
    }

    /// For a request that is made now.
    pub(crate) fn term(&self) -> Term {
        let (began, heard) = (Instant::now(), (self.heard)());
        let is_short = self.silence().is_some_and(|silence| began < silence.until && heard == silence.heard);
        let wait = if is_short { SHORT_MAX.min(self.deadline / SHORT_PART) } else { self.deadline };
        Term { began, until: began + wait, heard }
    }

    /// Waits for an answer, as long as the term allows.
    pub(crate) async fn wait<T: Send + 'static>(&self, term: Term, answer: Answer<T>) -> Result<T> {
        let answer = match answer {
            Answer::Now(answer) => return answer,
            Answer::Later(answer) => answer,
        };
        let in_time = tokio::select! {
            biased;
            in_time = tokio::time::timeout_at(term.until, answer) => in_time,
            () = self.end() => return Err(DriveError::Io),
        };
        let result = in_time.unwrap_or_else(|_| {
            tracing::debug!("Request not answered before the deadline");
            Err(DriveError::TimedOut)
        });
        // A drive may give up by itself; what is damaged is found out sooner.
        let has_waited = term.began.elapsed() >= self.deadline / 2;
        if matches!(result, Err(DriveError::TimedOut | DriveError::Io)) && has_waited && (self.heard)() == term.heard {
            *self.silence() = Some(Silence { until: Instant::now() + self.deadline, heard: term.heard });
        }
        result
    }

    async fn end(&self) {
        // An error means that the session is gone, which is an end too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    fn silence(&self) -> MutexGuard<'_, Option<Silence>> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;

    const DEADLINE: Duration = Duration::from_secs(60);

    struct World {
        end: watch::Sender<bool>,
        given: Arc<AtomicU64>,
        patience: Arc<Patience>,
    }

    impl World {
        fn new() -> World {
            let (end, ended) = watch::channel(false);
            let given = Arc::new(AtomicU64::new(5));
            let heard = given.clone();
            World { end, given, patience: Patience::new(DEADLINE, ended, move || heard.load(Ordering::SeqCst)) }
        }

        /// How a request went that is made now, and how long it took, in seconds.
        async fn ask<T: Send + 'static>(&self, answer: Answer<T>) -> (Result<T>, u64) {
            let began = Instant::now();
            let result = self.patience.wait(self.patience.term(), answer).await;
            (result, began.elapsed().as_millis().div_ceil(1000).try_into().unwrap())
        }
    }

    fn silent() -> Answer<()> {
        Answer::later(std::future::pending())
    }

    fn slow<T: Send + 'static>(secs: u64, result: Result<T>) -> Answer<T> {
        Answer::later(async move {
            tokio::time::sleep(Duration::from_secs(secs)).await;
            result
        })
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_files_wait_little_longer_than_one() {
        let world = World::new();
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(world.ask(silent()).await.0, Err(DriveError::TimedOut));
            // What is in a cache is given as ever, and changes nothing.
            assert_eq!(world.ask(slow(0, Ok(7))).await.0, Ok(7));
        }
        // Once in a while one waits for long, to find out.
        let waited = began.elapsed().as_secs();
        assert!((210..230).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_storage_gives_to_anybody_gives_everybody_time_again() {
        let world = World::new();
        assert_eq!(world.ask(silent()).await.1, 60);
        assert_eq!(world.ask(slow(30, Ok(()))).await, (Err(DriveError::TimedOut), 2));
        world.given.fetch_add(1, Ordering::SeqCst);
        assert_eq!(world.ask(slow(30, Ok(()))).await, (Ok(()), 30));
        // Nor is it silent if it answers others while one waits in vain.
        let meanwhile = tokio::spawn({
            let given = world.given.clone();
            async move {
                tokio::time::sleep(DEADLINE / 2).await;
                given.fetch_add(1, Ordering::SeqCst)
            }
        });
        assert_eq!(world.ask(silent()).await.1, 60);
        meanwhile.await.unwrap();
        assert_eq!(world.ask(slow(30, Ok(()))).await, (Ok(()), 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_drive_is_not_taken_for_a_silent_one_for_ever() {
        let world = World::new();
        assert_eq!(world.ask(silent()).await.1, 60);
        let began = Instant::now();
        while world.ask(slow(50, Ok(()))).await.0.is_err() {}
        assert!(began.elapsed() < DEADLINE * 2, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drive_that_gives_up_by_itself_counts_as_silent() {
        let world = World::new();
        assert_eq!(world.ask(slow::<()>(30, Err(DriveError::Io))).await, (Err(DriveError::Io), 30));
        assert_eq!(world.ask(silent()).await.1, 2);
        // Damage is found soon, and says nothing about others.
        let world = World::new();
        assert_eq!(world.ask(slow::<()>(15, Err(DriveError::Io))).await, (Err(DriveError::Io), 15));
        assert_eq!(world.ask(silent()).await.1, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_session_ends_all_waiting() {
        let world = World::new();
        let waiting = tokio::spawn({
            let patience = world.patience.clone();
            async move { patience.wait(patience.term(), silent()).await }
        });
        tokio::task::yield_now().await;
        world.end.send_replace(true);
        assert_eq!(waiting.await.unwrap(), Err(DriveError::Io));
    }
}
