//! One node inside a leaf page.

use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::chunk::plain_len;
use crate::format::extents::FILE_BYTES_MAX;
use crate::format::extents::next_hint;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::id::ChunkId;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Node;
use crate::meta::Owner;
use crate::meta::Stream;
use crate::meta::Time;
use crate::meta::Windows;
use crate::meta::Xattr;
use crate::path;
use std::sync::Arc;

/// Most bytes of content that stand inside a node.
pub const INLINE_BYTES_MAX: usize = 4096;
/// Longest target of a link.
pub const TARGET_BYTES_MAX: usize = 64 << 10;
/// Longest value of an extended attribute, security descriptor or reparse buffer.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of names and values of all extended attributes of one node.
pub const XATTRS_BYTES_MAX: usize = 4 << 20;
/// Longest name of a user or group.
pub const OWNER_NAME_BYTES_MAX: usize = 256;

const HAS_BTIME: u64 = 1;
const HAS_LINK_GROUP: u64 = 2;
const HAS_FLAGS: u64 = 4;
const HAS_XATTRS: u64 = 8;
const HAS_WINDOWS: u64 = 16;
const HAS_ALL: u64 = 31;

/// Owners of a page, each written once, in order of first use.
#[derive(Debug, Default)]
pub(crate) struct OwnersOut(Vec<Arc<Owner>>);

impl OwnersOut {
    fn index(&mut self, owner: &Arc<Owner>) -> u64 {
        let known = self.0.iter().position(|o| Arc::ptr_eq(o, owner) || o == owner);
        let index = known.unwrap_or_else(|| {
            self.0.push(owner.clone());
            self.0.len() - 1
        });
        index as u64
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        for owner in &self.0 {
            out.put_varint(owner.uid.into());
            out.put_varint(owner.gid.into());
            out.put_bytes(&owner.user);
            out.put_bytes(&owner.group);
        }
    }
}

/// Owners read from a page.
#[derive(Debug)]
pub(crate) struct OwnersIn(Vec<Arc<Owner>>);

impl OwnersIn {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<OwnersIn> {
        let count = r.count(4, "owners")?;
        let mut owners = Vec::with_capacity(count);
        for _ in 0..count {
            owners.push(Arc::new(Owner {
                uid: r.varint32("user number")?,
                gid: r.varint32("group number")?,
                user: r.bytes(OWNER_NAME_BYTES_MAX, "user name")?.to_vec(),
                group: r.bytes(OWNER_NAME_BYTES_MAX, "group name")?.to_vec(),
            }));
        }
        Ok(OwnersIn(owners))
    }

    fn get(&self, index: u64) -> Result<Arc<Owner>> {
        let max = self.0.len() as u64;
        let owner = usize::try_from(index).ok().and_then(|i| self.0.get(i));
        owner.cloned().ok_or(FormatError::Limit { what: "owner", value: index, max })
    }
}

pub(crate) fn write_node(node: &Node, owners: &mut OwnersOut, out: &mut Vec<u8>, hints: &mut Vec<Locator>) {
    let meta = &node.meta;
    out.put_bytes(&node.name);
    write_kind(&node.kind, out);
    out.put_varint(meta.mode.into());
    out.put_varint(owners.index(&meta.owner));
    write_time(meta.mtime, out);
    write_time(meta.ctime, out);
    out.put_varint(meta.inode);
    out.put_varint(meta.links.into());
    let has = |bit, present| if present { bit } else { 0 };
    out.put_varint(
        has(HAS_BTIME, meta.btime.is_some())
            | has(HAS_LINK_GROUP, meta.link_group.is_some())
            | has(HAS_FLAGS, meta.flags != 0)
            | has(HAS_XATTRS, !meta.xattrs.is_empty())
            | has(HAS_WINDOWS, meta.windows.is_some()),
    );
    if let Some(btime) = meta.btime {
        write_time(btime, out);
    }
    if let Some(group) = meta.link_group {
        out.extend_from_slice(&group.to_le_bytes());
    }
    if meta.flags != 0 {
        out.put_varint(meta.flags.into());
    }
    if !meta.xattrs.is_empty() {
        out.put_varint(meta.xattrs.len() as u64);
        for Xattr { name, value } in &meta.xattrs {
            out.put_bytes(name);
            out.put_bytes(value);
        }
    }
    if let Some(windows) = &meta.windows {
        write_windows(windows, out, hints);
    }
    if node.kind == Kind::File {
        write_content(&node.content, out, hints);
    }
}

