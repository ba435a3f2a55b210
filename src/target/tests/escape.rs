//! Every door by every trick: nothing outside the target may change, and the answer is the right error.

use super::Scratch;
use super::bytes;
use super::meta;
use super::put;
use super::root_folder;
use crate::meta::Kind;
use crate::target::Error;
use crate::target::FileId;
use crate::target::Obstacle;
use crate::target::Removal;
use crate::target::Target;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;

fn is_bad_name<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::BadName { .. }))
}

fn is_not_a_folder<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::NotAFolder { .. }))
}

#[test]
fn bad_names_are_refused_at_every_door() {
    let scratch = Scratch::new();
    let long = vec![b'x'; 1025];
    for target in scratch.both() {
        let root = root_folder(&target);
        let id = put(&target, &root, b"good", b"").unwrap().id;
        for bad in [&b".."[..], b".", b"a/b", b"", b"a\0b", b"/", b"../outside/victim", b"/etc/passwd", &long] {
            let shown = String::from_utf8_lossy(bad);
            assert!(is_bad_name(target.begin_file(&root, bad, 0)), "{shown}");
            assert!(is_bad_name(target.state_in(&root, bad)), "{shown}");
            assert!(is_bad_name(target.hard_link(b"good", id, &root, bad)), "{shown}");
            assert!(is_bad_name(target.symlink(&root, bad, b"x", &meta(0))), "{shown}");
            assert!(is_bad_name(target.special(&root, bad, &Kind::Fifo, &meta(0))), "{shown}");
        }
        for bad in [&b".."[..], b".", b"a//b", b"/a", b"a/", b"a/../../outside", b"a\0b", b"./a", &long] {
            let shown = String::from_utf8_lossy(bad);
            assert!(is_bad_name(target.folder(bad, Obstacle::Replace)), "{shown}");
            assert!(is_bad_name(target.state(bad)), "{shown}");
            assert!(is_bad_name(target.open_existing(bad)), "{shown}");
            assert!(is_bad_name(target.finish_folder(bad, &meta(0))), "{shown}");
            assert!(is_bad_name(target.remove(bad, Removal::Tree)), "{shown}");
            assert!(is_bad_name(target.hard_link(bad, id, &root, b"new")), "{shown}");
        }
        assert!(is_bad_name(target.remove(b"", Removal::Tree)), "the target itself stays");
    }
    assert_eq!(super::names(&scratch.root()), ["good"]);
    scratch.assert_outside_untouched();
}

fn try_every_door(target: &Target, evil: &[u8], victim: FileId) {
    let below = |name: &str| [evil, b"/", name.as_bytes()].concat();
    let root = root_folder(target);
    for path in [evil, &below("sub"), &below("new"), &below("sub/new")] {
        let shown = String::from_utf8_lossy(path);
        assert!(is_not_a_folder(target.folder(path, Obstacle::Report)), "{shown}");
        assert!(is_not_a_folder(target.finish_folder(path, &meta(0o777))), "{shown}");
    }
    for path in [below("victim"), below("new"), below("sub"), below("sub/deep")] {
        let shown = String::from_utf8_lossy(&path);
        assert!(is_not_a_folder(target.state(&path)), "{shown}");
        assert!(is_not_a_folder(target.open_existing(&path)), "{shown}");
        assert!(is_not_a_folder(target.remove(&path, Removal::Node)), "{shown}");
        assert!(is_not_a_folder(target.remove(&path, Removal::Tree)), "{shown}");
        assert!(is_not_a_folder(target.hard_link(&path, victim, &root, b"stolen")), "{shown}");
    }
    assert!(target.open_existing(evil).unwrap().is_none(), "a link is not a file");
    assert!(matches!(target.state(evil).unwrap().unwrap().kind, Kind::Symlink(_)));
}

#[test]
fn a_link_as_parent_is_never_followed() {
    let scratch = Scratch::new();
    let meta = fs::metadata(scratch.outside().join("victim")).unwrap();
    let victim = FileId { device: meta.dev(), inode: meta.ino() };
    fs::create_dir(scratch.at("folder")).unwrap();
    for target in scratch.both() {
        for (evil, leads_to) in [
            ("evil", scratch.outside()),
            ("evil", "../outside".into()),
            ("folder/evil", "../../outside".into()),
            ("folder/evil", scratch.outside()),
            ("evil", format!("/proc/self/root{}", scratch.outside().display()).into()),
        ] {
            symlink(&leads_to, scratch.at(evil)).unwrap();
            try_every_door(&target, evil.as_bytes(), victim);
            scratch.assert_outside_untouched();

            // On request the link is replaced; what goes there then stays inside.
            let path = format!("{evil}/sub");
            let folder = target.folder(path.as_bytes(), Obstacle::Replace).unwrap();
            assert!(folder.is_new());
            put(&target, &folder, b"deep", b"restored").unwrap();
            assert_eq!(fs::read(scratch.at(evil).join("sub/deep")).unwrap(), b"restored");
            assert_eq!(target.remove(evil.as_bytes(), Removal::Tree).unwrap(), 3);
            scratch.assert_outside_untouched();

            // Removing a link removes the link.
            symlink(&leads_to, scratch.at(evil)).unwrap();
            assert_eq!(target.remove(evil.as_bytes(), Removal::Tree).unwrap(), 1);
            scratch.assert_outside_untouched();
        }
    }
}

