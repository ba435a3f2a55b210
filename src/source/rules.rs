//! What is left out on request: rules in gitignore syntax, markers in folders, paths, sizes.

use crate::source::Error;
use crate::source::Options;
use crate::source::os;
use crate::source::os::Handle;
use crate::source::roots;
use crate::source::why;
use ignore::gitignore::Gitignore;
use ignore::gitignore::GitignoreBuilder;
use std::path::Path;
use std::path::PathBuf;

const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_HEADER: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
const NO_BACKUP: &str = ".nobackup";
const CONFIG: &[u8] = b"config";
const CONFIG_HEADER: &[u8] = b"BYGONE\r\n";

/// All requests of [`Options`], ready to be asked.
#[derive(Debug)]
pub(super) struct Rules {
    /// By paths in which the root is a number: see [`patterns`].
    patterns: Gitignore,
    markers: Vec<Marker>,
    size_max: u64,
    skips: Vec<Skip>,
}

/// A file that leaves out the contents of its folder.
#[derive(Debug)]
struct Marker {
    name: Vec<u8>,
    /// What the file must begin with; nothing asks for nothing.
    header: Vec<u8>,
    why: &'static str,
}

/// A path that is never entered.
#[derive(Debug)]
struct Skip {
    path: Vec<u8>,
    /// File system and inode number, if it was there as the walk began.
    id: Option<(u64, u64)>,
}

impl Rules {
    /// Reads rule files and understands every rule, or says which not.
    pub(super) fn new(options: &Options) -> Result<Rules, Error> {
        Ok(Rules {
            patterns: patterns(options)?,
            markers: markers(options),
            size_max: options.size_max.unwrap_or(u64::MAX),
            skips: options.skip.iter().map(|path| Skip::new(path)).collect(),
        })
    }

    /// True if no pattern was given, so none need be asked.
    pub(super) fn no_patterns(&self) -> bool {
        self.patterns.is_empty()
    }

    /// True if a rule leaves out this path: the number of its root, and the rest.
    pub(super) fn excludes(&self, path: &[u8], is_folder: bool) -> bool {
        self.patterns.matched(Path::new(os::text(path)), is_folder).is_ignore()
    }

    /// True if a file of this size is left out.
    pub(super) fn too_large(&self, size: u64) -> bool {
        size > self.size_max
    }

    /// Names in this folder that were asked to be skipped by path.
    pub(super) fn skipped_in<'a>(&'a self, folder: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.skips
            .iter()
            .map(|skip| crate::path::split(&skip.path))
            .filter(move |(parent, _)| *parent == folder)
            .map(|(_, name)| name)
    }

    /// True if this folder was asked never to be entered.
    pub(super) fn skips(&self, path: &[u8], id: (u64, u64)) -> bool {
        self.skips.iter().any(|skip| skip.id == Some(id) || skip.path == path)
    }

    /// Why the contents of a folder are left out, going by the files in it. `has` tells whether a name is there.
    pub(super) fn marked(&self, folder: &Handle, has: impl Fn(&[u8]) -> bool) -> Option<&'static str> {
        let marker =
            self.markers.iter().find(|marker| has(&marker.name) && begins(folder, &marker.name, &marker.header));
        if let Some(marker) = marker {
            return Some(marker.why);
        }
        let is_repository = has(CONFIG) && has(b"packs") && has(b"log") && begins(folder, CONFIG, CONFIG_HEADER);
        is_repository.then_some(why::REPOSITORY)
    }
}

impl Skip {
    fn new(path: &Path) -> Skip {
        let known = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        let id = os::folder_id(path);
        Skip { path: roots::snapshot_path(known.as_deref().unwrap_or(path)), id }
    }
}

