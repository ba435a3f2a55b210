//! Nodes of a file system in an image, as nodes of a snapshot: what can be restored of them.
//! Always: what the file system does not have is what a driver of the system would show, owned by whoever restores.

use crate::browse::Inside;
use crate::disk::fs;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Node;
use crate::meta::Owner;
use crate::restore::problem::Problem;
use crate::target::MTIME_UNKNOWN;
use std::sync::Arc;

/// Content of which only the length is known: the image has the bytes, and no chunk of the repository is meant.
fn length_only(len: u64) -> Content {
    if len == 0 {
        return Content::Empty;
    }
    let hint = Locator { pack: ObjectId([0; 16]), offset: 0, len: 0 };
    Content::Extents { root: ChunkRef { id: ChunkId([0; 32]), len: 0, hint }, len, data: len }
}

/// The node with everything that has to be asked for.
pub(super) async fn convert(inside: &Inside, id: NodeId, node: &fs::Node, name: &[u8]) -> Result<Node, Problem> {
    if matches!(node.kind, NodeKind::CharDevice | NodeKind::BlockDevice) && node.device.is_none() {
        return Err(Problem::NoDevice);
    }
    let target = match node.kind {
        NodeKind::Symlink => inside.ask(async |reader| reader.link(id).await).await.map_err(Problem::Inside)?,
        _ => Vec::new(),
    };
    let kind = node.kind_with(target);
    let xattrs = inside.ask(async |reader| reader.xattrs(id).await).await.map_err(Problem::Inside)?;
    let content = if kind == Kind::File { length_only(node.size) } else { Content::Empty };
    let mut meta = meta(id, node);
    meta.xattrs = xattrs;
    Ok(Node { name: name.to_vec(), kind, meta, content })
}

fn meta(id: NodeId, node: &fs::Node) -> Meta {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let owner = Owner { uid: node.uid.unwrap_or(uid), gid: node.gid.unwrap_or(gid), ..Owner::default() };
    let links = node.links.unwrap_or(1).max(1);
    let mtime = node.mtime.filter(|time| time.nanos < 1_000_000_000).unwrap_or(MTIME_UNKNOWN);
    Meta {
        mode: node.mode_or_usual(),
        owner: Arc::new(owner),
        mtime,
        ctime: node.ctime.unwrap_or(mtime),
        btime: node.btime,
        inode: id,
        links,
        // Never 0, and node numbers are far below the largest.
        link_group: (links > 1 && node.kind != NodeKind::Folder).then(|| id.saturating_add(1)),
        ..Meta::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::meta::Time;

    fn node(kind: NodeKind) -> fs::Node {
        fs::Node::new(kind, 5)
    }

    #[test]
    fn what_is_not_known_is_as_usual() {
        let (file, folder) = (meta(0, &node(NodeKind::File)), meta(3, &node(NodeKind::Folder)));
        assert_eq!((file.mode, folder.mode), (0o644, 0o755));
        assert_eq!((file.mtime, file.link_group, file.links), (MTIME_UNKNOWN, None, 1));
        assert_eq!(file.owner.uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn what_is_known_is_kept() {
        let time = Time { secs: -7, nanos: 5 };
        let known = fs::Node {
            mode: Some(0o104_755),
            uid: Some(7),
            gid: Some(8),
            links: Some(2),
            mtime: Some(time),
            ..node(NodeKind::File)
        };
        let found = meta(0, &known);
        assert_eq!((found.mode, found.owner.uid, found.owner.gid), (0o4755, 7, 8));
        assert_eq!((found.link_group, found.mtime), (Some(1), time));
        let wrong =
            fs::Node { mtime: Some(Time { secs: 1, nanos: u32::MAX }), links: Some(3), ..node(NodeKind::Folder) };
        assert_eq!((meta(9, &wrong).mtime, meta(9, &wrong).link_group), (MTIME_UNKNOWN, None));
    }
}
