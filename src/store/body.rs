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
/// The slowest link on which a backup still makes sense. Only what lies in the system's buffers is judged by it.
const BYTES_PER_SEC_MIN: u64 = 32 << 10;

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
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    last: Instant,
    is_sent: bool,
    unsent_max: u64,
}

impl Progress {
    /// A request with a body of this length begins.
    pub(crate) fn new(stall: Duration, body_bytes: u64) -> Progress {
        let state =
            State { last: Instant::now(), is_sent: body_bytes == 0, unsent_max: body_bytes.min(UNSENT_BYTES_MAX) };
        Progress { stall, state: Mutex::new(state) }
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
        let tail =
            if state.is_sent { Duration::from_secs(state.unsent_max / BYTES_PER_SEC_MIN) } else { Duration::ZERO };
        state.last + self.stall + tail
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
