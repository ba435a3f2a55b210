//! Reading and cutting files, hashing and compressing chunks: the work that keeps all cores busy.

use crate::backup::known::Known;
use crate::backup::together::Pending;
use crate::backup::together::Together;
use crate::chunker::Chunker;
use crate::crypto::Keys;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::id::ChunkId;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Node;
use crate::repo;
use crate::source;
use crate::source::Found;
use crate::source::Owners;
use crate::source::SourceFile;
use std::sync::Arc;

/// Files up to this length stand inside their node.
pub(super) const INLINE_BYTES: usize = 128;
/// Bytes read at once. At least the largest chunk, so that the chunker always sees enough.
const READ_BYTES_MIN: usize = 4 << 20;

/// What all workers share.
pub(super) struct Shop {
    pub(super) keys: Keys,
    pub(super) chunker: Chunker,
    pub(super) known: Known,
    pub(super) owners: Owners,
    pub(super) level: i32,
    /// What comes in chunks comes in those of another chunker, and is cut anew.
    pub(super) recuts: bool,
    /// Files that one worker has open at once, at least 1: the one it reads, and those it will read next.
    pub(super) files_open: usize,
}

/// A run of a file, ready to be put into a pack.
pub(super) enum Draft {
    /// A chunk; without a frame if it is known already.
    Chunk { id: ChunkId, len: u32, frame: Option<Pending> },
    /// A hole.
    Hole(u64),
    /// A chunk that is stored where it says.
    Known(ChunkRef),
}

/// A node, ready to be put into the tree.
pub(super) struct NodeDraft {
    pub(super) parent: Arc<[u8]>,
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) meta: Meta,
    /// Bytes that stand in the node itself.
    pub(super) inline: Option<Vec<u8>>,
    /// True if the parent has no node of this name.
    pub(super) is_new: bool,
    pub(super) runs: Vec<Draft>,
    /// Bytes read from the source.
    pub(super) bytes_read: u64,
}

/// Something in the order of the tree.
pub(super) enum Outcome {
    /// A node as it stood in the parent.
    Same(Arc<[u8]>, Box<Node>),
    /// A new or changed node. With a fault if it changed while it was read, or if something of it could not be read.
    Read(Box<NodeDraft>, Option<source::Error>),
    /// A node that could not be read.
    Problem(Vec<u8>, source::Error),
    /// Something left out.
    Skipped(Vec<u8>, &'static str),
}

/// Why the whole backup must stop.
pub(super) type Fault = super::Error;

impl Shop {
    /// Names a chunk, and sees to it that it is encoded if it is not known.
    pub(super) fn draft(&self, plain: &[u8], together: &mut Together) -> Result<Draft, Fault> {
        let id = self.keys.chunk_id(ChunkKind::Data, plain);
        let len = u32::try_from(plain.len()).expect("the chunker cuts far below 4 GiB");
        let frame = match self.known.get(id, len)? {
            Some(_) => None,
            None => Some(together.add(id, plain)?),
        };
        Ok(Draft::Chunk { id, len, frame })
    }

    /// The same for the content of a file that has come in one chunk.
    pub(super) fn draft_whole(
        &self,
        plain: &[u8],
        together: &mut Together,
        runs: &mut Vec<Draft>,
    ) -> Result<(), Fault> {
        let mut rest = plain;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(if self.recuts { self.chunker.cut(rest) } else { rest.len() });
            runs.push(self.draft(chunk, together)?);
            rest = behind;
        }
        Ok(())
    }

    /// Opens a file that will be read soon, so that a disk works on several at once. What cannot be opened is tried again, and
    /// told, when it is its turn.
    pub(super) fn open_ahead(&self, found: &Found) -> Option<SourceFile> {
        let file = has_bytes(found).then(|| found.open().ok()).flatten()?;
        file.will_need();
        Some(file)
    }

