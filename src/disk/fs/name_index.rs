//! Where names stand in folders, for formats whose folders are plain lists: a look-up in a large folder must not read
//! all of it every time.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Entry;
use crate::disk::fs::FileSystem;
use crate::disk::fs::NodeId;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

/// Names known at once, 8 bytes each, over all folders.
const NAMES_MAX: usize = 512 << 10;
/// Folders known at once.
const FOLDERS_MAX: usize = 64;

/// One folder: for every name its hash and the cursor before it, sorted.
#[derive(Debug)]
struct Folder {
    id: NodeId,
    names: Vec<(u32, u32)>,
    /// Names after this cursor are not known; `None`: all are.
    known_to: Option<u64>,
}

/// The names of the folders that were asked of last.
#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    /// The last one asked of is the last here.
    folders: Vec<Folder>,
}

impl NameIndex {
    /// The node of `name` in `folder`, as [`FileSystem::lookup`]: the first, if there are several.
    pub(crate) fn lookup(&mut self, fs: &mut dyn FileSystem, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        match self.folders.iter().position(|known| known.id == folder) {
            Some(at) => {
                let known = self.folders.remove(at);
                self.folders.push(known);
            }
            None => {
                let read = Folder::read(fs, folder)?;
                self.folders.push(read);
                self.forget();
            }
        }
        match self.folders.last() {
            Some(known) => known.find(fs, name)?.ok_or(Error::NotFound),
            None => Err(Error::NotFound),
        }
    }

    fn forget(&mut self) {
        let mut names = self.folders.iter().map(|folder| folder.names.len()).sum::<usize>();
        while self.folders.len() > 1 && (self.folders.len() > FOLDERS_MAX || names > NAMES_MAX) {
            names -= self.folders.remove(0).names.len();
        }
    }
}

impl Folder {
    fn read(fs: &mut dyn FileSystem, id: NodeId) -> Result<Folder> {
        let mut folder = Folder { id, names: Vec::new(), known_to: None };
        let mut before = 0u64;
        fs.list(id, 0, &mut |entry| match u32::try_from(before) {
            Ok(at) if folder.names.len() < NAMES_MAX => {
                folder.names.push((hash(&entry.name), at));
                before = entry.cursor;
                true
            }
            _ => {
                folder.known_to = Some(before);
                false
            }
        })?;
        folder.names.sort_unstable();
        folder.names.shrink_to_fit();
        Ok(folder)
    }

    fn find(&self, fs: &mut dyn FileSystem, name: &[u8]) -> Result<Option<NodeId>> {
        let wanted = hash(name);
        let first = self.names.partition_point(|(hash, _)| *hash < wanted);
        for (_, before) in self.names.iter().skip(first).take_while(|(hash, _)| *hash == wanted) {
            let mut found: Option<Entry> = None;
            fs.list(self.id, u64::from(*before), &mut |entry| {
                found = Some(entry);
                false
            })?;
            if let Some(entry) = found.filter(|entry| entry.name == name) {
                return Ok(Some(entry.node));
            }
        }
        let mut found = None;
        if let Some(cursor) = self.known_to {
            fs.list(self.id, cursor, &mut |entry| {
                found = (entry.name == name).then_some(entry.node);
                found.is_none()
            })?;
        }
        Ok(found)
    }
}

fn hash(name: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish() as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::Run;
    use crate::disk::fs::About;
    use crate::disk::fs::Node;
    use crate::meta::Xattr;
    use std::ops::Range;

    /// Every folder has as many names as its number says; entries that were told are counted.
    struct Counted(u64);

    impl FileSystem for Counted {
        fn about(&self) -> About {
            About::default()
        }

        fn root(&self) -> NodeId {
            0
        }

        fn node(&mut self, _id: NodeId) -> Result<Node> {
            Err(Error::NotFound)
        }

        fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
            for node in cursor..folder {
                self.0 += 1;
                if !take(Entry { name: format!("name {node}").into(), node, cursor: node + 1 }) {
                    break;
                }
            }
            Ok(())
        }

        fn map(&mut self, _file: NodeId, _range: Range<u64>, _runs: &mut Vec<Run>) -> Result<()> {
            Err(Error::WrongKind)
        }

        fn link(&mut self, _node: NodeId) -> Result<Vec<u8>> {
            Err(Error::WrongKind)
        }

        fn xattrs(&mut self, _node: NodeId) -> Result<Vec<Xattr>> {
            Ok(Vec::new())
        }

        fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
            Ok(None)
        }

        fn metadata(&mut self, _take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_folder_is_read_once() {
        let (mut fs, mut index) = (Counted(0), NameIndex::default());
        for n in (0..50_000).step_by(7) {
            assert_eq!(index.lookup(&mut fs, 50_000, format!("name {n}").as_bytes()).unwrap(), n);
        }
        assert!(matches!(index.lookup(&mut fs, 50_000, b"other"), Err(Error::NotFound)));
        assert!(fs.0 < 60_000, "{}", fs.0);
    }

    #[test]
    fn names_beyond_the_limit_are_found_all_the_same() {
        let (mut fs, mut index) = (Counted(0), NameIndex::default());
        let count = NAMES_MAX as u64 + 1000;
        for n in [0, NAMES_MAX as u64 - 1, NAMES_MAX as u64, count - 1] {
            assert_eq!(index.lookup(&mut fs, count, format!("name {n}").as_bytes()).unwrap(), n);
        }
        assert_eq!(index.lookup(&mut fs, 10, b"name 3").unwrap(), 3);
        assert_eq!(index.folders.len(), 1, "both are more than the limit");
    }
}
