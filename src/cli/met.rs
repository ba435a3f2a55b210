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
        let _lost = add(&note, &read(&note), location, repository);
    }
}

/// Warns if only others were met there so far.
pub(super) fn meet(global: &Global, location: &Location, repository: RepositoryId) {
    let Some(note) = note_of(location) else { return };
    let text = read(&note);
    // A line that a crash has cut short names nothing.
    let known: Vec<RepositoryId> = text.lines().skip(1).filter_map(|line| line.parse().ok()).collect();
    if known.contains(&repository) || add(&note, &text, location, repository).is_err() || known.is_empty() {
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

fn read(note: &Path) -> String {
    fs::read(note).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// `text`: what the note says so far.
fn add(note: &Path, text: &str, location: &Location, repository: RepositoryId) -> std::io::Result<()> {
    fs::create_dir_all(note.parent().unwrap_or(Path::new(".")))?;
    let head = match text {
        "" => text_of(location).replace('\n', " ") + "\n",
        _ if text.ends_with('\n') => String::new(),
        _ => "\n".to_owned(),
    };
    let mut file = fs::OpenOptions::new().create(true).append(true).open(note)?;
    file.write_all(format!("{head}{repository}\n").as_bytes())
}
