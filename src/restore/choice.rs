//! What to do with one place of the target: the rules of [`Overwrite`], without any I/O.

use crate::meta::Kind;
use crate::meta::Node;
use crate::restore::Overwrite;
use crate::target::Existing;

/// What to do with a node that is no folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Put it there, in place of what is there.
    Write,
    /// It is there, as far as kind, size and time tell.
    Same {
        /// Its permissions or owner differ.
        stale: bool,
    },
    /// Something else is there and stays.
    Leave,
}

/// Chooses by what is there. `privileged`: owners and setuid bits count.
pub(super) fn choose(overwrite: Overwrite, node: &Node, existing: Option<&Existing>, privileged: bool) -> Choice {
    let Some(existing) = existing else { return Choice::Write };
    let is_same = existing.kind == node.kind
        && (node.kind != Kind::File || existing.size == node.size())
        && existing.mtime == node.meta.mtime;
    match overwrite {
        Overwrite::Always => Choice::Write,
        Overwrite::Never | Overwrite::IfNewer if is_same => Choice::Same { stale: false },
        Overwrite::Never => Choice::Leave,
        // The time of a folder says nothing about a file.
        Overwrite::IfNewer if existing.kind == Kind::Folder => Choice::Write,
        Overwrite::IfNewer if node.meta.mtime > existing.mtime => Choice::Write,
        Overwrite::IfNewer => Choice::Leave,
        Overwrite::IfChanged if !is_same => Choice::Write,
        Overwrite::IfChanged => match is_stale(node, existing, privileged) {
            // The other names may lie anywhere: what they share must not change with this one.
            true if existing.links > 1 => Choice::Write,
            stale => Choice::Same { stale },
        },
    }
}

fn is_stale(node: &Node, existing: &Existing, privileged: bool) -> bool {
    let (meta, owner) = (&node.meta, &node.meta.owner);
    let kept = if privileged { 0o7777 } else { 0o1777 };
    let mode = !matches!(node.kind, Kind::Symlink(_)) && existing.mode != meta.mode & kept;
    mode || privileged && (existing.uid != owner.uid || existing.gid != owner.gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Content;
    use crate::meta::Meta;
    use crate::meta::Time;
    use crate::target::FileId;

    fn node(secs: i64, size: usize) -> Node {
        let meta = Meta { mode: 0o4644, mtime: Time { secs, nanos: 5 }, ..Meta::default() };
        Node { name: b"n".to_vec(), kind: Kind::File, meta, content: Content::Inline(vec![1; size]) }
    }

    fn existing(secs: i64, size: u64) -> Existing {
        Existing {
            kind: Kind::File,
            size,
            mtime: Time { secs, nanos: 5 },
            id: FileId { device: 1, inode: 1 },
            mode: 0o644,
            uid: 0,
            gid: 0,
            links: 1,
        }
    }

    #[test]
    fn every_rule_against_every_state() {
        use Choice::Leave;
        use Choice::Same;
        use Choice::Write;
        let same = Same { stale: false };
        let folder = Existing { kind: Kind::Folder, ..existing(20, 4096) };
        let link = Existing { kind: Kind::Symlink(b"x".to_vec()), ..existing(20, 1) };
        let cases = [
            // what is there, then: Never, IfNewer, IfChanged, Always
            (None, [Write, Write, Write, Write]),
            (Some(existing(10, 3)), [same, same, same, Write]),
            (Some(existing(10, 4)), [Leave, Leave, Write, Write]),
            (Some(existing(9, 3)), [Leave, Write, Write, Write]),
            (Some(existing(11, 3)), [Leave, Leave, Write, Write]),
            (Some(folder), [Leave, Write, Write, Write]),
            (Some(link), [Leave, Leave, Write, Write]),
        ];
        for (there, expected) in cases {
            for (overwrite, expected) in [
                (Overwrite::Never, expected[0]),
                (Overwrite::IfNewer, expected[1]),
                (Overwrite::IfChanged, expected[2]),
                (Overwrite::Always, expected[3]),
            ] {
                assert_eq!(choose(overwrite, &node(10, 3), there.as_ref(), false), expected, "{overwrite:?} {there:?}");
            }
        }
    }

    #[test]
    fn permissions_and_owners_are_brought_up_to_date() {
        let choose = |existing, privileged| choose(Overwrite::IfChanged, &node(10, 3), Some(&existing), privileged);
        let stale = Choice::Same { stale: true };
        assert_eq!(choose(Existing { mode: 0o600, ..existing(10, 3) }, false), stale);
        assert_eq!(choose(existing(10, 3), true), stale);
        assert_eq!(choose(Existing { mode: 0o4644, ..existing(10, 3) }, true), Choice::Same { stale: false });
        assert_eq!(choose(Existing { uid: 7, ..existing(10, 3) }, false), Choice::Same { stale: false });
        assert_eq!(choose(Existing { mode: 0o600, links: 2, ..existing(10, 3) }, false), Choice::Write);
    }
}
