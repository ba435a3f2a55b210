//! `-o object_lock=...`: what is needed stays locked.

use crate::cli::error::Result;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::progress::Progress;
use crate::repo::extend_locks;

/// Locks anew all that is needed, if this machine last did so half of the time ago.
pub(super) fn extend_if_due(global: &Global, opened: &Opened) -> Result<()> {
    let Some(lock) = global.store_options()?.object_lock else { return Ok(()) };
    let (now, mode) = (human::now().secs, lock.mode.to_string());
    if opened.state.locked_until(&mode)?.is_some_and(|until| until >= now + lock.half_secs()) {
        return Ok(());
    }
    let progress = Progress::counting(global, &opened.runtime, "Locking", ("object", "objects"));
    let locked = opened.runtime.block_on(extend_locks(&opened.repo, &progress));
    progress.finish();
    let locked = locked?;
    opened.state.set_locked_until(&mode, now + 2 * lock.half_secs())?;
    if !global.json && !global.quiet {
        let objects = human::plural(locked, "object", "objects");
        let days = human::plural(u64::from(lock.days), "day", "days");
        out::note(format_args!("Locked {objects} for {days}."));
    }
    Ok(())
}
