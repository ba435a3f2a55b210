//! A node the walk has found, and what can be asked of it later, from any thread.

use crate::format::node::OWNER_NAME_BYTES_MAX;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Owner;
use crate::source::Error;
use crate::source::file::SourceFile;
use crate::source::folder::Folder;
use crate::source::os;
use crate::source::stat::Stat;
use crate::source::stat::Type;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// A node to be backed up: where it is, and what one look told.
#[derive(Debug, Clone)]
pub struct Found {
    /// Name in its folder; empty for the root.
    pub name: Vec<u8>,
    /// Its state when the walk came by, or [`Found::complete`].
    pub stat: Stat,
    pub(super) folder: Arc<Folder>,
}

impl Found {
    /// Snapshot path of its folder; one shared value for all nodes of a folder.
    pub fn parent(&self) -> &Arc<[u8]> {
        &self.folder.path
    }

    /// Snapshot path of the node.
    pub fn path(&self) -> Vec<u8> {
        crate::path::join(&self.folder.path, &self.name)
    }

    /// Looks at it anew, and reads the rest: extended attributes as far as they may be read, the target of a link, names
    /// of the owners. The walk may have come by hours ago, and programs save a file by renaming another over it. What
    /// changes after this look is found changed by the next backup. A folder is as the walk saw it, which has gone into it.
    pub fn complete(&mut self, owners: &Owners) -> Result<(Kind, Meta), Error> {
        let node = os::open_node(&*self.folder.handle()?, self.own_name())
            .map_err(|source| Error::failed("open it", source))?;
        let now = os::stat_handle(&node).map_err(|source| Error::failed("look at it", source))?;
        let has_folder = now.is_folder() || self.stat.is_folder();
        if now.dev != self.stat.dev || (has_folder && !now.is_same_node(&self.stat)) {
            return Err(Error::Changed);
        }
        if !has_folder {
            self.stat = now;
        }
        let (major, minor) = self.stat.rdev;
        let kind = match self.stat.kind {
            Type::File => Kind::File,
            Type::Folder => Kind::Folder,
            Type::Symlink => {
                Kind::Symlink(os::read_link(&node).map_err(|source| Error::failed("read where it leads", source))?)
            }
            Type::Fifo => Kind::Fifo,
            Type::Socket => Kind::Socket,
            Type::CharDevice => Kind::CharDevice { major, minor },
            Type::BlockDevice => Kind::BlockDevice { major, minor },
        };
        let xattrs = os::xattrs(&node, &self.path()).map_err(no_xattrs)?;
        Ok((kind, Meta { xattrs, ..self.seen(owners) }))
    }

    /// The same of a regular file that is [open](Found::open), as it was when it was opened: fewer calls of the system.
    pub fn complete_open(&mut self, file: &SourceFile, owners: &Owners) -> Result<(Kind, Meta), Error> {
        let xattrs = file.xattrs().map_err(no_xattrs)?;
        self.stat = file.opened().clone();
        Ok((Kind::File, Meta { xattrs, ..self.seen(owners) }))
    }

    /// What was last seen of it: everything but extended attributes.
    pub fn seen(&self, owners: &Owners) -> Meta {
        Meta {
            mode: self.stat.mode,
            owner: owners.get(self.stat.uid, self.stat.gid),
            mtime: self.stat.mtime,
            ctime: self.stat.ctime,
            btime: self.stat.btime,
            inode: self.stat.inode,
            links: self.stat.links,
            link_group: self.link_group(),
            flags: self.stat.flags,
            xattrs: Vec::new(),
            windows: None,
        }
    }

    /// Opens a regular file for reading. It must still be the file that was seen; its content may be newer.
    pub fn open(&self) -> Result<SourceFile, Error> {
        if !self.stat.is_file() {
            return Err(Error::NotAFile);
        }
        let handle = os::open_file(&*self.folder.handle()?, self.own_name())
            .map_err(|source| Error::failed("open it", source))?;
        SourceFile::new(handle, &self.stat)
    }

    fn own_name(&self) -> &[u8] {
        if self.name.is_empty() { b"." } else { &self.name }
    }

    /// The same for all names of one file: a hash of file system and inode number.
    fn link_group(&self) -> Option<u64> {
        if self.stat.links < 2 || self.stat.is_folder() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.stat.dev.to_le_bytes()).update(&self.stat.inode.to_le_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Some(u64::from_le_bytes(first).max(1))
    }
}

fn no_xattrs(source: io::Error) -> Error {
    Error::failed("read its extended attributes", source)
}

/// Names of users and groups, each looked up once.
#[derive(Debug, Default)]
pub struct Owners {
    known: Mutex<HashMap<(u32, u32), Arc<Owner>>>,
}

impl Owners {
    /// An owner by numbers; the names are empty where the system knows none.
    pub fn get(&self, uid: u32, gid: u32) -> Arc<Owner> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let look_up = || {
            let fits = |name: &Vec<u8>| name.len() <= OWNER_NAME_BYTES_MAX;
            let user = uzers::get_user_by_uid(uid).map(|user| os::bytes(user.name()).to_vec()).filter(fits);
            let group = uzers::get_group_by_gid(gid).map(|group| os::bytes(group.name()).to_vec()).filter(fits);
            Arc::new(Owner { uid, gid, user: user.unwrap_or_default(), group: group.unwrap_or_default() })
        };
        Arc::clone(known.entry((uid, gid)).or_insert_with(look_up))
    }
}
