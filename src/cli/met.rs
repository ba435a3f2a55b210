//! Which repositories this machine has met at a location: another one in its place is told, once. Disks that take turns at one mount
//! point are all known after their first time.

use crate::cli::global::Global;
use crate::cli::out;
use crate::cli::place;
use crate::id::RepositoryId;
use crate::store::Location;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

/// Takes note that the repository lies there, because it was just made there.
pub(super) fn made(location: &Location, repository: RepositoryId) {
    if let Some(note) = note_of(location) {
        // What cannot be kept cannot be told later: no reason to fail.
        let _lost = add(&note, location, repository);
    }
}

/// Warns if only others were met there so far.
pub(super) fn meet(global: &Global, location: &Location, repository: RepositoryId) {
    let Some(note) = note_of(location) else { return };
    let known = fs::read_to_string(&note).unwrap_or_default();
    let mut known = known.lines().skip(1).peekable();
    let is_first = known.peek().is_none();
    if known.any(|id| id == repository.to_string()) || add(&note, location, repository).is_err() || is_first {
        return;
    }
    out::warning(
        global.json,
        format_args!(
            "*** ANOTHER REPOSITORY *** At {location} lies {repository}, which this machine has never met there. Unless you put it \
             there, somebody has replaced yours. This is told once."
        ),
    );
}

/// The file that keeps them: the location in the first line, an id in each of the others.
fn note_of(location: &Location) -> Option<PathBuf> {
    if matches!(location, Location::Memory(_)) {
        return None;
    }
    let name = blake3::hash(text_of(location).as_bytes()).to_hex();
    Some(place::state_folder()?.join("met").join(&name[..32]))
}

fn text_of(location: &Location) -> String {
    match location {
        Location::Folder(path) => {
            std::path::absolute(path).unwrap_or_else(|_| path.clone()).to_string_lossy().into_owned()
        }
        _ => location.to_string(),
    }
}

fn add(note: &Path, location: &Location, repository: RepositoryId) -> std::io::Result<()> {
    fs::create_dir_all(note.parent().unwrap_or(Path::new(".")))?;
    let is_new = !note.exists();
    let mut file = fs::OpenOptions::new().create(true).append(true).open(note)?;
    let head = if is_new { text_of(location).replace('\n', " ") + "\n" } else { String::new() };
    file.write_all(format!("{head}{repository}\n").as_bytes())
}
