//! Ctrl-C: the first asks a deed to end in good order, the second ends the program.

use crate::cli::exit::Exit;
use crate::cli::out;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// From now on: true once somebody wants the program to end.
pub(super) fn watch(runtime: &Runtime) -> Arc<AtomicBool> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = cancelled.clone();
    let _within = runtime.enter();
    let Some(mut signals) = Signals::new() else { return cancelled };
    runtime.spawn(async move {
        signals.next().await;
        flag.store(true, Ordering::Relaxed);
        out::note("Stopping in good order. Once more ends it at once.");
        signals.next().await;
        std::process::exit(Exit::Interrupted.number().into());
    });
    cancelled
}

/// The signals by which people and systems ask a program to end.
pub(super) struct Signals([Signal; 3]);

impl Signals {
    /// Begins to listen; must be called within a runtime. `None` if the system does not let us.
    pub(super) fn new() -> Option<Signals> {
        let [interrupt, terminate, hang_up] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(|kind| signal(kind).ok());
        Some(Signals([interrupt?, terminate?, hang_up?]))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}
