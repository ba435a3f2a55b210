//! What the two processes say to each other: frames of a length and a message, each way.
//!
//! The asking side sends one [`Ask`] and then answers every [`Say::Need`] with a [`Bytes`](Given::Bytes) until a
//! [`Say::Done`] comes. Neither side believes the other: lengths are bounded before anything is allocated.

use crate::disk::Error;
use crate::disk::Run;
use crate::disk::fs::About;
use crate::disk::fs::Entry;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::layout::Layout;
use crate::disk::layout::Look;
use crate::meta::Xattr;
use serde::Deserialize;
use serde::Serialize;
use std::io;
use std::ops::Range;

/// Longest frame.
pub(super) const FRAME_BYTES_MAX: usize = 16 << 20;
/// Most bytes that are asked for at once.
pub(super) const NEED_BYTES_MAX: u32 = 1 << 20;
/// Most bytes of content in one answer.
pub(super) const CONTENT_BYTES_MAX: u64 = 1 << 20;
/// Most further files of an image.
pub(super) const FURTHER_MAX: usize = 4096;
/// Most runs or ranges in one answer.
pub(super) const RUNS_MAX: usize = 64 << 10;

/// Which bytes of a disk are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The virtual disk, out of its container.
    Disk,
    /// This partition or volume, by its place in [`Layout::parts`].
    Number(u32),
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// First: how long the image is, with its further files behind it (names and lengths), whether it is surely the disk itself, and
    /// the passphrase of encrypted volumes.
    Hello { len: u64, further: Vec<(String, u64)>, is_raw: bool, passphrase: Vec<u8> },
    /// Names of the further files of the image.
    Further,
    /// The whole disk.
    Layout { look: Look },
    /// From now on this part is meant.
    Open { part: Part },
    /// The file system of the part.
    About,
    /// One node.
    Node { id: NodeId },
    /// One node by name.
    Lookup { folder: NodeId, name: Vec<u8> },
    /// Nodes of a folder.
    List { folder: NodeId, cursor: u64, entries_max: u32 },
    /// Where bytes of a file lie.
    Map { file: NodeId, range: Range<u64> },
    /// Where the beginnings of files lie, up to so many bytes of each.
    Starts { files: Vec<NodeId>, len: u64 },
    /// Where bytes of the part lie.
    MapPart { range: Range<u64> },
    /// Target of a link.
    Link { node: NodeId },
    /// Attributes of a node.
    Xattrs { node: NodeId },
    /// Ranges of the part in use, those from `from` on.
    Used { from: u64 },
    /// Ranges of the virtual disk that its dirty bitmap of this name marks, those from `from` on.
    Dirty { bitmap: String, from: u64 },
    /// Ranges of the virtual disk that browsing needs, without the first `skip`.
    Metadata { skip: u32 },
}

/// A listed node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Name, number, and where the listing goes on.
    pub entry: Entry,
    /// What is known of it; nothing if it is damaged.
    pub node: Option<Node>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Nothing,
    Names(Vec<String>),
    Layout(Layout),
    About(NodeId, About),
    Node(Node),
    Found(NodeId, Node),
    /// Nodes, and whether there are no more.
    Listed(Vec<Listed>, bool),
    /// Runs over the image: fewer bytes than asked for only if one answer cannot hold them, or at the end of the file.
    Runs(Vec<Run>),
    /// The same for several files, in order; none for one that cannot be told. Fewer files if one answer does not hold them all.
    Starts(Vec<Option<Vec<Run>>>),
    Link(Vec<u8>),
    Xattrs(Vec<Xattr>),
    /// Ranges, and whether there are no more. `None`: it cannot be known.
    Ranges(Option<(Vec<Range<u64>>, bool)>),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// The image could not be read.
    #[error("the disk cannot be read at byte {at}")]
    Read {
        /// First byte that was wanted.
        at: u64,
    },
    /// Something on the disk is damaged or not understood.
    #[error("{0}")]
    Disk(String),
    /// A feature is not understood.
    #[error("{0}")]
    Unsupported(String),
    /// No such node or name.
    #[error("no such file or folder")]
    NotFound,
    /// A folder was needed.
    #[error("not a folder")]
    NotAFolder,
    /// The question makes no sense for this node.
    #[error("not that kind of file")]
    WrongKind,
    /// The content is encrypted.
    #[error("the content is encrypted")]
    Encrypted,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            Error::Read { at, .. } => Fault::Read { at },
            Error::NotFound => Fault::NotFound,
            Error::NotAFolder => Fault::NotAFolder,
            Error::WrongKind => Fault::WrongKind,
            Error::Encrypted => Fault::Encrypted,
            Error::Unsupported { .. } => Fault::Unsupported(error.to_string()),
            other => Fault::Disk(other.to_string()),
        }
    }
}

/// What the reading side says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Say {
    /// These bytes of the image are needed.
    Need { offset: u64, len: u32 },
    /// The answer.
    Done(Result<Answer, Fault>),
}

/// What the asking side gives for a need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Given {
    /// All of them.
    Bytes(Vec<u8>),
    /// They cannot be read.
    Failed,
}

fn broken(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A message as a frame.
pub(super) fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    frame = postcard::to_extend(message, frame).map_err(|_| broken("a message cannot be encoded"))?;
    let len = u32::try_from(frame.len() - 4).ok().filter(|len| *len as usize <= FRAME_BYTES_MAX);
    let len = len.ok_or_else(|| broken("a message is too long"))?;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    Ok(frame)
}

/// Length of the body that follows these bytes.
pub(super) fn body_len(header: [u8; 4]) -> io::Result<usize> {
    let len = u32::from_le_bytes(header) as usize;
    if len > FRAME_BYTES_MAX { Err(broken("a message is too long")) } else { Ok(len) }
}

/// A message out of the body of its frame.
pub(super) fn message<'a, T: Deserialize<'a>>(body: &'a [u8]) -> io::Result<T> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(broken("a message cannot be understood")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let say = Say::Done(Ok(Answer::Runs(vec![Run::Below { offset: 1 << 40, len: 7 }, Run::Bytes(vec![1, 2, 3])])));
        let framed = frame(&say).unwrap();
        let (header, body) = framed.split_at(4);
        assert_eq!(body_len(header.try_into().unwrap()).unwrap(), body.len());
        assert_eq!(message::<Say>(body).unwrap(), say);
        for len in 0..body.len() {
            assert!(message::<Say>(&body[..len]).is_err(), "{len} bytes of {}", body.len());
        }
        assert!(message::<Say>(&[body, &[0]].concat()).is_err());
    }

    #[test]
    fn absurd_lengths_are_refused() {
        assert!(body_len([255; 4]).is_err());
        // A list of 2^60 runs in a few bytes.
        assert!(message::<Say>(&[1, 0, 6, 255, 255, 255, 255, 255, 255, 255, 255, 15]).is_err());
        assert!(frame(&Given::Bytes(vec![0; FRAME_BYTES_MAX + 1])).is_err());
    }
}