/// True if the file begins with these bytes. A file that cannot be read marks nothing: rather too much is backed up.
fn begins(folder: &Handle, name: &[u8], header: &[u8]) -> bool {
    if header.is_empty() {
        return true;
    }
    let read = || {
        let file = os::open_file(folder, name)?;
        let mut found = vec![0; header.len()];
        let is_file = os::stat_handle(&file)?.is_file();
        Ok::<_, std::io::Error>(is_file && os::read_at(&file, &mut found, 0)? == header.len() && found == header)
    };
    read().unwrap_or(false)
}

fn markers(options: &Options) -> Vec<Marker> {
    let mut markers = Vec::new();
    for text in &options.exclude_if_present {
        let (name, header) = text.split_once(':').unwrap_or((text, ""));
        markers.push(Marker { name: name.into(), header: header.into(), why: why::MARKER });
    }
    if options.exclude_caches {
        markers.push(Marker { name: CACHE_TAG.into(), header: CACHE_HEADER.into(), why: why::CACHE });
    }
    if options.nobackup {
        markers.push(Marker { name: NO_BACKUP.into(), header: Vec::new(), why: why::NO_BACKUP });
    }
    markers
}

/// The last rule that matches decides, so includes come last. A rule holds at each root, unless it names one: so it sees paths
/// like `0/home/ada`, where the first name is the number of the root.
fn patterns(options: &Options) -> Result<Gitignore, Error> {
    // Paths are asked as they are, so the builder's own root is empty.
    let mut builder = GitignoreBuilder::new("");
    let roots = named_roots(options)?;
    let mut take = |rule: &str| add(&mut builder, &placed(rule, &roots));
    options.excludes.iter().try_for_each(|rule| take(rule))?;
    for path in &options.exclude_files {
        let rules = rule_file(path).map_err(|source| Error::RuleFile { path: path.clone(), source })?;
        rules.iter().try_for_each(|rule| take(rule))?;
    }
    options.includes.iter().try_for_each(|rule| take(&format!("!{rule}")))?;
    builder.build().map_err(|fault| Error::Rules { source: Box::new(fault) })
}

/// The roots as people may write them, absolute, and the number of each. The root of all is not among them: there, a rule that
/// begins with it is as any other.
fn named_roots(options: &Options) -> Result<Vec<(String, usize)>, Error> {
    let walked = roots::roots_of(options)?;
    let mut named = Vec::new();
    for root in &options.roots {
        let Ok(known) = std::fs::canonicalize(root) else { continue };
        let path = roots::snapshot_path(&known);
        let Some(number) = walked.iter().position(|walked| *walked == path) else { continue };
        for written in [Some(known), std::path::absolute(root).ok()].into_iter().flatten() {
            let written = written.to_string_lossy().trim_end_matches('/').to_owned();
            named.extend((!written.is_empty()).then_some((written, number)));
        }
    }
    Ok(named)
}

/// A rule for paths that begin with the number of a root. One that begins with the absolute path of a root, as restic, borg and tar
/// have them, holds there alone.
fn placed(rule: &str, roots: &[(String, usize)]) -> String {
    let (mark, path) = rule.strip_prefix('!').map_or(("", rule), |path| ("!", path));
    let fitting = roots.iter().filter_map(|(written, number)| {
        let rest = path.strip_prefix(written)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((written.len(), number, rest))
    });
    if let Some((_, number, rest)) = fitting.max_by_key(|(len, ..)| *len) {
        return format!("{mark}/{number}{rest}");
    }
    // In gitignore, a slash in front or in between ties a rule to the top.
    match path.trim_end().trim_end_matches('/').contains('/') {
        true if !path.starts_with('#') => format!("{mark}/*/{}", path.strip_prefix('/').unwrap_or(path)),
        _ => rule.to_owned(),
    }
}

fn add(builder: &mut GitignoreBuilder, rule: &str) -> Result<(), Error> {
    let refused = |fault| Error::Rule { rule: rule.to_owned(), source: Box::new(fault) };
    builder.add_line(None, rule).map(drop).map_err(refused)
}

fn rule_file(path: &PathBuf) -> std::io::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.lines().map(str::to_owned).collect())
}
