//! `bygone ls`: what is in a snapshot.

use crate::browse::Browse;
use crate::browse::Inside;
use crate::browse::OpenedDisk;
use crate::browse::SnapshotPath;
use crate::browse::Sums;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::inside;
use crate::cli::inside::Place;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out::Out;
use crate::cli::out::OutError;
use crate::cli::select;
use crate::cli::unlock::UnlockArgs;
use crate::disk::fs;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::format::disk::DiskPart;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Node;
use crate::meta::Owner;
use crate::path;
use crate::tree::Found;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  bygone ls latest:/home/ada
  bygone ls -l 1a2b3c4d:/etc
  bygone ls --du latest:/home        how much is in each folder
  bygone ls -R --json latest         everything, for programs
  bygone ls 'latest:/vm/disk.qcow2!/2/etc'     inside a disk image: its partition 2";

/// List what is in a snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LsArgs {
    /// Which snapshot, and which folder or file in it
    #[arg(value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser())]
    at: SnapshotPath,

    /// Show mode, links, owner, group, size and time
    #[arg(short, long)]
    long: bool,

    /// List everything below, with full paths
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Show how much is in each folder, at no cost
    #[arg(long)]
    du: bool,

    #[command(flatten)]
    unlock: UnlockArgs,

    #[command(flatten)]
    filter: FilterArgs,
}

impl LsArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let browse = opened.browse(opened.select(&self.at, &filter)?);
        let mut out = Out::new();
        opened.runtime.block_on(self.list(&browse, global.json, &mut out))?;
        out.finish()?;
        opened.tell_requests(global);
        Ok(Exit::Done)
    }

    async fn list(&self, browse: &Browse, as_json: bool, out: &mut Out) -> Result<()> {
        let top = match inside::find(browse, &self.at.path, &self.unlock.passphrase()?).await? {
            Place::Node(found) => *found,
            Place::Disk(disk) => return self.list_parts(&disk, as_json, out),
            Place::Inside(inside, id, node) => {
                let below = Below { inside, path: self.at.path.clone(), id, node: *node };
                return self.list_inside(below, as_json, out).await;
            }
            Place::Raw(_, part) => return self.list_part(&part, as_json, out),
        };
        let range = match (top.node().is_folder(), self.recursive) {
            (false, _) => top.rank..top.rank + 1,
            (true, false) => browse.children(&self.at.path).await?,
            (true, true) => browse.subtree(&self.at.path).await?,
        };
        let mut walk = browse.walk(range);
        while let Some(found) = walk.next().await? {
            let sums = match self.du && found.node().is_folder() {
                true => Some(browse.sums(&found).await?),
                false => None,
            };
            if as_json {
                out.text(json::line("node", &node_json(&found, sums)))?;
            } else {
                self.show(&found, sums, out)?;
            }
            out.bytes(b"\n")?;
        }
        Ok(())
    }

    /// The partitions of a disk.
    fn list_parts(&self, opened: &OpenedDisk, as_json: bool, out: &mut Out) -> Result<()> {
        opened.disk.parts.iter().try_for_each(|part| self.list_part(part, as_json, out))
    }

    fn list_part(&self, part: &DiskPart, as_json: bool, out: &mut Out) -> Result<()> {
        let size = (!part.is_volume()).then_some(part.range.end - part.range.start);
        let name = part.title();
        if as_json {
            let kind = if part.fs.is_some() { "folder" } else { "file" };
            out.text(json::line("part", &json!({ "number": part.number, "name": name, "kind": kind, "size": size })))?;
        } else {
            if self.long {
                out.text(format_args!("{:>5}  {:>9}  ", part.number, size.map_or("-".to_owned(), human::size)))?;
            }
            out.name(name.as_bytes())?;
        }
        Ok(out.bytes(b"\n")?)
    }

    /// What is at and below a node inside a disk image.
    async fn list_inside(&self, top: Below, as_json: bool, out: &mut Out) -> Result<()> {
        let mut todo = vec![top];
        let mut is_top = true;
        while let Some(below) = todo.pop() {
            let is_folder = below.node.kind == NodeKind::Folder;
            if !is_top || !is_folder {
                self.show_inside(&below, as_json, out).await?;
            }
            if is_folder && (is_top || self.recursive) {
                let mut children = below.children().await?;
                if self.recursive {
                    children.reverse();
                    todo.append(&mut children);
                } else {
                    for child in children {
                        self.show_inside(&child, as_json, out).await?;
                    }
                }
            }
            is_top = false;
        }
        Ok(())
    }

    async fn show_inside(&self, below: &Below, as_json: bool, out: &mut Out) -> Result<()> {
        let node = below.as_node(self.long || as_json).await?;
        let size = below.node.size;
        if as_json {
            let mut map = Map::new();
            json::put_bytes(&mut map, "path", &json::rooted(&below.path));
            put_kind(&mut map, &node.kind);
            map.insert("size".to_owned(), size.into());
            put_meta(&mut map, &node.meta);
            out.text(json::line("node", &Value::Object(map)))?;
        } else {
            if self.long {
                out.text(long(&node, size))?;
            }
            out.name(if self.recursive { &below.path } else { &node.name })?;
            if let (Kind::Symlink(target), true) = (&node.kind, self.long) {
                out.text(" -> ")?;
                out.name(target)?;
            }
        }
        Ok(out.bytes(b"\n")?)
    }

    fn show(&self, found: &Found, sums: Option<Sums>, out: &mut Out) -> std::result::Result<(), OutError> {
        let node = found.node();
        let size = sums.map_or(node.size(), |sums| sums.bytes);
        if self.long {
            out.text(long(node, size))?;
        } else if self.du {
            out.text(format_args!("{:>9}  ", human::size(size)))?;
        }
        if self.recursive {
            out.name(&json::rooted(&found.path()))?;
        } else {
            out.name(&node.name)?;
        }
        match &node.kind {
            Kind::Symlink(target) if self.long => {
                out.text(" -> ")?;
                out.name(target)
            }
            _ => Ok(()),
        }
    }
}

