//! Small chunks are compressed together with their neighbours: what is alike in them is stored once, and one frame costs less work
//! than ten. They stay chunks of their own, each with its id; reading one unpacks its group of 64 KiB.
//!
//! Linux 6.1, 79,000 files: 243 MiB instead of 267, with 10 % less processor time. Groups twice as long save 4 MiB more.

use crate::backup::work::Fault;
use crate::format::group;
use crate::format::group::GROUP_MEMBERS_MAX;
use crate::format::group::Members;
use crate::id::ChunkId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;

/// Longer chunks are compressed by themselves, those of disks among them.
const MEMBER_BYTES_MAX: usize = 32 << 10;
/// Plaintext of a group.
const GROUP_BYTES: usize = 64 << 10;

/// What a pack takes in one piece: a chunk, or several that were compressed together.
pub(super) struct Frame {
    /// Ids and lengths, in order.
    pub(super) members: Members,
    pub(super) encoded: Vec<u8>,
}

/// A frame that may not be closed yet. It is once the work it was made in is done.
pub(super) type Pending = Arc<OnceLock<Frame>>;

/// The group that is being filled.
pub(super) struct Together {
    level: i32,
    /// Where everything is that was taken in.
    known: HashMap<ChunkId, Pending>,
    members: Members,
    plain: Vec<u8>,
    pending: Pending,
}

impl Together {
    /// Nothing in it yet; for one piece of work.
    pub(super) fn new(level: i32) -> Together {
        Together { level, known: HashMap::new(), members: Vec::new(), plain: Vec::new(), pending: Pending::default() }
    }

    /// Takes in a chunk, and says in which frame it will be.
    pub(super) fn add(&mut self, id: ChunkId, plain: &[u8]) -> Result<Pending, Fault> {
        if let Some(pending) = self.known.get(&id) {
            return Ok(pending.clone());
        }
        let len = u32::try_from(plain.len()).expect("the chunker cuts far below 4 GiB");
        let pending = if plain.len() > MEMBER_BYTES_MAX {
            Arc::new(OnceLock::from(self.encode(vec![(id, len)], plain)?))
        } else {
            if self.plain.len() + plain.len() > GROUP_BYTES || self.members.len() == GROUP_MEMBERS_MAX {
                self.close()?;
            }
            self.members.push((id, len));
            self.plain.extend_from_slice(plain);
            self.pending.clone()
        };
        self.known.insert(id, pending.clone());
        Ok(pending)
    }

    /// Compresses what is open.
    pub(super) fn close(&mut self) -> Result<(), Fault> {
        if !self.members.is_empty() {
            let members = std::mem::take(&mut self.members);
            let frame = self.encode(members, &self.plain)?;
            let _is_first = std::mem::take(&mut self.pending).set(frame);
            self.plain.clear();
        }
        Ok(())
    }

    fn encode(&self, members: Members, plain: &[u8]) -> Result<Frame, Fault> {
        let encoded = group::frame(&members, plain, self.level).map_err(Fault::Encode)?;
        Ok(Frame { members, encoded })
    }
}