#[test]
fn an_error_names_what_is_in_the_way() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.at("a")).unwrap();
    fs::write(scratch.at("a/file"), b"").unwrap();
    symlink("nowhere", scratch.at("a/link")).unwrap();
    for target in scratch.both() {
        for (path, culprit, found) in [
            ("a/file/x/y", "a/file", "file"),
            ("a/link/x", "a/link", "symbolic link"),
            ("a/link", "a/link", "symbolic link"),
        ] {
            let error = target.folder(path.as_bytes(), Obstacle::Report).unwrap_err();
            assert_eq!(error.to_string(), format!("'{culprit}' is a {found} where a folder should be"));
        }
        assert!(is_not_a_folder(target.state(b"a/file/x")));
        assert_eq!(target.state(b"a/none/x").unwrap(), None);
        assert_eq!(target.remove(b"a/none/x", Removal::Node).unwrap(), 0);
        assert!(target.finish_folder(b"a/none", &meta(0o700)).unwrap_err().is_not_found());
    }
}

#[test]
fn a_link_at_the_own_name_is_replaced_not_followed() {
    let scratch = Scratch::new();
    for target in scratch.both() {
        let root = root_folder(&target);
        let id = put(&target, &root, b"first", b"first").unwrap().id;
        let plant = || symlink(scratch.outside().join("victim"), scratch.at("name")).unwrap();
        let kind = || target.state(b"name").unwrap().unwrap().kind;

        plant();
        assert_eq!(kind(), Kind::Symlink(bytes(&scratch.outside().join("victim")).to_vec()));
        put(&target, &root, b"name", b"new").unwrap();
        assert_eq!((kind(), fs::read(scratch.at("name")).unwrap()), (Kind::File, b"new".to_vec()));

        fs::remove_file(scratch.at("name")).unwrap();
        plant();
        target.symlink(&root, b"name", b"elsewhere", &meta(0o777)).unwrap();
        assert_eq!(kind(), Kind::Symlink(b"elsewhere".to_vec()));

        fs::remove_file(scratch.at("name")).unwrap();
        plant();
        target.special(&root, b"name", &Kind::Fifo, &meta(0o600)).unwrap();
        assert_eq!(kind(), Kind::Fifo);

        fs::remove_file(scratch.at("name")).unwrap();
        plant();
        target.hard_link(b"first", id, &root, b"name").unwrap();
        assert_eq!(target.state(b"name").unwrap().unwrap().id, id);

        fs::remove_file(scratch.at("name")).unwrap();
        assert_eq!(super::names(&scratch.root()), ["first"], "no unfinished parts");
    }
    scratch.assert_outside_untouched();
}

#[test]
fn a_folder_exchanged_for_a_link_between_calls() {
    let scratch = Scratch::new();
    for target in scratch.both() {
        let folder = target.folder(b"a/sub", Obstacle::Report).unwrap();
        let begun = target.begin_file(&folder, b"begun", 5).unwrap();
        fs::rename(scratch.at("a"), scratch.at("moved")).unwrap();
        symlink(scratch.outside(), scratch.at("a")).unwrap();

        begun.write_at(0, b"begun").unwrap();
        begun.finish(&meta(0o644)).unwrap();
        put(&target, &folder, b"deep", b"restored").unwrap();
        target.symlink(&folder, b"link", b"x", &meta(0o777)).unwrap();
        assert_eq!(super::names(&scratch.at("moved/sub")), ["begun", "deep", "link"]);

        assert!(is_not_a_folder(target.folder(b"a/sub", Obstacle::Report)));
        assert!(is_not_a_folder(target.finish_folder(b"a/sub", &meta(0o777))));
        assert!(is_not_a_folder(target.remove(b"a/sub/deep", Removal::Node)));
        scratch.assert_outside_untouched();
        fs::remove_file(scratch.at("a")).unwrap();
        fs::remove_dir_all(scratch.at("moved")).unwrap();
    }
}