/// A node inside a disk image.
struct Below {
    inside: Arc<Inside>,
    /// Path in the snapshot, with the image and the partition in it.
    path: Vec<u8>,
    id: NodeId,
    node: fs::Node,
}

/// Entries of a folder asked for at once.
const ENTRIES_AT_ONCE: u32 = 1000;

impl Below {
    async fn children(&self) -> Result<Vec<Below>> {
        let (mut found, mut cursor) = (Vec::new(), 0);
        loop {
            let listed = self.inside.ask(async |reader| reader.list(self.id, cursor, ENTRIES_AT_ONCE).await).await;
            let (entries, end) = listed?;
            cursor = entries.last().map_or(cursor, |last| last.entry.cursor);
            found.extend(entries.into_iter().filter_map(|listed| {
                let path = path::join(&self.path, &listed.entry.name);
                Some(Below { inside: self.inside.clone(), path, id: listed.entry.node, node: listed.node? })
            }));
            if end {
                found.sort_by(|a, b| a.path.cmp(&b.path));
                return Ok(found);
            }
        }
    }

    /// As a node of a snapshot; the target of a link only if it is wanted.
    async fn as_node(&self, wants_target: bool) -> Result<Node> {
        let target = match self.node.kind {
            NodeKind::Symlink if wants_target => self.inside.ask(async |reader| reader.link(self.id).await).await?,
            _ => Vec::new(),
        };
        let kind = self.node.kind_with(target);
        let (uid, gid) = (self.node.uid.unwrap_or(0), self.node.gid.unwrap_or(0));
        let mtime = self.node.mtime.unwrap_or_default();
        let meta = Meta {
            mode: self.node.mode_or_usual(),
            owner: Arc::new(Owner { uid, gid, ..Owner::default() }),
            mtime,
            ctime: self.node.ctime.unwrap_or(mtime),
            btime: self.node.btime,
            inode: self.id,
            links: self.node.links.unwrap_or(1),
            ..Meta::default()
        };
        Ok(Node { name: path::split(&self.path).1.to_vec(), kind, meta, content: Content::Empty })
    }
}

/// The columns before the name. Their widths do not depend on the other lines: a listing may have millions.
fn long(node: &Node, size: u64) -> String {
    let meta = &node.meta;
    let owner = |name: &[u8], number: u32| match name {
        [] => number.to_string(),
        name => path::Show(name).to_string(),
    };
    let size = match node.kind {
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => format!("{major}, {minor}"),
        _ => size.to_string(),
    };
    format!(
        "{} {:>3} {:<8} {:<8} {:>12} {} ",
        human::mode(&node.kind, meta.mode),
        meta.links,
        owner(&meta.owner.user, meta.owner.uid),
        owner(&meta.owner.group, meta.owner.gid),
        size,
        human::time(meta.mtime),
    )
}

fn node_json(found: &Found, sums: Option<Sums>) -> Value {
    let node = found.node();
    let mut map = Map::new();
    json::put_bytes(&mut map, "path", &json::rooted(&found.path()));
    put_kind(&mut map, &node.kind);
    map.insert("size".to_owned(), node.size().into());
    if let Some(sums) = sums {
        map.insert("below".to_owned(), json!({ "nodes": sums.nodes - 1, "bytes": sums.bytes }));
    }
    put_meta(&mut map, &node.meta);
    Value::Object(map)
}

fn put_kind(map: &mut Map<String, Value>, kind: &Kind) {
    let kind = match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink(target) => {
            json::put_bytes(map, "target", target);
            "symlink"
        }
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice { major, minor } => {
            map.insert("device".to_owned(), json!([major, minor]));
            "char_device"
        }
        Kind::BlockDevice { major, minor } => {
            map.insert("device".to_owned(), json!([major, minor]));
            "block_device"
        }
    };
    map.insert("kind".to_owned(), kind.into());
}

fn put_meta(map: &mut Map<String, Value>, meta: &Meta) {
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("mode", format!("{:04o}", meta.mode).into());
    put("uid", meta.owner.uid.into());
    put("gid", meta.owner.gid.into());
    put("mtime", json::time(meta.mtime));
    put("ctime", json::time(meta.ctime));
    put("btime", meta.btime.map_or(Value::Null, json::time));
    put("inode", meta.inode.into());
    put("links", meta.links.into());
    put("link_group", meta.link_group.into());
    put("flags", meta.flags.into());
    let xattr = |name: &[u8], value: &[u8]| {
        let mut map = Map::new();
        json::put_bytes(&mut map, "name", name);
        map.insert("value_hex".to_owned(), json::hex(value).into());
        Value::Object(map)
    };
    put("xattrs", meta.xattrs.iter().map(|x| xattr(&x.name, &x.value)).collect());
    json::put_bytes(map, "user", &meta.owner.user);
    json::put_bytes(map, "group", &meta.owner.group);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Time;

    #[test]
    fn columns_of_one_line() {
        let owner = Owner { uid: 1000, gid: 7, user: b"ada".to_vec(), group: vec![] };
        let meta = Meta { mode: 0o640, owner: Arc::new(owner), links: 2, mtime: Time::default(), ..Meta::default() };
        let node = Node { name: b"x".to_vec(), kind: Kind::File, meta, content: Content::Inline(vec![0; 5]) };
        let line = long(&node, node.size());
        assert!(line.starts_with("-rw-r-----   2 ada      7                   5 19"), "{line}");
    }
}
