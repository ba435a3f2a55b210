//! All folders of a file system, those near the root first.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::FileSystem;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use std::collections::HashSet;
use std::collections::VecDeque;

/// More folders than this are not visited.
const FOLDERS_MAX: usize = 1 << 20;

/// Calls `visit` with each folder once, until it returns false. What is damaged is left out with all below it.
pub(crate) fn each_folder<F: FileSystem>(
    fs: &mut F,
    visit: &mut dyn FnMut(&mut F, NodeId) -> Result<bool>,
) -> Result<()> {
    let mut waiting = VecDeque::from([fs.root()]);
    let mut seen = HashSet::from([fs.root()]);
    while let Some(folder) = waiting.pop_front() {
        match visit(fs, folder) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error @ Error::Read { .. }) => return Err(error),
            Err(_) => continue,
        }
        for child in children(fs, folder)? {
            if seen.len() < FOLDERS_MAX && seen.insert(child) {
                waiting.push_back(child);
            }
        }
    }
    Ok(())
}

/// The folders in a folder, as far as they can be told.
fn children<F: FileSystem>(fs: &mut F, folder: NodeId) -> Result<Vec<NodeId>> {
    const PART: usize = 4096;
    let (mut folders, mut cursor) = (Vec::new(), 0);
    loop {
        let mut part = Vec::with_capacity(PART);
        let listed = fs.list(folder, cursor, &mut |entry| {
            cursor = entry.cursor;
            part.push(entry.node);
            part.len() < PART
        });
        for id in &part {
            match fs.node(*id) {
                Ok(node) if node.kind == NodeKind::Folder && folders.len() < FOLDERS_MAX => folders.push(*id),
                Err(error @ Error::Read { .. }) => return Err(error),
                _ => {}
            }
        }
        match listed {
            Err(error @ Error::Read { .. }) => return Err(error),
            Ok(()) if part.len() == PART => {}
            _ => return Ok(folders),
        }
    }
}
