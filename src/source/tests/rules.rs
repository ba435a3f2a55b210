//! What is left out, and what is not: every option by its effect on a real tree.

use crate::source::Error;
use crate::source::Options;
use crate::source::tests::below;
use crate::source::tests::options;
use crate::source::tests::steps;
use crate::source::tests::tree;
use crate::source::why;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache";

fn seen(options: &Options, root: &Path) -> Vec<String> {
    below(&steps(options), root)
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn excludes_are_gitignore_rules_at_each_root_and_includes_win() {
    let root = tree(&["a.tmp", "keep.tmp", "d/b.tmp", "d/only/x", "only/y", "z/"]);
    let options = Options {
        excludes: texts(&["*.tmp", "/only", "# a remark"]),
        includes: texts(&["keep.tmp"]),
        ..options(root.path())
    };
    let rule = |path: &str| format!("{path}: {}", why::RULE);
    let expected = [&rule("a.tmp"), "d", "keep.tmp", &rule("only"), "z", &rule("d/b.tmp"), "d/only", "d/only/x"];
    assert_eq!(seen(&options, root.path()), expected);
}

#[test]
fn rules_may_name_whole_paths_in_a_root() {
    let (root, other) = (tree(&["a[1]/x", "a[1]/y.tmp", "skip", "d/skip"]), tree(&["skip"]));
    let whole = |path: &str| format!("{}/{path}", root.path().to_str().unwrap());
    let with = |excludes: &[&str], includes: &[&str]| {
        let (excludes, includes) = (texts(excludes), texts(includes));
        Options { excludes, includes, ..options(root.path()) }
    };
    let rule = |path: &str| format!("{path}: {}", why::RULE);
    let mut both = with(&[&whole("skip"), &whole("*/*.tmp")], &[]);
    let expected = ["a[1]", "d", &rule("skip"), "a[1]/x", &rule("a[1]/y.tmp"), "d/skip"];
    assert_eq!(seen(&both, root.path()), expected);
    // The same name in another root stays.
    both.roots.push(other.path().to_owned());
    assert_eq!(seen(&both, other.path()), ["skip"]);
    // The last rule decides, in whatever way it is written.
    let rules = other.path().join("rules");
    let lines = |first: &str, last: &str| fs::write(&rules, format!("{first}\n{last}\n")).unwrap();
    let by_file = || Options { exclude_files: vec![rules.clone()], ..options(root.path()) };
    lines("!*.tmp", &whole("*/y.tmp"));
    assert!(seen(&by_file(), root.path()).contains(&rule("a[1]/y.tmp")));
    lines(&whole("*/y.tmp"), "!a[[]1]/*.tmp");
    assert!(seen(&by_file(), root.path()).contains(&"a[1]/y.tmp".to_owned()));
    // Includes win, however they are written; a root with letters that mean something in rules is itself.
    assert!(seen(&with(&["skip"], &[&whole("skip")]), root.path()).contains(&"skip".to_owned()));
    assert!(seen(&with(&[&whole("skip")], &["/skip"]), root.path()).contains(&"skip".to_owned()));
    let inner = root.path().join("a[1]");
    let excludes = vec![format!("{}/*.tmp", inner.to_str().unwrap())];
    let options = Options { excludes, ..options(&inner) };
    assert_eq!(seen(&options, &inner), ["x", &rule("y.tmp")]);
}

#[test]
fn nothing_comes_back_out_of_an_excluded_folder_nor_is_it_read() {
    let root = tree(&["d/keep"]);
    let options = Options { excludes: texts(&["d"]), includes: texts(&["keep"]), ..options(root.path()) };
    assert_eq!(seen(&options, root.path()), [format!("d: {}", why::RULE)]);
}

#[test]
fn rules_for_folders_spare_files_and_come_from_files_too() {
    let root = tree(&["x/build/a", "y/build", "e/rules"]);
    let file = root.path().join("e/rules");
    fs::write(&file, "\u{feff}build/\r\n\r\n/e/\n").unwrap();
    let options = Options { exclude_files: vec![file], ..options(root.path()) };
    let expected = [&format!("e: {}", why::RULE), "x", "y", &format!("x/build: {}", why::RULE), "y/build"];
    assert_eq!(seen(&options, root.path()), expected);
}

#[test]
fn rules_hold_in_large_folders() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..2000 {
        fs::create_dir(root.path().join(format!("{n}.d"))).unwrap();
        fs::write(root.path().join(format!("{n}.f")), b"").unwrap();
    }
    let options = Options { excludes: texts(&["1*.d", "*5.f"]), ..options(root.path()) };
    let seen = seen(&options, root.path());
    let left_out = seen.iter().filter(|line| line.ends_with(why::RULE)).count();
    let expected = (0..2000).filter(|n| n.to_string().starts_with('1')).count() + 200;
    assert_eq!((left_out, seen.len()), (expected, 4000));
}

