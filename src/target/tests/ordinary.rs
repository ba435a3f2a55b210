//! What an ordinary user gets: closed folders of their own opened for a while, and no more than that.

use super::Scratch;
use super::as_ordinary_user;
use super::meta;
use super::mode_of;
use super::put;
use super::root_folder;
use super::set_mode;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Xattr;
use crate::target::Obstacle;
use crate::target::Options;
use crate::target::Removal;
use crate::target::What;
use std::fs;

#[test]
fn closed_folders_are_filled_and_closed_again() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        for target in scratch.both() {
            fs::create_dir_all(scratch.at("a/b")).unwrap();
            set_mode(&scratch.at("a/b"), 0o500);
            set_mode(&scratch.at("a"), 0);
            for path in [&b"a"[..], b"a/b", b"a/b/c"] {
                let folder = target.folder(path, Obstacle::Report).unwrap();
                put(&target, &folder, b"file", b"x").unwrap();
            }
            // `a/b` is not part of the snapshot: it gets its old permissions back, the others get new ones.
            assert!(target.finish_folder(b"a/b/c", &meta(0)).unwrap().is_empty());
            assert!(target.finish_folder(b"a", &meta(0o111)).unwrap().is_empty());
            assert!(target.settle().is_empty());
            assert_eq!(mode_of(&scratch.at("a")), 0o111);
            assert_eq!(mode_of(&scratch.at("a/b")), 0o500);
            assert_eq!(mode_of(&scratch.at("a/b/c")), 0);

            target.folder(b"", Obstacle::Report).unwrap();
            target.folder(b"a", Obstacle::Report).unwrap();
            assert_eq!(target.remove(b"a", Removal::Tree).unwrap(), 6, "closed folders are removed too");
            assert!(target.settle().is_empty());
        }
    });
}

#[test]
fn read_only_metadata_does_not_hinder_itself() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let target = scratch.target(Options::default());
        let has_xattrs = {
            let probe = scratch.outside().join("sub");
            rustix::fs::setxattr(&probe, "user.x", b"x", rustix::fs::XattrFlags::empty()).is_ok()
        };
        let meta = Meta { xattrs: vec![Xattr { name: b"user.tag".to_vec(), value: b"value".to_vec() }], ..meta(0o400) };
        let root = root_folder(&target);
        let missed = target.begin_file(&root, b"file", 0).unwrap().finish(&meta).unwrap().missed;
        assert_eq!(missed.is_empty(), has_xattrs, "{missed:?}");
        target.folder(b"folder", Obstacle::Report).unwrap();
        let missed = target.finish_folder(b"folder", &meta).unwrap();
        assert_eq!(missed.is_empty(), has_xattrs, "{missed:?}");
        let placed = put(&target, &root, b"file", b"replaced though read-only").unwrap();
        target.hard_link(b"file", placed.id, &root, b"second").unwrap();
        assert!(target.special(&root, b"pipe", &Kind::Fifo, &super::meta(0)).unwrap().missed.is_empty());
    });
}

#[test]
fn asking_for_privilege_gives_none() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let target = scratch.target(super::privileged());
        let root = root_folder(&target);
        let mut powerful = meta(0o6755);
        std::sync::Arc::make_mut(&mut powerful.owner).uid = 0;
        powerful.flags = crate::meta::flag::IMMUTABLE;
        let missed = target.begin_file(&root, b"file", 0).unwrap().finish(&powerful).unwrap().missed;
        let whats: Vec<_> = missed.iter().map(|missed| missed.what.clone()).collect();
        assert_eq!(whats, [What::Owner, What::SetId, What::Flags]);
        // The group is right, so its bit may stay.
        assert_eq!(mode_of(&scratch.at("file")), 0o2755);
        let device = Kind::CharDevice { major: 1, minor: 3 };
        assert!(target.special(&root, b"null", &device, &meta(0o666)).unwrap_err().is_denied());
    });
}

#[test]
fn folders_of_others_stay_as_they_are() {
    if !super::is_root() {
        // Only root can make a folder of someone else; an own closed folder is the other test.
        return closed_folders_are_filled_and_closed_again();
    }
    let scratch = Scratch::new();
    set_mode(scratch.dir.path(), 0o755);
    fs::create_dir(scratch.at("closed")).unwrap();
    set_mode(&scratch.at("closed"), 0o700);
    fs::create_dir(scratch.at("open")).unwrap();
    set_mode(&scratch.at("open"), 0o755);
    as_ordinary_user(|| {
        let target = scratch.target(Options::default());
        assert!(target.folder(b"closed", Obstacle::Report).unwrap_err().is_denied());
        assert!(target.folder(b"open/new", Obstacle::Report).unwrap_err().is_denied());
        let open = target.folder(b"open", Obstacle::Report).unwrap();
        assert!(put(&target, &open, b"file", b"").unwrap_err().is_denied());
        assert!(target.state(b"closed/x").unwrap_err().is_denied());
    });
    assert_eq!((mode_of(&scratch.at("closed")), mode_of(&scratch.at("open"))), (0o700, 0o755));
}
