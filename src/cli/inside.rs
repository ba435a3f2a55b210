//! Paths that go on inside a disk image: `SNAPSHOT:/vm/disk.qcow2!/2/etc/fstab`.
//!
//! A file may be called so as well: what is in the snapshot under the whole path comes first. Behind the `!` stand the
//! number of a partition, or the name of its folder on a drive, and a path in it.

use crate::browse::Browse;
use crate::browse::ImageAt;
use crate::browse::Inside;
use crate::browse::disk_of;
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
use crate::image::Part;
use crate::meta::Kind;
use crate::tree::Found;
use std::sync::Arc;

/// What a path names.
pub(super) enum Place {
    /// A node of the snapshot.
    Node(Box<Found>),
    /// A disk image as a whole: its parts.
    Disk(Box<Opened>),
    /// A node in a part of one.
    Inside(Arc<Inside>, NodeId, Box<Node>),
    /// A part that cannot be looked into: its bytes.
    Raw(Box<Opened>, Box<DiskPart>),
}

/// A disk image in a snapshot.
pub(super) struct Opened {
    /// Its node.
    pub(super) found: Found,
    /// What is on it.
    pub(super) disk: Disk,
    /// Bytes of the disk, which are not those of the file if that is a container.
    pub(super) bytes: u64,
    /// True if its bytes are the disk as it is.
    pub(super) is_raw: bool,
    /// Behind the `!`.
    pub(super) path: Vec<u8>,
}

/// What a path names in a snapshot.
pub(super) async fn find(browse: &Browse, path: &[u8], passphrase: &[u8]) -> Result<Place> {
    if let Some(found) = browse.get(path).await? {
        return Ok(Place::Node(Box::new(found)));
    }
    for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'!') {
        let rest = &path[at + 1..];
        if !(rest.is_empty() || rest.starts_with(b"/")) {
            continue;
        }
        match browse.get(&path[..at]).await? {
            Some(found) if found.node().kind == Kind::File => {
                let opened = open(browse, found, rest.strip_prefix(b"/").unwrap_or(rest), passphrase).await?;
                return go_in(browse, opened, path, passphrase).await;
            }
            _ => {}
        }
    }
    // The error that says there is none.
    select::node(browse, path).await.map(|found| Place::Node(Box::new(found)))
}

/// Looks at a disk image, unless the snapshot knows what is on it.
pub(super) async fn open(browse: &Browse, found: Found, path: &[u8], passphrase: &[u8]) -> Result<Opened> {
    let path = path.to_vec();
    let (known, bytes) = (disk_of(found.node()), found.node().size());
    let is_raw = known.is_some();
    if let (Some(disk), true) = (&known, passphrase.is_empty()) {
        return Ok(Opened { disk: disk.clone(), found, bytes, is_raw, path });
    }
    let image = ImageAt { rank: found.rank, node: found.node(), is_raw };
    let inside = Inside::new(browse, image, None, passphrase);
    let layout = inside.ask(async |reader| reader.layout().await).await?;
    let looked = image::describe(&layout);
    let container = if layout.is_contained() { looked.container.clone() } else { "raw".to_owned() };
    let disk = match known {
        Some(known) => Disk { parts: looked.parts, ..known },
        None => Disk { container, ..looked },
    };
    Ok(Opened { found, disk, bytes: layout.bytes, is_raw, path })
}

