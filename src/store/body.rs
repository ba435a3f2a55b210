//! Bodies of requests and answers on their way: paced, counted, and watched for silence.
//!
//! Only the time in which the other side could have moved a byte counts as silence; not the time we take for ourselves,
//! to keep a limit or because nobody wants the next bytes yet.

use crate::store::traffic::Traffic;
use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use object_store::client::HttpError;
use object_store::client::HttpErrorKind;
use object_store::client::HttpRequestBody;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::Sleep;

/// What the system may have taken from us and not sent yet, at the most.
const UNSENT_BYTES_MAX: u64 = 4 << 20;
/// The slowest link on which a backup still makes sense. Only what lies in the system's buffers is judged by it, and
/// only as long as nothing is known of the link.
const BYTES_PER_SEC_MIN: u64 = 32 << 10;
/// A link may become so many times slower than it was without being taken for dead.
const SLOWER_MAX: u64 = 4;

/// Nothing moved for too long.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stalled {
    /// The other side took nothing more of our request.
    #[error("no byte could be sent for {secs} seconds")]
    Sending { secs: u64 },
    /// The other side said nothing.
    #[error("no answer within {secs} seconds")]
    Waiting { secs: u64 },
}

/// How a request gets on, as its sender and its watcher see it.
#[derive(Debug)]
pub(crate) struct Progress {
    stall: Duration,
    began: Instant,
    body_bytes: u64,
    /// What earlier requests have got through, bytes per second; 0 = not known.
    rate: u64,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    last: Instant,
    is_sent: bool,
}

impl Progress {
    /// A request with a body of this length begins; earlier ones got through at this rate (bytes per second, 0 = not
    /// known).
    pub(crate) fn new(stall: Duration, body_bytes: u64, rate: u64) -> Progress {
        let now = Instant::now();
        let state = State { last: now, is_sent: body_bytes == 0 };
        Progress { stall, began: now, body_bytes, rate, state: Mutex::new(state) }
    }

    /// The rate of a request that was answered, if it says something about the link.
    pub(crate) fn rate(&self) -> Option<u64> {
        const TELLING_BYTES_MIN: u64 = 256 << 10;
        (self.body_bytes >= TELLING_BYTES_MIN).then(|| per_sec(self.body_bytes, self.began.elapsed()))
    }

    /// How long the system may need for what it has taken from us and not sent yet.
    fn tail(&self, state: &State) -> Duration {
        if !state.is_sent {
            return Duration::ZERO;
        }
        let unsent = self.body_bytes.min(UNSENT_BYTES_MAX);
        let seen = per_sec(self.body_bytes - unsent, state.last.saturating_duration_since(self.began));
        let rate = (self.rate.max(seen) / SLOWER_MAX).max(BYTES_PER_SEC_MIN);
        Duration::from_secs_f64(unsent as f64 / rate as f64)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something moved, or will not before this time because we do not want it to.
    fn moved(&self, rest: Duration, is_sent: bool) {
        let mut state = self.state();
        state.last = Instant::now() + rest;
        state.is_sent |= is_sent;
    }

    /// When the other side has been silent for too long.
    fn until(&self) -> Instant {
        let state = self.state();
        state.last + self.stall + self.tail(&state)
    }

    /// Ends when the request stalls.
    pub(crate) async fn stalled(&self) -> Stalled {
        loop {
            let until = self.until();
            tokio::time::sleep_until(until).await;
            if self.until() <= until {
                let secs = self.stall.as_secs();
                return if self.state().is_sent { Stalled::Waiting { secs } } else { Stalled::Sending { secs } };
            }
        }
    }
}

fn per_sec(bytes: u64, time: Duration) -> u64 {
    (bytes as f64 / time.as_secs_f64().max(0.001)) as u64
}

/// The body of a request.
pub(crate) struct Sent {
    rest: HttpRequestBody,
    traffic: Arc<Traffic>,
    progress: Arc<Progress>,
    /// Of the piece of `rest` that is being cut up.
    cut: Bytes,
    /// A piece whose time has not come.
    held: Option<(Bytes, Pin<Box<Sleep>>)>,
}

impl Sent {
    pub(crate) fn new(body: HttpRequestBody, traffic: Arc<Traffic>, progress: Arc<Progress>) -> Sent {
        Sent { rest: body, traffic, progress, cut: Bytes::new(), held: None }
    }

