//! Which nodes are wanted: includes and excludes in gitignore syntax, relative to the base.
//! Always: what lies below an excluded folder is excluded, below an included one included; excludes win.

use crate::path::is_below;
use crate::restore::Error;
use crate::restore::Options;
use ignore::gitignore::Gitignore;
use ignore::gitignore::GitignoreBuilder;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Both lists, ready to be asked.
#[derive(Debug)]
pub(super) struct Rules {
    includes: Option<Includes>,
    excludes: Option<Gitignore>,
}

#[derive(Debug)]
struct Includes {
    rules: Gitignore,
    /// All matches lie at, above or below these; `None` if they may lie anywhere.
    roots: Option<Vec<Vec<u8>>>,
}

impl Rules {
    /// Understands every rule, or says which not.
    pub(super) fn new(options: &Options) -> Result<Rules, Error> {
        let includes = compile(&options.includes)?.map(|rules| {
            let roots = options.includes.iter().filter(|rule| !rule.starts_with(['#', '!']));
            Includes { rules, roots: roots.map(|rule| literal_root(rule)).collect() }
        });
        Ok(Rules { includes, excludes: compile(&options.excludes)? })
    }

    /// No rules at all.
    pub(super) fn none() -> Rules {
        Rules { includes: None, excludes: None }
    }

    /// True if there are rules what not to restore.
    pub(super) fn has_excludes(&self) -> bool {
        self.excludes.is_some()
    }

    /// True if a rule excludes exactly this.
    pub(super) fn excludes(&self, path: &[u8], is_folder: bool) -> bool {
        self.excludes.as_ref().is_some_and(|rules| matches(rules, path, is_folder))
    }

    /// True if a rule excludes this folder or one that holds it.
    pub(super) fn excludes_below(&self, folder: &[u8]) -> bool {
        self.excludes.as_ref().is_some_and(|rules| steps(folder).any(|step| matches(rules, step, true)))
    }

    /// True if exactly this is asked for.
    pub(super) fn includes(&self, path: &[u8], is_folder: bool) -> bool {
        self.includes.as_ref().is_none_or(|includes| matches(&includes.rules, path, is_folder))
    }

    /// True if this folder, or one that holds it, is asked for.
    pub(super) fn includes_below(&self, folder: &[u8]) -> bool {
        let Some(includes) = &self.includes else { return true };
        steps(folder).any(|step| matches(&includes.rules, step, true))
    }

    /// False if nothing at or below this folder can be asked for.
    pub(super) fn may_include_below(&self, folder: &[u8]) -> bool {
        let Some(roots) = self.includes.as_ref().and_then(|includes| includes.roots.as_ref()) else { return true };
        roots.iter().any(|root| is_below(folder, root) || is_below(root, folder))
    }
}

fn matches(rules: &Gitignore, path: &[u8], is_folder: bool) -> bool {
    rules.matched(Path::new(OsStr::from_bytes(path)), is_folder).is_ignore()
}

fn compile(rules: &[String]) -> Result<Option<Gitignore>, Error> {
    if rules.is_empty() {
        return Ok(None);
    }
    // Paths are asked relative to the base, so the builder's own root is empty.
    let mut builder = GitignoreBuilder::new("");
    for rule in rules {
        let refused = |fault| Error::Rule { rule: rule.clone(), source: Box::new(fault) };
        builder.add_line(None, rule).map_err(refused)?;
    }
    let refused = |fault| Error::Rule { rule: rules.join(", "), source: Box::new(fault) };
    builder.build().map(Some).map_err(refused)
}

/// The folder all matches of a rule lie in (or which they are), if the rule is bound to a place.
fn literal_root(rule: &str) -> Option<Vec<u8>> {
    let rule = rule.trim_end();
    let rule = rule.strip_suffix('/').unwrap_or(rule);
    if !rule.contains('/') {
        return None;
    }
    let parts = rule.split('/').filter(|part| !part.is_empty());
    let literal: Vec<&str> = parts.take_while(|part| !part.contains(['*', '?', '[', '{', '\\'])).collect();
    Some(literal.join("/").into_bytes())
}

/// A path and each of its ancestors but the root, outermost first.
pub(super) fn steps(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(at, _)| at);
    ends.chain(Some(path.len())).filter(|&end| end > 0).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(includes: &[&str], excludes: &[&str]) -> Rules {
        let own = |rules: &[&str]| rules.iter().map(|&r| r.to_owned()).collect();
        Rules::new(&Options { includes: own(includes), excludes: own(excludes), ..Options::default() }).unwrap()
    }

    #[test]
    fn folders_decide_for_what_is_in_them() {
        let rules = rules(&["docs/", "*.txt"], &["secret", "!docs/secret/x"]);
        assert!(rules.includes_below(b"a/docs/b/c") && !rules.includes_below(b"a/b"));
        assert!(rules.includes(b"a/x.txt", false) && !rules.includes(b"docs", false));
        assert!(rules.excludes_below(b"docs/secret/x") && !rules.excludes_below(b"docs"));
        assert!(rules.may_include_below(b"anywhere"));
    }

    #[test]
    fn rules_bound_to_a_place_spare_the_rest() {
        let rules = rules(&["/a/b/*.txt", "c/d"], &[]);
        for near in [&b""[..], b"a", b"a/b", b"a/b/x", b"c", b"c/d/e"] {
            assert!(rules.may_include_below(near), "{}", crate::path::Show(near));
        }
        for far in [&b"b"[..], b"a/c", b"ab", b"c/e"] {
            assert!(!rules.may_include_below(far), "{}", crate::path::Show(far));
        }
    }

    #[test]
    fn a_rule_that_is_none_is_named() {
        let options = Options { excludes: vec!["fine".into(), "[b-a]".into()], ..Options::default() };
        assert!(matches!(Rules::new(&options), Err(Error::Rule { rule, .. }) if rule == "[b-a]"));
    }
}