pub(crate) fn read_node(
    r: &mut Reader<'_>,
    owners: &OwnersIn,
    hints: &mut impl Iterator<Item = Locator>,
) -> Result<Node> {
    let name = r.bytes(path::NAME_BYTES_MAX, "node name")?.to_vec();
    let kind = read_kind(r)?;
    let mut meta = Meta {
        mode: r.varint_max(0o7777, "mode")? as u32,
        owner: owners.get(r.varint("owner")?)?,
        mtime: read_time(r)?,
        ctime: read_time(r)?,
        inode: r.varint("inode")?,
        links: r.varint32("link count")?,
        ..Meta::default()
    };
    let has = r.varint_max(HAS_ALL, "field bits")?;
    if has & HAS_BTIME != 0 {
        meta.btime = Some(read_time(r)?);
    }
    if has & HAS_LINK_GROUP != 0 {
        let group = r.u64("link group")?;
        if group == 0 || kind == Kind::Folder {
            return Err(FormatError::Unknown { what: "link group", value: group });
        }
        meta.link_group = Some(group);
    }
    if has & HAS_FLAGS != 0 {
        meta.flags = r.varint32("flags")?;
    }
    if has & HAS_XATTRS != 0 {
        meta.xattrs = read_xattrs(r)?;
    }
    if has & HAS_WINDOWS != 0 {
        meta.windows = Some(Box::new(read_windows(r, hints)?));
    }
    let content = if kind == Kind::File { read_content(r, hints)? } else { Content::Empty };
    Ok(Node { name, kind, meta, content })
}

fn write_time(time: Time, out: &mut Vec<u8>) {
    out.put_signed(time.secs);
    out.put_varint(time.nanos.into());
}

fn read_time(r: &mut Reader<'_>) -> Result<Time> {
    Ok(Time { secs: r.signed("time")?, nanos: r.varint_max(999_999_999, "nanoseconds")? as u32 })
}

fn write_kind(kind: &Kind, out: &mut Vec<u8>) {
    let mut device = |tag: u8, major: u32, minor: u32| {
        out.push(tag);
        out.put_varint(major.into());
        out.put_varint(minor.into());
    };
    match kind {
        Kind::CharDevice { major, minor } => device(5, *major, *minor),
        Kind::BlockDevice { major, minor } => device(6, *major, *minor),
        Kind::File => out.push(0),
        Kind::Folder => out.push(1),
        Kind::Symlink(target) => {
            out.push(2);
            out.put_bytes(target);
        }
        Kind::Fifo => out.push(3),
        Kind::Socket => out.push(4),
    }
}

fn read_kind(r: &mut Reader<'_>) -> Result<Kind> {
    Ok(match r.u8("node kind")? {
        0 => Kind::File,
        1 => Kind::Folder,
        2 => Kind::Symlink(r.bytes(TARGET_BYTES_MAX, "link target")?.to_vec()),
        3 => Kind::Fifo,
        4 => Kind::Socket,
        5 => Kind::CharDevice { major: r.varint32("device")?, minor: r.varint32("device")? },
        6 => Kind::BlockDevice { major: r.varint32("device")?, minor: r.varint32("device")? },
        value => return Err(FormatError::Unknown { what: "node kind", value: value.into() }),
    })
}

fn read_xattrs(r: &mut Reader<'_>) -> Result<Vec<Xattr>> {
    let count = r.count(2, "attributes")?;
    let mut xattrs: Vec<Xattr> = Vec::with_capacity(count);
    let mut room = XATTRS_BYTES_MAX;
    for _ in 0..count {
        let name = r.bytes(path::NAME_BYTES_MAX, "attribute name")?.to_vec();
        if name.is_empty() || name.contains(&0) {
            return Err(FormatError::Name { what: "attribute name", source: path::NameError::BadByte });
        }
        if xattrs.last().is_some_and(|before| before.name >= name) {
            return Err(FormatError::Order { what: "attributes" });
        }
        room = room.saturating_sub(name.len());
        let value = r.bytes(VALUE_BYTES_MAX.min(room), "attribute value")?.to_vec();
        room -= value.len();
        xattrs.push(Xattr { name, value });
    }
    Ok(xattrs)
}

fn write_windows(windows: &Windows, out: &mut Vec<u8>, hints: &mut Vec<Locator>) {
    out.put_varint(windows.attributes.into());
    out.put_bytes(&windows.security);
    out.put_bytes(&windows.reparse);
    out.put_varint(windows.streams.len() as u64);
    for Stream { name, content } in &windows.streams {
        out.put_bytes(name);
        write_content(content, out, hints);
    }
}

