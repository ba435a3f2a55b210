//! Exit codes: the one table, and which error gets which.
//!
//! Scripts rely on these numbers. They never change their meaning; new ones may be added.

use crate::backup;
use crate::browse::InsideError;
use crate::browse::NeverRead;
use crate::browse::SelectError;
use crate::cache;
use crate::check;
use crate::cli::error::Fault;
use crate::cli::out::OutError;
use crate::pin;
use crate::prune;
use crate::repair;
use crate::repo;
use crate::restore;
use crate::source;
use crate::state::StateError;
use crate::store;
use crate::store::ErrorKind;
use crate::target;
use bygone_mount::fuse::MountError;
use bygone_mount::fuse::UnmountError;
use std::error::Error;
use std::fmt::Write;
use std::io;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Failed,
    Usage,
    Incomplete,
    Damaged,
    NoRepository,
    Locked,
    WrongPassword,
    NotFound,
    NoMount,
    Full,
    Unreachable,
    Interrupted,
    Pipe,
}

/// Code, number, name in JSON, meaning in the help.
const TABLE: &[(Exit, u8, &str, &str)] = &[
    (Exit::Done, 0, "done", "done"),
    (Exit::Failed, 1, "failed", "failed"),
    (Exit::Usage, 2, "usage", "the command line cannot be understood"),
    (Exit::Incomplete, 3, "incomplete", "done, but some files could not be read or restored"),
    (Exit::Damaged, 4, "damaged", "the check found damage in the repository"),
    (Exit::NoRepository, 10, "no_repository", "there is no repository"),
    (Exit::Locked, 11, "locked", "another process keeps the repository or its local state locked"),
    (Exit::WrongPassword, 12, "wrong_password", "wrong password"),
    (Exit::NotFound, 13, "not_found", "no such snapshot, path in it, or password slot"),
    (Exit::NoMount, 14, "no_mount", "drives cannot be mounted here, or not at this folder"),
    (Exit::Full, 15, "full", "no space left at the destination"),
    (Exit::Unreachable, 16, "unreachable", "the destination cannot be reached"),
    (Exit::Interrupted, 130, "interrupted", "interrupted"),
    (Exit::Pipe, 141, "pipe", "whoever read the output went away"),
];

impl Exit {
    fn row(self) -> &'static (Exit, u8, &'static str, &'static str) {
        TABLE.iter().find(|row| row.0 == self).expect("every code stands in the table")
    }

    /// What the system is told.
    pub(super) fn number(self) -> u8 {
        self.row().1
    }

    /// The code with this number.
    pub(super) fn from_number(number: u8) -> Option<Exit> {
        TABLE.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// Its name for programs.
    pub(super) fn name(self) -> &'static str {
        self.row().2
    }

    /// The code of an error: the first layer that has one decides.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Exit {
        layers(error).find_map(of_layer).unwrap_or(Exit::Failed)
    }
}

/// The table as the help shows it.
pub(super) fn help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (_, number, _, meaning) in TABLE {
        // Writing to a string cannot fail.
        let _always_ok = writeln!(text, "  {number:>3}  {meaning}");
    }
    text
}

/// True for an error that says that config, slots or another object are not what they should be.
pub(super) fn is_damage(error: &(dyn Error + 'static)) -> bool {
    let of_repo = |error: &repo::Error| {
        matches!(error.inner(), repo::Error::Object { .. } | repo::Error::NoSlot { .. } | repo::Error::ChunkLost { .. })
    };
    layers(error).any(|layer| layer.downcast_ref().is_some_and(of_repo))
}

/// An error and its causes.
pub(super) fn layers<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&layer| layer.source())
}

