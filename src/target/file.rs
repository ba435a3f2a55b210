//! Files of a target: a new one being written, and one that was there before.
//! Always: a new file appears under its name only when finished, complete and with its metadata.

use crate::meta::Meta;
use crate::path::join;
use crate::target::Error;
use crate::target::Existing;
use crate::target::Folder;
use crate::target::Later;
use crate::target::Placed;
use crate::target::Shared;
use crate::target::metadata;
use crate::target::os;
use crate::target::os::Handle;
use crate::target::os_meta::Inode;
use crate::target::part::Part;
use std::sync::Arc;

/// A file being restored. Several threads may write to it. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    shared: Arc<Shared>,
    handle: Handle,
    part: Part,
    name: Vec<u8>,
    path: Vec<u8>,
}

impl NewFile {
    pub(super) fn begin(shared: &Arc<Shared>, folder: &Arc<Folder>, name: &[u8], size: u64) -> Result<NewFile, Error> {
        let path = join(&folder.path, name);
        let (part, handle) = Part::create(shared, folder, |part| os::create_file(&folder.handle, part))
            .map_err(Error::io("create", &path))?;
        let file = NewFile { shared: Arc::clone(shared), handle, part, name: name.to_vec(), path };
        if size > 0 {
            file.set_len(size)?;
            if !shared.options.sparse {
                os::allocate(&file.handle, size).map_err(Error::io("reserve space for", &file.path))?;
            }
        }
        Ok(file)
    }

    /// Writes bytes at an offset, in any order. What is never written is a hole and reads as zeros.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        os::write_at(&self.handle, offset, bytes).map_err(Error::io("write", &self.path))
    }

    /// Changes the length given at the beginning.
    pub fn set_len(&self, len: u64) -> Result<(), Error> {
        os::set_len(&self.handle, len).map_err(Error::io("set the length of", &self.path))
    }

    /// Sets the metadata and gives the file its name, in place of any file, link or empty folder there.
    pub fn finish(self, meta: &Meta) -> Result<Placed, Error> {
        let NewFile { shared, handle, part, name, path } = self;
        let inode = Inode::open(&handle);
        let id = os::stat_handle(&handle).map_err(Error::io("look at", &path))?.id;
        let mut missed = metadata::apply(&shared, &inode, meta, false);
        part.place(&name)?;
        if meta.link_group.is_some() && metadata::is_locking(&shared, meta.flags) {
            // Further names must follow first.
            let mut later = shared.flags_later.lock().expect("no panic while holding the lock");
            later.push(Later { path, id, flags: meta.flags });
        } else {
            missed.extend(metadata::apply_flags(&shared, &inode, meta.flags));
        }
        Ok(Placed { id, missed })
    }
}

/// A regular file that is in the target, open for reading.
#[derive(Debug)]
pub struct ExistingFile {
    pub(super) handle: Handle,
    pub(super) found: Existing,
    pub(super) path: Vec<u8>,
}

impl ExistingFile {
    /// What it was when it was opened.
    pub fn existing(&self) -> &Existing {
        &self.found
    }

    /// Reads into `buffer` from `offset` and returns how many bytes; 0 only at the end (or for an empty buffer).
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        os::read_at(&self.handle, offset, buffer).map_err(Error::io("read", &self.path))
    }
}
