//! How long requests may wait: until the deadline, and much shorter once one has waited for so long in vain.
//!
//! Programs ask for one file after the other. While nobody answers, a file manager that looks into fifty files would wait for
//! fifty deadlines; so after the first one the others are told soon. One that was told so is still listened to: when its
//! answer comes, all may wait for the whole time again. What others get meanwhile may be from a cache and proves nothing. If
//! nobody has waited in vain for as long as the deadline, that is forgotten too.

use crate::drive::Answer;
use crate::drive::DriveError;
use crate::drive::Result;
use std::future::Future;
use std::pin::Pin;
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
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Duration,
    /// Becomes true when the session has ended: nobody waits for answers any more.
    ended: watch::Receiver<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Until then nobody waits for long.
    short_until: Option<Instant>,
    /// True while a request whose time is over is listened to.
    is_listening: bool,
}

impl Patience {
    pub(crate) fn new(deadline: Duration, ended: watch::Receiver<bool>) -> Arc<Patience> {
        Arc::new(Patience { deadline, ended, state: Mutex::default() })
    }

    /// When a request that is made now has to be answered.
    pub(crate) fn until(&self) -> Instant {
        let now = Instant::now();
        let is_short = self.state().short_until.is_some_and(|until| now < until);
        now + if is_short { self.short() } else { self.deadline }
    }

    fn short(&self) -> Duration {
        SHORT_MAX.min(self.deadline / SHORT_PART)
    }

    /// Waits for an answer, but not longer than until then.
    pub(crate) async fn wait<T: Send + 'static>(self: &Arc<Self>, until: Instant, answer: Answer<T>) -> Result<T> {
        let mut answer = match answer {
            Answer::Now(answer) => return answer,
            Answer::Later(answer) => answer,
        };
        let began = Instant::now();
        let in_time = tokio::select! {
            biased;
            in_time = tokio::time::timeout_at(until, &mut answer) => in_time,
            () = self.end() => return Err(DriveError::Io),
        };
        match in_time {
            Err(_) => {
                tracing::debug!("Request not answered before the deadline");
                self.in_vain();
                self.listen(answer);
                Err(DriveError::TimedOut)
            }
            // The drive has given up by itself. What is damaged is found out sooner.
            Ok(Err(DriveError::Io)) if began.elapsed() >= self.deadline / 2 => {
                self.in_vain();
                Err(DriveError::Io)
            }
            Ok(answer) => answer,
        }
    }

    async fn end(&self) {
        // An error means that the session is gone, which is an end too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    fn in_vain(&self) {
        self.state().short_until = Some(Instant::now() + self.deadline);
    }

    /// Learns from a request that was not answered in time whether it is answered at all. One at a time is enough.
    fn listen<T: Send + 'static>(self: &Arc<Self>, answer: Pin<Box<dyn Future<Output = Result<T>> + Send>>) {
        if std::mem::replace(&mut self.state().is_listening, true) {
            return;
        }
        let listening = Listening(self.clone());
        tokio::spawn(async move {
            let patience = &listening.0;
            let heard = tokio::select! {
                heard = tokio::time::timeout(patience.deadline, answer) => heard,
                () = patience.end() => return,
            };
            if matches!(heard, Ok(Ok(_))) {
                patience.state().short_until = None;
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody listens. Also a drive that panics ends it.
struct Listening(Arc<Patience>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.state().is_listening = false;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const DEADLINE: Duration = Duration::from_secs(60);

    fn patience() -> (watch::Sender<bool>, Arc<Patience>) {
        let (end, ended) = watch::channel(false);
        (end, Patience::new(DEADLINE, ended))
    }

    fn silent() -> Answer<()> {
        Answer::later(std::future::pending())
    }

    /// How a request went that is made now, and how long it took.
    async fn ask<T: Send + 'static>(patience: &Arc<Patience>, answer: Answer<T>) -> (Result<T>, Duration) {
        let began = Instant::now();
        (patience.wait(patience.until(), answer).await, began.elapsed())
    }

    fn seconds(waited: Duration) -> u64 {
        waited.as_millis().div_ceil(1000).try_into().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_files_wait_little_longer_than_one() {
        let (_end, patience) = patience();
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(ask(&patience, silent()).await.0, Err(DriveError::TimedOut));
            // What is in a cache is given as ever, and changes nothing.
            assert_eq!(ask(&patience, Answer::later(async { Ok(7) })).await.0, Ok(7));
        }
        assert_eq!(began.elapsed().as_secs(), 60 + 49 * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_gives_everybody_time_again() {
        let (_end, patience) = patience();
        let (answer, later) = oneshot::channel();
        let first = Answer::later(async move { later.await.map_err(|_| DriveError::Io) });
        assert_eq!(ask(&patience, first).await, (Err(DriveError::TimedOut), DEADLINE));
        let slow = |secs| {
            Answer::later(async move {
                tokio::time::sleep(Duration::from_secs(secs)).await;
                Ok(secs)
            })
        };
        assert_eq!(ask(&patience, slow(30)).await.0, Err(DriveError::TimedOut));
        answer.send(()).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(ask(&patience, slow(30)).await.0, Ok(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_drive_is_not_taken_for_a_silent_one_for_ever() {
        let (_end, patience) = patience();
        let slow = || {
            Answer::later(async {
                tokio::time::sleep(Duration::from_secs(50)).await;
                Ok(())
            })
        };
        assert_eq!(ask(&patience, silent()).await.0, Err(DriveError::TimedOut));
        // The first is listened to, for nothing; so nobody learns that this one was answered after all.
        let (waited, took) = ask(&patience, slow()).await;
        assert_eq!((waited, seconds(took)), (Err(DriveError::TimedOut), 2));
        tokio::time::sleep(DEADLINE).await;
        let (waited, took) = ask(&patience, slow()).await;
        assert_eq!((waited, seconds(took)), (Ok(()), 50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drive_that_gives_up_by_itself_counts_as_silent() {
        let (_end, patience) = patience();
        let gives_up = Answer::<()>::later(async {
            tokio::time::sleep(DEADLINE / 2).await;
            Err(DriveError::Io)
        });
        assert_eq!(ask(&patience, gives_up).await.0, Err(DriveError::Io));
        assert_eq!(seconds(ask(&patience, silent()).await.1), 2);
        // Damage is found soon, and says nothing about others.
        let (_end, patience) = self::patience();
        let damaged = Answer::<()>::later(async {
            tokio::time::sleep(DEADLINE / 4).await;
            Err(DriveError::Io)
        });
        assert_eq!(ask(&patience, damaged).await.0, Err(DriveError::Io));
        assert_eq!(ask(&patience, silent()).await.1, DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_session_ends_all_waiting() {
        let (end, patience) = patience();
        let waiting = tokio::spawn({
            let patience = patience.clone();
            async move { patience.wait(patience.until(), silent()).await }
        });
        tokio::task::yield_now().await;
        end.send_replace(true);
        assert_eq!(waiting.await.unwrap(), Err(DriveError::Io));
    }
}
