//! Tests of the walk on real trees, and what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod borders;
mod nodes;
mod order;
mod rules;

use crate::source::Found;
use crate::source::Options;
use crate::source::Step;
use crate::source::os;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn options(root: &Path) -> Options {
    Options { roots: vec![root.to_owned()], threads: 2, ..Options::default() }
}

fn steps(options: &Options) -> Vec<Step> {
    crate::source::walk(options).unwrap().collect()
}

fn found(steps: &[Step]) -> impl Iterator<Item = &Found> {
    steps.iter().filter_map(|step| match step {
        Step::Found(found) => Some(found),
        _ => None,
    })
}

/// The snapshot path of a local one.
fn inside(path: &Path) -> Vec<u8> {
    os::bytes(path.as_os_str())[1..].to_vec()
}

/// What was found below the root, as relative text; what was skipped is shown as `path: why`.
fn below(steps: &[Step], root: &Path) -> Vec<String> {
    let root = inside(&fs::canonicalize(root).unwrap());
    let relative = |path: &[u8]| {
        let rest = path.strip_prefix(&root[..])?.strip_prefix(b"/")?;
        Some(String::from_utf8_lossy(rest).into_owned())
    };
    let line = |step: &Step| match step {
        Step::Found(found) => relative(&found.path()),
        Step::Skipped { path, why } => Some(format!("{}: {why}", relative(path)?)),
        Step::Problem { path, error } => Some(format!("{}: {error:?}", relative(path)?)),
    };
    steps.iter().filter_map(line).collect()
}

/// A tree of small files; a name ending in `/` is an empty folder.
fn tree(paths: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for path in paths {
        let full = root.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
        } else {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(full, path).unwrap();
        }
    }
    root
}

/// The node at a path relative to the root.
fn node<'a>(steps: &'a [Step], root: &Path, relative: &str) -> &'a Found {
    let path = inside(&root.join(relative));
    found(steps).find(|found| found.path() == path).unwrap()
}