    fn sent(&self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.traffic.bytes_up.add(piece.len() as u64);
        self.progress.moved(Duration::ZERO, self.is_end_stream());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        if let Some((_, wait)) = &mut this.held {
            ready!(wait.as_mut().poll(cx));
        }
        if let Some((piece, _)) = this.held.take() {
            return this.sent(piece);
        }
        while this.cut.is_empty() {
            match ready!(Pin::new(&mut this.rest).poll_frame(cx)) {
                Some(Ok(frame)) => this.cut = frame.into_data().unwrap_or_default(),
                end => return Poll::Ready(end),
            }
        }
        let pace = &this.traffic.up;
        let piece = this.cut.split_to(pace.piece_bytes().min(this.cut.len()));
        let wait = pace.take(piece.len() as u64);
        if wait.is_zero() {
            return this.sent(piece);
        }
        this.progress.moved(wait, false);
        let mut sleep = Box::pin(tokio::time::sleep(wait));
        if sleep.as_mut().poll(cx).is_ready() {
            return this.sent(piece);
        }
        this.held = Some((piece, sleep));
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_empty() && self.held.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, |(piece, _)| piece.len());
        SizeHint::with_exact((self.cut.len() + held) as u64 + self.rest.size_hint().lower())
    }
}

/// The body of an answer.
pub(crate) struct Received {
    rest: reqwest::Body,
    traffic: Arc<Traffic>,
    stall: Duration,
    /// Runs while we wait for the server.
    silence: Option<Pin<Box<Sleep>>>,
    /// A piece whose time has not come.
    held: Option<(Frame<Bytes>, Pin<Box<Sleep>>)>,
}

impl Received {
    pub(crate) fn new(body: reqwest::Body, traffic: Arc<Traffic>, stall: Duration) -> Received {
        Received { rest: body, traffic, stall, silence: None, held: None }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        if this.held.is_none() {
            let frame = match Pin::new(&mut this.rest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    this.traffic.retries.add(1);
                    let error = HttpError::new(HttpErrorKind::Interrupted, error.without_url());
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending => {
                    let stall = this.stall;
                    let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
                    ready!(silence.as_mut().poll(cx));
                    this.traffic.retries.add(1);
                    let stalled = Stalled::Waiting { secs: stall.as_secs() };
                    return Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, stalled))));
                }
            };
            this.silence = None;
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            this.traffic.bytes_down.add(bytes);
            let wait = this.traffic.down.take(bytes);
            if wait.is_zero() {
                return Poll::Ready(Some(Ok(frame)));
            }
            this.held = Some((frame, Box::pin(tokio::time::sleep(wait))));
        }
        if let Some((_, wait)) = &mut this.held {
            ready!(wait.as_mut().poll(cx));
        }
        Poll::Ready(this.held.take().map(|(frame, _)| Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The length of an answer is in its head; nobody needs it here.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::store::body::Progress;
    use crate::store::body::Stalled;
    use std::time::Duration;
    use tokio::time::Instant;

    async fn silence_after(progress: Progress) -> (u64, Stalled) {
        let began = Instant::now();
        let stalled = progress.stalled().await;
        (began.elapsed().as_secs(), stalled)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_from_the_last_byte() {
        let stall = Duration::from_secs(10);
        let (secs, why) = silence_after(Progress::new(stall, 0, 0)).await;
        assert!(secs == 10 && matches!(why, Stalled::Waiting { secs: 10 }));
        let (secs, why) = silence_after(Progress::new(stall, 1 << 30, 0)).await;
        assert!(secs == 10 && matches!(why, Stalled::Sending { secs: 10 }));
        // A rest of our own is no silence.
        let resting = Progress::new(stall, 1 << 30, 0);
        resting.moved(Duration::from_secs(7), false);
        assert_eq!(silence_after(resting).await.0, 17);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_system_has_taken_is_given_time() {
        let stall = Duration::from_secs(10);
        for (body, rate, expected) in [
            (9, 0, 10),
            (4 << 20, 0, 10 + 128),
            (1 << 30, 0, 10 + 128),
            (4 << 20, 4 << 20, 10 + 4),
            // Slower than any link we wait for.
            (4 << 20, 1000, 10 + 128),
        ] {
            let progress = Progress::new(stall, body, rate);
            tokio::time::advance(Duration::from_secs(1 << 20)).await;
            progress.moved(Duration::ZERO, true);
            assert_eq!(silence_after(progress).await.0, expected, "{body} {rate}");
        }
        // Its own speed tells, too: 36 MiB that cannot lie in any buffer went in 9 seconds.
        let progress = Progress::new(stall, 40 << 20, 0);
        tokio::time::advance(Duration::from_secs(9)).await;
        progress.moved(Duration::ZERO, true);
        assert_eq!(silence_after(progress).await.0, 10 + 4);
    }
}