#[test]
fn markers_keep_the_folder_without_its_contents() {
    let root =
        tree(&["c/x", "n/.nobackup", "n/x", "f/CACHEDIR.TAG", "f/x", "m/MARK", "m/x", "p/OTHER", "p/x", "q/OTHER"]);
    fs::write(root.path().join("c/CACHEDIR.TAG"), TAG).unwrap();
    fs::write(root.path().join("q/OTHER"), "yes, leave me").unwrap();
    let options = Options {
        exclude_caches: true,
        nobackup: true,
        exclude_if_present: texts(&["MARK", "OTHER:yes"]),
        ..options(root.path())
    };
    let contents = |path: &str, why: &str| format!("{path}: {why}");
    let expected = [
        "c",
        "f",
        "m",
        "n",
        "p",
        "q",
        &contents("c", why::CACHE),
        "f/CACHEDIR.TAG",
        "f/x",
        &contents("m", why::MARKER),
        &contents("n", why::NO_BACKUP),
        "p/OTHER",
        "p/x",
        &contents("q", why::MARKER),
    ];
    assert_eq!(seen(&options, root.path()), expected);
}

#[test]
fn markers_mean_nothing_unless_asked_for() {
    let root = tree(&["n/.nobackup", "n/x"]);
    assert_eq!(seen(&options(root.path()), root.path()), ["n", "n/.nobackup", "n/x"]);
}

#[test]
fn repositories_are_kept_without_contents() {
    let root = tree(&["r/packs/", "r/log/", "r/config", "s/packs/", "s/log/", "s/config"]);
    fs::write(root.path().join("r/config"), b"BYGONE\r\nmore").unwrap();
    let expected = ["r", "s", &format!("r: {}", why::REPOSITORY), "s/config", "s/log", "s/packs"];
    assert_eq!(seen(&options(root.path()), root.path()), expected);
}

#[test]
fn large_files_are_left_out_but_not_folders() {
    let root = tree(&["d/"]);
    fs::write(root.path().join("ten"), [0; 10]).unwrap();
    fs::write(root.path().join("eleven"), [0; 11]).unwrap();
    let options = Options { size_max: Some(10), ..options(root.path()) };
    assert_eq!(seen(&options, root.path()), ["d", &format!("eleven: {}", why::TOO_LARGE), "ten"]);
}

#[test]
fn skipped_folders_are_known_by_identity_and_other_nodes_by_path() {
    let root = tree(&["real/x", "later/x", "state", "other/state"]);
    let link = tempfile::tempdir().unwrap();
    let other_way = link.path().join("way");
    std::os::unix::fs::symlink(root.path().join("real"), &other_way).unwrap();
    let skip = vec![other_way, root.path().join("state"), root.path().join("nowhere")];
    let options = Options { skip, ..options(root.path()) };
    let skipped = |path: &str| format!("{path}: {}", why::SKIP);
    let expected = ["later", "other", "real", &skipped("state"), "later/x", "other/state", &skipped("real")];
    assert_eq!(seen(&options, root.path()), expected);
}

#[test]
fn bad_rules_and_missing_rule_files_are_errors() {
    let root = tree(&[]);
    let bad = Options { excludes: texts(&["a", "b[z-a]"]), ..options(root.path()) };
    assert!(matches!(crate::source::walk(&bad), Err(Error::Rule { rule, .. }) if rule == "b[z-a]"));
    let missing = Options { exclude_files: vec![PathBuf::from("/nowhere/rules")], ..options(root.path()) };
    assert!(
        matches!(crate::source::walk(&missing), Err(Error::RuleFile { path, .. }) if path == Path::new("/nowhere/rules"))
    );
}
