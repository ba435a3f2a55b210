//! Paths that go on inside a disk image: `SNAPSHOT:/vm/disk.qcow2!/2/etc/fstab`.
//!
//! A file may be called so as well: what is in the snapshot under the whole path comes first. Behind the `!` stand the
//! number of a partition, or the name of its folder on a drive, and a path in it.

use crate::browse::Browse;
use crate::browse::Inside;
use crate::browse::OpenedDisk;
use crate::browse::is_locked;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::select;
use crate::cli::snapshots::short;
use crate::disk::WHOLE_NUMBERS;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::format::disk::Disk;
use crate::format::disk::DiskPart;
use crate::image;
use crate::meta::Kind;
use crate::tree::Found;
use std::sync::Arc;

/// What a path names.
pub(super) enum Place {
    /// A node of the snapshot.
    Node(Box<Found>),
    /// A disk image as a whole: its parts.
    Disk(Box<OpenedDisk>),
    /// A node in a part of one.
    Inside(Arc<Inside>, NodeId, Box<Node>),
    /// A part that cannot be looked into: its bytes.
    Raw(Box<OpenedDisk>, Box<DiskPart>),
}

/// What a path names in a snapshot.
pub(super) async fn find(browse: &Browse, path: &[u8], passphrase: &[u8]) -> Result<Place> {
    if let Some(found) = browse.get(path).await? {
        return Ok(Place::Node(Box::new(found)));
    }
    if let Some((found, rest)) = image_of(browse, path).await? {
        let opened = OpenedDisk::open(browse, found, passphrase).await?;
        return go_in(browse, opened, rest, path, passphrase).await;
    }
    // The error that says there is none.
    select::node(browse, path).await.map(|found| Place::Node(Box::new(found)))
}

/// The file that a path goes on inside of, and the way there.
pub(super) async fn image_of<'a>(browse: &Browse, path: &'a [u8]) -> Result<Option<(Found, &'a [u8])>> {
    for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'!') {
        let rest = &path[at + 1..];
        if !(rest.is_empty() || rest.starts_with(b"/")) {
            continue;
        }
        match browse.get(&path[..at]).await? {
            Some(found) if found.node().kind == Kind::File => {
                return Ok(Some((found, rest.strip_prefix(b"/").unwrap_or(rest))));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The part of a disk that is called so: by its number, or by the name of its folder. The only part of a disk may be
/// called 1.
pub(super) fn part_named<'a>(image: &[u8], disk: &'a Disk, name: &[u8]) -> Result<&'a DiskPart> {
    let number = std::str::from_utf8(name).ok().and_then(|digits| digits.parse().ok());
    let is_meant = |part: &&DiskPart| part.folder.as_bytes() == name || Some(part.number) == number;
    // A disk without partitions is partition 1 to whoever counts from there.
    let is_alone = number == Some(1) && disk.parts.iter().skip(1).all(|part| part.number >= WHOLE_NUMBERS);
    let alone = disk.parts.first().filter(|_| is_alone);
    disk.parts.iter().find(is_meant).or(alone).ok_or_else(|| {
        let parts = disk.parts.iter().map(|part| part.folder.as_str()).filter(|folder| !folder.is_empty());
        let parts = parts.collect::<Vec<_>>().join("; ");
        Fault::NoPart { image: image.to_vec(), name: name.to_vec(), parts }.into()
    })
}

/// What `path` names on an image; `whole` is the path that the image is named by, too.
async fn go_in(browse: &Browse, opened: OpenedDisk, path: &[u8], whole: &[u8], passphrase: &[u8]) -> Result<Place> {
    let (name, rest) = match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, &b""[..]),
    };
    if name.is_empty() {
        return Ok(Place::Disk(Box::new(opened)));
    }
    let part = part_named(&opened.found.path(), &opened.disk, name)?.clone();
    let missing = || Fault::NoPath { path: whole.to_vec(), snapshot: short(browse.snapshot().id) };
    if part.fs.is_none() {
        let fault = match rest.is_empty() {
            true => return Ok(Place::Raw(Box::new(opened), Box::new(part))),
            false if !is_locked(&part) => missing(),
            false if passphrase.is_empty() => Fault::Sealed { path: whole.to_vec(), kind: part.kind },
            false => wrong_passphrase(&part),
        };
        return Err(fault.into());
    }
    let inside = opened.part(browse, &part, passphrase);
    match inside.get(rest).await {
        Ok((id, node)) => Ok(Place::Inside(inside, id, Box::new(node))),
        Err(error) => match error.fault() {
            Some(image::Fault::NotFound | image::Fault::NotAFolder) => Err(missing().into()),
            _ => Err(error.into()),
        },
    }
}

/// Why an encrypted part is not open though there was a passphrase.
pub(super) fn wrong_passphrase(part: &DiskPart) -> Fault {
    let why = part.notes.last().cloned().unwrap_or_else(|| "it is wrong".to_owned());
    Fault::Passphrase { part: part.title().to_owned(), why }
}