async fn go_in(browse: &Browse, opened: Opened, whole: &[u8], passphrase: &[u8]) -> Result<Place> {
    let path = opened.path.clone();
    let (name, rest) = match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..], &b""[..]),
    };
    if name.is_empty() {
        return Ok(Place::Disk(Box::new(opened)));
    }
    let number = std::str::from_utf8(name).ok().and_then(|digits| digits.parse().ok());
    let is_meant = |part: &&DiskPart| part.folder.as_bytes() == name || Some(part.number) == number;
    // A disk without partitions is partition 1 to whoever counts from there.
    let alone = number == Some(1) && opened.disk.parts.iter().skip(1).all(|part| part.number >= WHOLE_NUMBERS);
    let part = opened.disk.parts.iter().find(is_meant).or(opened.disk.parts.first().filter(|_| alone)).cloned();
    let missing = || Fault::NoPath { path: whole.to_vec(), snapshot: short(browse.snapshot().id) };
    let part = part.ok_or_else(missing)?;
    if part.fs.is_none() {
        let fault = match rest.is_empty() {
            true => return Ok(Place::Raw(Box::new(opened), Box::new(part))),
            false if !is_locked(&part) => missing(),
            false if passphrase.is_empty() => Fault::Sealed { path: whole.to_vec(), kind: part.kind },
            false => wrong_passphrase(&part),
        };
        return Err(fault.into());
    }
    let inside = part_of(browse, &opened, &part, passphrase);
    match inside.get(rest).await {
        Ok((id, node)) => Ok(Place::Inside(inside, id, Box::new(node))),
        Err(error) => match error.fault() {
            Some(image::Fault::NotFound | image::Fault::NotAFolder) => Err(missing().into()),
            _ => Err(error.into()),
        },
    }
}

/// True for an encrypted part that is not open.
pub(super) fn is_locked(part: &DiskPart) -> bool {
    part.fs.is_none() && part.kind.starts_with("LUKS")
}

/// Why an encrypted part is not open though there was a passphrase.
pub(super) fn wrong_passphrase(part: &DiskPart) -> Fault {
    let why = part.notes.last().cloned().unwrap_or_else(|| "it is wrong".to_owned());
    Fault::Passphrase { part: part.folder.clone(), why }
}

/// A part, open.
fn part_of(browse: &Browse, opened: &Opened, part: &DiskPart, passphrase: &[u8]) -> Arc<Inside> {
    let image = ImageAt { rank: opened.found.rank, node: opened.found.node(), is_raw: opened.is_raw };
    Inside::new(browse, image, Some(Part::Number(part.number)), passphrase)
}

/// True if a file system has to be looked through to know how much of it is used.
pub(super) fn is_use_unknown(part: &DiskPart) -> bool {
    // All of a part that is shown twice is counted with the other.
    part.number < WHOLE_NUMBERS && part.fs.as_ref().is_some_and(|fs| fs.used_bytes.is_none())
}

/// Fills in how many bytes are used, where the file systems had to be looked through for that.
pub(super) async fn look_at_use(browse: &Browse, opened: &mut Opened, passphrase: &[u8]) {
    if opened.is_raw && passphrase.is_empty() {
        return;
    }
    for at in 0..opened.disk.parts.len() {
        let part = &opened.disk.parts[at];
        if !is_use_unknown(part) {
            continue;
        }
        let used = part_of(browse, opened, part, passphrase).ask(async |reader| reader.used_bytes().await).await;
        // What cannot be known is not shown.
        if let (Ok(used), Some(fs)) = (used, &mut opened.disk.parts[at].fs) {
            fs.used_bytes = used;
        }
    }
}

/// Fills in owner, permissions and time of the root folders, where a snapshot does not have them. What cannot be looked at
/// tells so when it is opened.
pub(super) async fn look_at_roots(browse: &Browse, opened: &mut Opened, passphrase: &[u8]) {
    if opened.is_raw && passphrase.is_empty() {
        return;
    }
    for at in 0..opened.disk.parts.len() {
        let part = &opened.disk.parts[at];
        if part.fs.is_none() {
            continue;
        }
        let root = part_of(browse, opened, part, passphrase).get(b"").await;
        if let (Ok((_, root)), Some(fs)) = (root, &mut opened.disk.parts[at].fs) {
            fs.root = (root.mode_or_usual(), root.uid.unwrap_or(0), root.gid.unwrap_or(0));
            fs.root_mtime = root.mtime.unwrap_or_default();
        }
    }
}