fn read_windows(r: &mut Reader<'_>, hints: &mut impl Iterator<Item = Locator>) -> Result<Windows> {
    let mut windows = Windows {
        attributes: r.varint32("Windows attributes")?,
        security: r.bytes(VALUE_BYTES_MAX, "security descriptor")?.to_vec(),
        reparse: r.bytes(VALUE_BYTES_MAX, "reparse data")?.to_vec(),
        streams: Vec::new(),
    };
    for _ in 0..r.count(2, "streams")? {
        let name = r.bytes(path::NAME_BYTES_MAX, "stream name")?.to_vec();
        path::check_name(&name).map_err(|source| FormatError::Name { what: "stream name", source })?;
        windows.streams.push(Stream { name, content: read_content(r, hints)? });
    }
    Ok(windows)
}

fn write_content(content: &Content, out: &mut Vec<u8>, hints: &mut Vec<Locator>) {
    match content {
        Content::Empty => out.push(0),
        Content::Inline(bytes) => {
            out.push(1);
            out.put_bytes(bytes);
        }
        Content::Chunk(chunk) => {
            out.push(2);
            write_ref(chunk, out, hints);
        }
        Content::Extents { root, len, data } => {
            out.push(3);
            write_ref(root, out, hints);
            out.put_varint(*len);
            out.put_varint(*data);
        }
    }
}

fn write_ref(chunk: &ChunkRef, out: &mut Vec<u8>, hints: &mut Vec<Locator>) {
    out.put_varint(chunk.len.into());
    out.extend_from_slice(&chunk.id.0);
    hints.push(chunk.hint);
}

fn read_ref(r: &mut Reader<'_>, hints: &mut impl Iterator<Item = Locator>) -> Result<ChunkRef> {
    let len = plain_len(r.varint("chunk length")?)?;
    Ok(ChunkRef { len, id: ChunkId(r.array("chunk id")?), hint: next_hint(hints)? })
}

fn read_content(r: &mut Reader<'_>, hints: &mut impl Iterator<Item = Locator>) -> Result<Content> {
    Ok(match r.u8("content")? {
        0 => Content::Empty,
        1 => Content::Inline(r.bytes(INLINE_BYTES_MAX, "inline content")?.to_vec()),
        2 => Content::Chunk(read_ref(r, hints)?),
        3 => {
            let root = read_ref(r, hints)?;
            let len = r.varint_max(FILE_BYTES_MAX, "file length")?;
            Content::Extents { root, len, data: r.varint_max(len, "data length")? }
        }
        value => return Err(FormatError::Unknown { what: "content", value: value.into() }),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::id::ObjectId;

    /// One node of every kind and content, sorted by name.
    pub(crate) fn sample_nodes() -> Vec<Node> {
        let hint = Locator { pack: ObjectId([9; 16]), offset: 77, len: 1000 };
        let chunk = ChunkRef { id: ChunkId([4; 32]), len: 5000, hint };
        let owner = Arc::new(Owner { uid: 1000, gid: 1000, user: b"ada".to_vec(), group: b"users".to_vec() });
        let plain =
            Meta { mode: 0o644, owner, mtime: Time { secs: -5, nanos: 999_999_999 }, links: 1, ..Meta::default() };
        let xattrs = vec![
            Xattr { name: b"system.posix_acl_access".to_vec(), value: vec![2, 0, 0, 0] },
            Xattr { name: b"user.note".to_vec(), value: b"hello".to_vec() },
        ];
        let rich = Meta {
            mode: 0o4755,
            btime: Some(Time { secs: 1 << 33, nanos: 1 }),
            inode: u64::MAX,
            links: 3,
            link_group: Some(42),
            flags: crate::meta::flag::NO_DUMP,
            xattrs,
            windows: Some(Box::new(Windows {
                attributes: 0x20,
                security: vec![1, 2, 3],
                reparse: vec![4],
                streams: vec![Stream { name: b"Zone".to_vec(), content: Content::Inline(b"[x]".to_vec()) }],
            })),
            ..plain.clone()
        };
        let node =
            |name: &str, kind, meta: &Meta, content| Node { name: name.into(), kind, meta: meta.clone(), content };
        let mut nodes = vec![
            node("empty", Kind::File, &plain, Content::Empty),
            node("inline", Kind::File, &rich, Content::Inline(b"tiny".to_vec())),
            node("chunk", Kind::File, &rich, Content::Chunk(chunk)),
            node("large", Kind::File, &plain, Content::Extents { root: chunk, len: 1 << 50, data: 1 << 49 }),
            node("folder", Kind::Folder, &plain, Content::Empty),
            node("link", Kind::Symlink(b"../over/there".to_vec()), &plain, Content::Empty),
            node("fifo", Kind::Fifo, &plain, Content::Empty),
            node("socket", Kind::Socket, &plain, Content::Empty),
            node("tty", Kind::CharDevice { major: 4, minor: 64 }, &plain, Content::Empty),
            node("sda", Kind::BlockDevice { major: 8, minor: 1 << 19 }, &plain, Content::Empty),
        ];
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }
}