    /// Looks at a node anew and reads all but its bytes; with the file if it has some. `ahead` is the file if it is open already.
    pub(super) fn complete(
        &self,
        found: &mut Found,
        ahead: Option<SourceFile>,
    ) -> Result<(Kind, Meta, Option<SourceFile>), source::Error> {
        let open = ahead.filter(SourceFile::is_as_opened);
        let open = open.or_else(|| has_bytes(found).then(|| found.open().ok()).flatten());
        if let Some(file) = open {
            let (kind, meta) = found.complete_open(&file, &self.owners)?;
            return Ok((kind, meta, Some(file)));
        }
        let mut look = || {
            let (kind, meta) = found.complete(&self.owners)?;
            let file = has_bytes(found).then(|| found.open()).transpose()?;
            Ok((kind, meta, file))
        };
        // Another may be put in its place between the two.
        match look() {
            Err(source::Error::Changed) => look(),
            looked => looked,
        }
    }

    /// Reads one node whole; `ahead` is the file if it is open already.
    pub(super) fn read(
        &self,
        mut found: Found,
        ahead: Option<SourceFile>,
        is_new: bool,
        buffer: &mut Vec<u8>,
        together: &mut Together,
    ) -> Result<Outcome, Fault> {
        let mut changed = None;
        let (kind, meta, file) = match self.complete(&mut found, ahead) {
            Ok(whole) => whole,
            // What lies below would be out of reach without it. As it has no inode, it never passes for unchanged.
            Err(error) if found.stat.is_folder() => {
                changed = Some(error);
                (Kind::Folder, Meta { inode: 0, ..found.seen(&self.owners) }, None)
            }
            Err(error) => return Ok(Outcome::Problem(found.path(), error)),
        };
        let mut draft = NodeDraft {
            parent: found.parent().clone(),
            name: found.name.clone(),
            kind,
            meta,
            inline: None,
            is_new,
            runs: Vec::new(),
            bytes_read: 0,
        };
        if let Some(file) = file {
            let read = cut_file(&self.chunker, &file, buffer, &mut |piece| {
                match piece {
                    Run::Hole(len) => draft.runs.push(Draft::Hole(len)),
                    Run::Known(chunk) => draft.runs.push(Draft::Known(chunk)),
                    Run::Data(bytes) if bytes.len() <= INLINE_BYTES && bytes.len() as u64 == found.stat.size => {
                        draft.inline = Some(bytes.to_vec());
                        draft.bytes_read += bytes.len() as u64;
                    }
                    Run::Data(bytes) => {
                        draft.bytes_read += bytes.len() as u64;
                        draft.runs.push(self.draft(bytes, together)?);
                    }
                }
                Ok(())
            });
            match read {
                Ok(()) => changed = has_changed(&found, &file),
                Err(Stopped::Source(error)) => return Ok(Outcome::Problem(found.path(), error)),
                Err(Stopped::Backup(fault)) => return Err(fault),
            }
        }
        Ok(Outcome::Read(Box::new(draft), changed))
    }
}

fn has_bytes(found: &Found) -> bool {
    found.stat.is_file() && found.stat.size > 0
}

/// The fault to report if a file was written to since it was looked at.
pub(super) fn has_changed(found: &Found, file: &SourceFile) -> Option<source::Error> {
    match file.stat() {
        Ok(now) if found.stat.is_unchanged(&now) => None,
        // It lost its name to another file: that is no change of its content.
        Ok(now) if now.links < found.stat.links && now.is_as_long_and_old(&found.stat) => None,
        Ok(_) => Some(source::Error::Torn),
        Err(error) => Some(error),
    }
}

/// A run of a file in order.
pub(super) enum Run<'a> {
    /// One chunk.
    Data(&'a [u8]),
    /// A hole.
    Hole(u64),
    /// A chunk of the parent, unread.
    Known(ChunkRef),
}

