//! The bytes of a disk image in a snapshot, for the process that finds out what is on it.

use crate::browse::Browse;
use crate::browse::InsideError;
use crate::browse::Unreadable;
use crate::extent::Extent;
use crate::image;
use crate::image::Image;
use crate::meta::Content;
use crate::meta::Node;
use crate::repo;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The bytes of an image: a file of a snapshot.
pub(super) struct ImageFile {
    browse: Browse,
    content: Content,
    is_raw: bool,
    unreadable: Unreadable,
    /// Why the last of them could not be read.
    fault: LastFault,
}

/// Why bytes of an image could not be read the last time that happened.
pub(super) type LastFault = Arc<Mutex<Option<InsideError>>>;

fn note(fault: &LastFault, error: InsideError) -> io::Error {
    let text = error.to_string();
    *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    io::Error::other(text)
}

impl ImageFile {
    /// The image that this node holds, and where to look why it could not be read.
    pub(super) fn new(browse: &Browse, node: &Node, is_raw: bool) -> (ImageFile, LastFault) {
        let fault = LastFault::default();
        let (browse, content, unreadable) = (browse.clone(), node.content.clone(), Unreadable::of(node));
        (ImageFile { browse, content, is_raw, unreadable, fault: fault.clone() }, fault)
    }
}

impl Image for ImageFile {
    fn len(&self) -> u64 {
        self.content.len()
    }

    fn is_raw(&self) -> bool {
        self.is_raw
    }

    fn read(&self, offset: u64, len: u32) -> image::Bytes {
        // No structure is to be found in zeros that only stand for it.
        if let Err(never) = self.unreadable.check(&(offset..offset.saturating_add(len.into()))) {
            let error = note(&self.fault, never.into());
            return Box::pin(async move { Err(error) });
        }
        if let Some(Ok(bytes)) = self.browse.read_now(&self.content, offset, len as usize) {
            return Box::pin(async move { Ok(bytes) });
        }
        let (browse, content, fault) = (self.browse.clone(), self.content.clone(), self.fault.clone());
        Box::pin(async move {
            let read = read_along(&browse, &content, offset, len).await;
            read.map_err(|error| note(&fault, error.into()))
        })
    }
}

/// Bytes of an image for whoever finds out what is on it. The writer has stored together what that needs.
async fn read_along(browse: &Browse, content: &Content, offset: u64, len: u32) -> repo::Result<Bytes> {
    let pieces = browse.pieces(content, offset..offset + u64::from(len)).await?;
    if let Some(Extent::Data(chunk)) = pieces.first().map(|piece| piece.extent) {
        browse.chunks().fetch_along(&chunk);
    }
    browse.read(content, offset, len as usize).await
}