fn of_layer(error: &(dyn Error + 'static)) -> Option<Exit> {
    None.or_else(|| error.downcast_ref().and_then(of_fault))
        .or_else(|| error.downcast_ref().and_then(of_out))
        .or_else(|| error.downcast_ref().and_then(of_backup))
        .or_else(|| error.downcast_ref().and_then(of_restore))
        .or_else(|| error.downcast_ref().and_then(of_check))
        .or_else(|| error.downcast_ref().and_then(of_prune))
        .or_else(|| error.downcast_ref().and_then(of_repair))
        .or_else(|| error.downcast_ref().and_then(of_inside))
        .or_else(|| error.downcast_ref().and_then(of_disk))
        .or_else(|| error.downcast_ref().and_then(of_disk_target))
        .or_else(|| error.downcast_ref().and_then(of_pin))
        .or_else(|| error.downcast_ref().and_then(of_repo))
        .or_else(|| error.downcast_ref().and_then(of_store))
        .or_else(|| error.downcast_ref().and_then(of_cache))
        .or_else(|| error.downcast_ref().and_then(of_source))
        .or_else(|| error.downcast_ref().and_then(of_target))
        .or_else(|| error.downcast_ref().map(of_select))
        .or_else(|| error.downcast_ref::<NeverRead>().map(|_| Exit::Incomplete))
        .or_else(|| error.downcast_ref::<MountError>().map(|_| Exit::NoMount))
        .or_else(|| error.downcast_ref().and_then(of_unmount))
        .or_else(|| error.downcast_ref().and_then(of_sqlite))
        .or_else(|| error.downcast_ref().and_then(of_io))
}

fn of_fault(error: &Fault) -> Option<Exit> {
    match error {
        Fault::NoLocation
        | Fault::NoPassword { .. }
        | Fault::TwoPasswords { .. }
        | Fault::EmptyPassword { .. }
        | Fault::Usage { .. } => Some(Exit::Usage),
        Fault::NoPath { .. }
        | Fault::Nowhere { .. }
        | Fault::NoPart { .. }
        | Fault::NotAFile { .. }
        | Fault::NotAFolder { .. } => Some(Exit::NotFound),
        Fault::MountInRepository { .. } | Fault::MakeFolder { .. } => Some(Exit::NoMount),
        Fault::NoDisks { .. } => Some(Exit::NotFound),
        Fault::NoKey { .. } | Fault::KeysAlike { .. } => Some(Exit::NotFound),
        Fault::NothingForgotten | Fault::TooLate { .. } => Some(Exit::NotFound),
        _ => None,
    }
}

fn of_out(error: &OutError) -> Option<Exit> {
    (error.0.kind() == io::ErrorKind::BrokenPipe).then_some(Exit::Pipe)
}

fn of_backup(error: &backup::Error) -> Option<Exit> {
    match error {
        backup::Error::Repo(error) => of_repo(error),
        backup::Error::Source(error) => of_source(error),
        backup::Error::NoParent { .. } => Some(Exit::NotFound),
        backup::Error::Cancelled => Some(Exit::Interrupted),
        _ => None,
    }
}

fn of_restore(error: &restore::Error) -> Option<Exit> {
    match error {
        restore::Error::Repo(error) => of_repo(error),
        restore::Error::Inside(error) => of_inside(error),
        restore::Error::Target(error) => of_target(error),
        restore::Error::NotInSnapshot { .. } => Some(Exit::NotFound),
        restore::Error::Rule { .. } => Some(Exit::Usage),
        restore::Error::Cancelled => Some(Exit::Interrupted),
    }
}

fn of_check(error: &check::Error) -> Option<Exit> {
    match error {
        check::Error::Repo(error) => of_repo(error),
        check::Error::Cancelled => Some(Exit::Interrupted),
    }
}

fn of_prune(error: &prune::Error) -> Option<Exit> {
    match error {
        prune::Error::Repo(error) => of_repo(error),
        prune::Error::Cancelled => Some(Exit::Interrupted),
        prune::Error::Unreadable { .. }
        | prune::Error::NotRescued { .. }
        | prune::Error::Silent { .. }
        | prune::Error::LogDamaged { .. } => Some(Exit::Damaged),
        _ => None,
    }
}

fn of_repair(error: &repair::Error) -> Option<Exit> {
    match error {
        repair::Error::Repo(error) => of_repo(error),
        repair::Error::Cancelled => Some(Exit::Interrupted),
        _ => None,
    }
}

fn of_inside(error: &InsideError) -> Option<Exit> {
    match error {
        InsideError::Repo(error) => of_repo(error),
        InsideError::NeverRead(_) => Some(Exit::Incomplete),
        _ => None,
    }
}

fn of_disk(error: &restore::DiskError) -> Option<Exit> {
    match error {
        restore::DiskError::Repo(error) => of_repo(error),
        restore::DiskError::Target(error) => of_disk_target(error),
        restore::DiskError::Incomplete { source, .. } => of_disk(source),
        restore::DiskError::TooSmall { .. } => Some(Exit::Full),
        restore::DiskError::Cancelled => Some(Exit::Interrupted),
        _ => None,
    }
}

fn of_disk_target(error: &target::DiskFault) -> Option<Exit> {
    error.is_full().then_some(Exit::Full)
}

fn of_pin(error: &pin::Error) -> Option<Exit> {
    match error {
        pin::Error::Repo(error) => of_repo(error),
        pin::Error::NotFound => Some(Exit::NotFound),
        pin::Error::Cancelled => Some(Exit::Interrupted),
    }
}

fn of_repo(error: &repo::Error) -> Option<Exit> {
    match error.inner() {
        repo::Error::Store(error) => of_store(error),
        repo::Error::NoRepository { .. } => Some(Exit::NoRepository),
        repo::Error::WrongPassword => Some(Exit::WrongPassword),
        repo::Error::State(error) => of_state(error),
        repo::Error::Cache(error) => of_cache(error),
        repo::Error::ChainCrowded { .. } => Some(Exit::Locked),
        // The causes of a shared error are not seen from outside it.
        inner => inner.source().map(Exit::of).filter(|code| *code != Exit::Failed),
    }
}

fn of_state(error: &StateError) -> Option<Exit> {
    error.source().map(Exit::of).filter(|code| *code != Exit::Failed)
}

fn of_store(error: &store::Error) -> Option<Exit> {
    match error.kind {
        ErrorKind::NotFound if error.name.is_empty() || error.verb == "write" => Some(Exit::NoRepository),
        ErrorKind::Full => Some(Exit::Full),
        ErrorKind::Unreachable | ErrorKind::Offline => Some(Exit::Unreachable),
        ErrorKind::BadLocation => Some(Exit::Usage),
        _ => None,
    }
}

fn of_cache(error: &cache::Error) -> Option<Exit> {
    match error {
        cache::Error::LimitTooSmall { .. } => Some(Exit::Usage),
        cache::Error::NoPin { .. } => Some(Exit::NotFound),
        cache::Error::Busy { .. } => Some(Exit::Locked),
        cache::Error::DiskShort { .. } => Some(Exit::Full),
        _ => None,
    }
}

fn of_source(error: &source::Error) -> Option<Exit> {
    match error {
        source::Error::NoRoots | source::Error::Rule { .. } | source::Error::Rules { .. } => Some(Exit::Usage),
        _ => None,
    }
}

fn of_target(error: &target::Error) -> Option<Exit> {
    error.is_full().then_some(Exit::Full)
}

fn of_select(error: &SelectError) -> Exit {
    match error {
        SelectError::Syntax { .. } | SelectError::Path { .. } => Exit::Usage,
        _ => Exit::NotFound,
    }
}

fn of_unmount(error: &UnmountError) -> Option<Exit> {
    matches!(error, UnmountError::NoHelper).then_some(Exit::NoMount)
}

fn of_sqlite(error: &rusqlite::Error) -> Option<Exit> {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Some(Exit::Locked),
        Some(rusqlite::ErrorCode::DiskFull) => Some(Exit::Full),
        _ => None,
    }
}