/// Why reading a file ended early.
pub(super) enum Stopped {
    /// The file cannot be read.
    Source(source::Error),
    /// The backup cannot go on.
    Backup(Fault),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Stopped {
        Stopped::Backup(fault)
    }
}

impl From<repo::Error> for Stopped {
    fn from(error: repo::Error) -> Stopped {
        Stopped::Backup(Fault::Repo(error))
    }
}

/// Reads a file run by run and hands out chunks and holes in order. A file that shrinks ends where it ends.
pub(super) fn cut_file(
    chunker: &Chunker,
    file: &SourceFile,
    buffer: &mut Vec<u8>,
    take: &mut dyn FnMut(Run<'_>) -> Result<(), Fault>,
) -> Result<(), Stopped> {
    for run in file.runs() {
        if run.is_hole {
            take(Run::Hole(run.len))?;
            continue;
        }
        let (mut at, end) = (run.offset, run.offset + run.len);
        let mut stream = Cutter::new(chunker, buffer);
        while at < end {
            let room = stream.room();
            let want = room.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let count = file.read_at(&mut room[..want], at).map_err(Stopped::Source)?;
            at += count as u64;
            stream.add(count, take)?;
            if count < want {
                stream.finish(take)?;
                return Ok(());
            }
        }
        stream.finish(take)?;
    }
    Ok(())
}

/// Cuts a stream into chunks with one buffer.
pub(super) struct Cutter<'a> {
    chunker: &'a Chunker,
    buffer: &'a mut Vec<u8>,
    filled: usize,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(chunker: &'a Chunker, buffer: &'a mut Vec<u8>) -> Cutter<'a> {
        let size = READ_BYTES_MIN.max(2 * chunker.sizes().max as usize);
        if buffer.len() != size {
            buffer.resize(size, 0);
        }
        Cutter { chunker, buffer, filled: 0 }
    }

    /// Where the next bytes are to be read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// Takes note of bytes read; hands out chunks whose end is certain once the buffer is full.
    pub(super) fn add(
        &mut self,
        count: usize,
        take: &mut dyn FnMut(Run<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.filled += count;
        if self.filled < self.buffer.len() {
            return Ok(());
        }
        let max = self.chunker.sizes().max as usize;
        let mut start = 0;
        while self.filled - start >= max {
            let len = self.chunker.cut(&self.buffer[start..self.filled]);
            take(Run::Data(&self.buffer[start..start + len]))?;
            start += len;
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(())
    }

    /// The same for bytes that are in memory.
    pub(super) fn add_bytes(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(Run<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let room = self.room();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.add(now.len(), take)?;
            bytes = later;
        }
        Ok(())
    }

    /// Hands out what is left.
    pub(super) fn finish(&mut self, take: &mut dyn FnMut(Run<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut start = 0;
        while start < self.filled {
            let len = self.chunker.cut(&self.buffer[start..self.filled]);
            take(Run::Data(&self.buffer[start..start + len]))?;
            start += len;
        }
        self.filled = 0;
        Ok(())
    }
}

/// True if the node is as it was in the parent: same kind, inode, size and times.
pub(super) fn is_same(found: &Found, old: &Node) -> bool {
    let stat = &found.stat;
    let kind = match old.kind {
        Kind::File => source::Type::File,
        Kind::Folder => source::Type::Folder,
        Kind::Symlink(_) => source::Type::Symlink,
        Kind::Fifo => source::Type::Fifo,
        Kind::Socket => source::Type::Socket,
        Kind::CharDevice { .. } => source::Type::CharDevice,
        Kind::BlockDevice { .. } => source::Type::BlockDevice,
    };
    let size = matches!(old.kind, Kind::File | Kind::Symlink(_)).then(|| old.size());
    stat.kind == kind
        && size.is_none_or(|size| size == stat.size)
        && stat.inode == old.meta.inode
        && (stat.mtime, stat.ctime) == (old.meta.mtime, old.meta.ctime)
        && (stat.mode, stat.links) == (old.meta.mode, old.meta.links)
}
