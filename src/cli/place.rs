//! What belongs to this machine: where local state and the cache are kept, and what tells machines apart.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The folder for local state; `None` if nothing says where it could be.
pub(super) fn state_folder() -> Option<PathBuf> {
    let folder = choose(|name| env::var_os(name), rustix::process::geteuid().is_root())?;
    std::path::absolute(folder).ok()
}

/// The folders where drives may be asked for their status: the first one is for this process, drives that were mounted
/// in another session may be in the others.
pub(super) fn drive_folders() -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = PathBuf::from(format!("/run/user/{user}"));
    // After `su` the variable may still name another user's folder, where nothing of ours may be put.
    let is_ours = |folder: &PathBuf| std::fs::metadata(folder).is_ok_and(|meta| meta.uid() == user);
    let runtime = runtime.filter(|folder| folder.is_absolute() && is_ours(folder));
    let mut folders: Vec<PathBuf> = runtime.iter().map(|folder| folder.join("bygone")).collect();
    folders.extend(state_folder().map(|folder| folder.join("drives")));
    if runtime.as_ref() != Some(&usual) && is_ours(&usual) {
        folders.push(usual.join("bygone"));
    }
    folders
}

fn choose(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = folder("BYGONE_STATE_DIR") {
        return Some(folder);
    }
    // The base folder rules: a relative one does not count.
    if let Some(folder) = folder("XDG_STATE_HOME").filter(|folder| folder.is_absolute()) {
        return Some(folder.join("bygone"));
    }
    if let Some(home) = folder("HOME") {
        return Some(home.join(".local/state/bygone"));
    }
    is_root.then(|| PathBuf::from("/var/lib/bygone"))
}

/// The folder for the cache; `None` if nothing says where it could be.
pub(super) fn cache_folder() -> Option<PathBuf> {
    choose_cache(|name| env::var_os(name), rustix::process::geteuid().is_root())
}

fn choose_cache(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = folder("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()) {
        return Some(folder.join("bygone"));
    }
    let home = folder("HOME").map(|home| home.join(".cache/bygone"));
    home.or_else(|| is_root.then(|| PathBuf::from("/var/cache/bygone")))
}

/// The name of this machine.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The user who runs this; empty if the number has no name.
pub(super) fn user() -> String {
    let name = uzers::get_effective_username();
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What differs between machines, a copied disk included if it was set up anew.
pub(super) fn machine() -> Vec<u8> {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].iter().find_map(|path| std::fs::read(path).ok());
    let mut machine = id.unwrap_or_default();
    machine.push(b'\n');
    machine.extend_from_slice(rustix::system::uname().nodename().to_bytes());
    machine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(set: &[(&str, &str)], is_root: bool) -> Option<PathBuf> {
        choose(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)), is_root)
    }

    #[test]
    fn the_state_folder_has_an_order_of_places() {
        let all = [("BYGONE_STATE_DIR", "/b"), ("XDG_STATE_HOME", "/x"), ("HOME", "/home/ada")];
        assert_eq!(chosen(&all, true), Some("/b".into()));
        assert_eq!(chosen(&all[1..], true), Some("/x/bygone".into()));
        assert_eq!(chosen(&all[2..], true), Some("/home/ada/.local/state/bygone".into()));
        assert_eq!(chosen(&[("XDG_STATE_HOME", "x"), ("HOME", "")], true), Some("/var/lib/bygone".into()));
        assert_eq!(chosen(&[], false), None);
    }

    #[test]
    fn the_cache_folder_has_an_order_of_places() {
        let chosen = |set: &[(&str, &str)], is_root| {
            choose_cache(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)), is_root)
        };
        let all = [("XDG_CACHE_HOME", "/x"), ("HOME", "/home/ada")];
        assert_eq!(chosen(&all, true), Some("/x/bygone".into()));
        assert_eq!(chosen(&all[1..], true), Some("/home/ada/.cache/bygone".into()));
        assert_eq!(chosen(&[("XDG_CACHE_HOME", "x")], true), Some("/var/cache/bygone".into()));
        assert_eq!(chosen(&[], false), None);
    }
}
