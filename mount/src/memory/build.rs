//! Building a drive in memory, node by node.

use crate::drive::Attr;
use crate::drive::DriveError;
use crate::drive::DriveTime;
use crate::drive::FileKind;
use crate::drive::Ino;
use crate::drive::ROOT;
use crate::drive::Volume;
use crate::memory::Body;
use crate::memory::CROWD_SPAN;
use crate::memory::Gate;
use crate::memory::MemoryDrive;
use crate::memory::Node;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

/// 2020-01-01, the time of all nodes that were given no other.
const TIME_TYPICAL: DriveTime = DriveTime { secs: 1_577_836_800, nanos: 0 };

/// Builds a [`MemoryDrive`]. Folders are named by number; [`ROOT`] is there from the start.
///
/// Numbers that were not given out by this builder are a mistake of the caller, and ignored.
#[derive(Debug)]
pub struct MemoryBuilder {
    nodes: HashMap<Ino, Node>,
    next: Ino,
    crowds: u64,
    late: bool,
}

impl Default for MemoryBuilder {
    fn default() -> MemoryBuilder {
        MemoryBuilder::new()
    }
}

impl MemoryBuilder {
    /// An empty root folder.
    #[must_use]
    pub fn new() -> MemoryBuilder {
        let mut builder = MemoryBuilder { nodes: HashMap::new(), next: ROOT, crowds: 0, late: false };
        builder.node(ROOT, FileKind::Folder, 0o755, 0, Body::Folder(Vec::new()));
        builder
    }

    /// Adds a folder.
    pub fn folder(&mut self, parent: Ino, name: &str) -> Ino {
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.attr.links += 1;
        }
        self.named(parent, name, FileKind::Folder, 0o755, 0, Body::Folder(Vec::new()))
    }

    /// Adds a file.
    pub fn file(&mut self, parent: Ino, name: &str, content: impl Into<Bytes>) -> Ino {
        let content = content.into();
        let len = content.len() as u64;
        self.sparse(parent, name, len, [(0, content)])
    }

    /// Adds a file of `size` bytes that has content at some offsets, ascending and apart, and holes everywhere else.
    pub fn sparse(
        &mut self,
        parent: Ino,
        name: &str,
        size: u64,
        pieces: impl IntoIterator<Item = (u64, Bytes)>,
    ) -> Ino {
        let pieces: BTreeMap<u64, Bytes> = pieces.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let allocated = pieces.values().map(|piece| piece.len() as u64).sum();
        let ino = self.named(parent, name, FileKind::File, 0o644, size, Body::File(pieces));
        self.change(ino, |attr| attr.allocated = allocated);
        ino
    }

    /// Adds a file of any size whose content is [`pattern`](super::pattern).
    pub fn pattern_file(&mut self, parent: Ino, name: &str, size: u64) -> Ino {
        self.named(parent, name, FileKind::File, 0o644, size, Body::Pattern)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, parent: Ino, name: &str, target: &str) -> Ino {
        let target = Bytes::copy_from_slice(target.as_bytes());
        self.named(parent, name, FileKind::Symlink, 0o777, target.len() as u64, Body::Symlink(target))
    }

    /// Adds a device, pipe or socket.
    pub fn special(&mut self, parent: Ino, name: &str, kind: FileKind, device: (u32, u32)) -> Ino {
        let ino = self.named(parent, name, kind, 0o644, 0, Body::Special);
        self.change(ino, |attr| attr.device = device);
        ino
    }

    /// Gives a file one more name.
    pub fn hard_link(&mut self, parent: Ino, name: &str, ino: Ino) {
        self.change(ino, |attr| attr.links += 1);
        self.link(parent, name, ino);
    }

    /// Adds a folder with `count` files named `prefix` and seven digits or more, each holding its own name.
    pub fn crowd(&mut self, parent: Ino, name: &str, prefix: &str, count: u64) -> Ino {
        self.crowds += 1;
        let ino = CROWD_SPAN * self.crowds;
        self.link(parent, name, ino);
        self.node_at(ino, parent, FileKind::Folder, 0o755, 0, Body::Crowd { prefix: prefix.to_owned(), count });
        ino
    }

    /// Changes the attributes of a node.
    pub fn change(&mut self, ino: Ino, change: impl FnOnce(&mut Attr)) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            change(&mut node.attr);
        }
    }

    /// Gives a node an extended attribute.
    pub fn xattr(&mut self, ino: Ino, name: &str, value: impl Into<Bytes>) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.xattrs.insert(name.as_bytes().to_vec(), value.into());
        }
    }

    /// Makes every request for content, entries or extended attributes of a node fail.
    pub fn fail(&mut self, ino: Ino, fault: DriveError) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.fault = Some(fault);
        }
    }

    /// Makes the same requests slow.
    pub fn delay(&mut self, ino: Ino, delay: Duration) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.delay = Some(delay);
        }
    }

    /// Makes the same requests wait until the gate is opened.
    pub fn gate(&mut self, ino: Ino) -> Gate {
        let gate = Gate::new();
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.gate = Some(gate.clone());
        }
        gate
    }

    /// Makes every answer come later, as from a disk or network.
    pub fn late(&mut self) {
        self.late = true;
    }

    /// The drive.
    #[must_use]
    pub fn build(mut self) -> MemoryDrive {
        for node in self.nodes.values_mut() {
            if let Body::Folder(entries) = &mut node.body {
                entries.sort();
            }
        }
        let volume = Volume {
            bytes: self.nodes.values().map(|node| node.attr.size).sum(),
            nodes: self
                .nodes
                .values()
                .map(|node| if let Body::Crowd { count, .. } = node.body { count + 1 } else { 1 })
                .sum(),
        };
        let xattrs = self.nodes.values().any(|node| !node.xattrs.is_empty());
        MemoryDrive { nodes: self.nodes, volume, xattrs, late: self.late }
    }

    fn named(&mut self, parent: Ino, name: &str, kind: FileKind, mode: u32, size: u64, body: Body) -> Ino {
        let ino = self.node(parent, kind, mode, size, body);
        self.link(parent, name, ino);
        ino
    }

    fn link(&mut self, parent: Ino, name: &str, ino: Ino) {
        if let Some(Node { body: Body::Folder(entries), .. }) = self.nodes.get_mut(&parent) {
            entries.push((name.as_bytes().to_vec(), ino));
        }
    }

    fn node(&mut self, parent: Ino, kind: FileKind, mode: u32, size: u64, body: Body) -> Ino {
        let ino = self.next;
        self.next += 1;
        self.node_at(ino, parent, kind, mode, size, body);
        ino
    }

    fn node_at(&mut self, ino: Ino, parent: Ino, kind: FileKind, mode: u32, size: u64, body: Body) {
        let attr = attr(ino, kind, mode, size);
        let xattrs = BTreeMap::new();
        self.nodes.insert(ino, Node { attr, parent, body, xattrs, fault: None, delay: None, gate: None });
    }
}

pub(super) fn attr(ino: Ino, kind: FileKind, mode: u32, size: u64) -> Attr {
    let owner = owner();
    Attr {
        ino,
        kind,
        size,
        allocated: size,
        mode,
        links: if kind == FileKind::Folder { 2 } else { 1 },
        uid: owner.0,
        gid: owner.1,
        device: (0, 0),
        mtime: TIME_TYPICAL,
        ctime: TIME_TYPICAL,
        btime: TIME_TYPICAL,
    }
}

/// Everything belongs to whoever runs this.
#[cfg(unix)]
fn owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

#[cfg(not(unix))]
fn owner() -> (u32, u32) {
    (0, 0)
}