fn of_io(error: &io::Error) -> Option<Exit> {
    let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    // An error of ours within one of the system's does not show among its causes.
    let inner = || error.get_ref().map(|inner| Exit::of(inner)).filter(|code| *code != Exit::Failed);
    is_full.then_some(Exit::Full).or_else(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SnapshotId;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn store(kind: ErrorKind, verb: &'static str, name: &str) -> store::Error {
        store::Error::new(kind, verb, name, "/there")
    }

    fn code(error: impl Error + 'static) -> u8 {
        Exit::of(&error).number()
    }

    fn io(kind: io::ErrorKind) -> io::Error {
        io::Error::from(kind)
    }

    #[test]
    fn numbers_and_names_are_unique() {
        for (i, (_, number, name, _)) in TABLE.iter().enumerate() {
            assert!(TABLE[i + 1..].iter().all(|(_, other, other_name, _)| other != number && other_name != name));
            assert!(help().contains(&format!("{number:>3}  ")));
        }
    }

    #[test]
    fn the_store_decides_by_kind() {
        assert_eq!(code(store(ErrorKind::Unreachable, "list", "")), 16);
        assert_eq!(code(store(ErrorKind::Full, "write", "packs/x")), 15);
        assert_eq!(code(store(ErrorKind::NotFound, "open", "")), 10);
        assert_eq!(code(store(ErrorKind::NotFound, "read", "packs/x")), 1);
        assert_eq!(code(store(ErrorKind::BadLocation, "open", "")), 2);
        assert_eq!(code(store(ErrorKind::Denied, "read", "config")), 1);
    }

    #[test]
    fn wrappers_are_seen_through() {
        let away = || repo::Error::Store(store(ErrorKind::Unreachable, "read", "packs/x"));
        assert_eq!(code(away()), 16);
        assert_eq!(code(repo::Error::Shared(Arc::new(away()))), 16);
        let twice = repo::Error::Shared(Arc::new(repo::Error::Shared(Arc::new(repo::Error::WrongPassword))));
        assert_eq!(code(twice), 12);
        assert_eq!(code(backup::Error::Repo(away())), 16);
        assert_eq!(code(restore::Error::Repo(repo::Error::Shared(Arc::new(away())))), 16);
        assert_eq!(code(io::Error::other(away())), 16);
    }

    #[test]
    fn repository_and_snapshots() {
        assert_eq!(code(repo::Error::NoRepository { location: "/there".into() }), 10);
        assert_eq!(code(repo::Error::Exists { location: "/there".into() }), 1);
        assert_eq!(code(SelectError::None { filtered: false }), 13);
        assert_eq!(code(SelectError::Ambiguous { digits: "a".into(), candidates: vec![] }), 13);
        assert_eq!(code(SelectError::Syntax { text: "x".into() }), 2);
        assert_eq!(code(backup::Error::NoParent { id: SnapshotId([0; 16]) }), 13);
        assert_eq!(code(restore::Error::NotInSnapshot { path: vec![] }), 13);
    }

    #[test]
    fn deeds_and_drives() {
        assert_eq!(code(backup::Error::Cancelled), 130);
        assert_eq!(code(check::Error::Cancelled), 130);
        assert_eq!(code(check::Error::Repo(repo::Error::WrongPassword)), 12);
        assert_eq!(code(restore::Error::Cancelled), 130);
        assert_eq!(code(backup::Error::Source(source::Error::NoRoots)), 2);
        assert_eq!(code(MountError::NoHelper), 14);
        assert_eq!(code(MountError::NotEmpty { path: PathBuf::new() }), 14);
        assert_eq!(code(UnmountError::NotMounted { path: PathBuf::new() }), 1);
        let full = target::Error::Io { verb: "write", path: vec![], source: io(io::ErrorKind::StorageFull) };
        assert_eq!(code(restore::Error::Target(full)), 15);
        let full = || target::DiskFault::Io {
            verb: "write to",
            path: PathBuf::new(),
            at: 0,
            source: io(io::ErrorKind::StorageFull),
        };
        assert_eq!(code(restore::DiskError::Target(full())), 15);
        let within = |source| restore::DiskError::Incomplete { path: PathBuf::new(), source: Box::new(source) };
        assert_eq!(code(within(restore::DiskError::Target(full()))), 15);
        assert_eq!(code(within(restore::DiskError::Cancelled)), 130);
        assert_eq!(code(restore::DiskError::TooSmall { path: PathBuf::new(), has: 1, needs: 2 }), 15);
        assert_eq!(code(restore::DiskError::Exists { path: PathBuf::new() }), 1);
    }

    #[test]
    fn the_cache() {
        assert_eq!(code(cache::Error::LimitTooSmall { bytes: 1, bytes_min: 2 }), 2);
        assert_eq!(code(cache::Error::NoPin { label: "x".into() }), 13);
        assert_eq!(code(cache::Error::Busy { folder: PathBuf::new() }), 11);
        assert_eq!(code(cache::Error::DiskShort { folder: PathBuf::new() }), 15);
        assert_eq!(code(cache::Error::NotOurs { folder: PathBuf::new() }), 1);
    }

    #[test]
    fn locks_pipes_and_the_rest() {
        let busy = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None);
        let state = StateError { path: PathBuf::new(), source: Box::new(busy) };
        assert_eq!(code(backup::Error::Repo(repo::Error::State(state))), 11);
        assert_eq!(code(OutError(io(io::ErrorKind::BrokenPipe))), 141);
        assert_eq!(code(OutError(io(io::ErrorKind::StorageFull))), 15);
        assert_eq!(code(io(io::ErrorKind::BrokenPipe)), 1);
    }
}
