//! `bygone diff`: what changed between two snapshots.

use crate::browse::Browse;
use crate::browse::Changes;
use crate::browse::SnapshotPath;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::moves;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::out::Out;
use crate::cli::out::OutError;
use crate::cli::select;
use crate::id::ChunkId;
use crate::meta::Kind;
use crate::meta::Node;
use crate::tree::Change;
use crate::tree::What;
use crate::tree::content_id;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Changes that are kept to find out what moved; more are told as they come, without that.
const KEPT_MAX: usize = 250_000;

const EXAMPLES: &str = "Examples:
  bygone diff latest~1 latest
  bygone diff latest~7:/home/ada latest --metadata
  bygone diff 1a2b3c4d:/srv/a 1a2b3c4d:/srv/b       two folders of one snapshot
  bygone diff --json latest~1 latest                for programs

Lines begin with + (added), - (removed), M (changed) or R (moved or renamed, with the same content). What did not change
is not looked at, so this takes as long as there are changes, whatever the size of the snapshots.";

/// Show what changed between two snapshots
///
/// A path that is given once holds for both snapshots.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DiffArgs {
    /// The older snapshot, and which folder or file in it
    #[arg(value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser())]
    old: SnapshotPath,

    /// The newer snapshot
    #[arg(value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser())]
    new: SnapshotPath,

    /// Show also what changed in mode, owner, times or attributes alone
    #[arg(long)]
    metadata: bool,

    /// Print the summary only
    #[arg(long)]
    summary: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

/// One side of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) path: Vec<u8>,
    pub(super) kind: &'static str,
    pub(super) size: u64,
    /// Equal for equal contents; `None` where that says nothing.
    pub(super) content: Option<ChunkId>,
    pub(super) inode: u64,
}

/// What is told of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Added(Side),
    Removed(Side),
    Changed(Side, Side, What),
    Moved(Side, Side),
}

/// The sums at the end.
#[derive(Debug, Default)]
struct Totals {
    files_added: u64,
    files_removed: u64,
    files_changed: u64,
    files_moved: u64,
    folders_added: u64,
    folders_removed: u64,
    metadata_changed: u64,
    bytes_added: u64,
    bytes_removed: u64,
    bytes_changed_before: u64,
    bytes_changed_after: u64,
}

impl DiffArgs {
    pub(super) fn run(mut self, global: &Global) -> Result<Exit> {
        match (self.old.path.is_empty(), self.new.path.is_empty()) {
            (true, false) => self.old.path.clone_from(&self.new.path),
            (false, true) => self.new.path.clone_from(&self.old.path),
            _ => {}
        }
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let (old, new) = (opened.select(&self.old, &filter)?, opened.select(&self.new, &filter)?);
        let chunks = opened.chunks(&opened.chunks_options());
        let (old, new) = (Browse::open(&chunks, &opened.log, old), Browse::open(&chunks, &opened.log, new));
        let mut teller = Teller { args: &self, as_json: global.json, out: Out::new(), totals: Totals::default() };
        opened.runtime.block_on(teller.tell_all(&old, &new))?;
        teller.finish(&old, &new)?;
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

struct Teller<'a> {
    args: &'a DiffArgs,
    as_json: bool,
    out: Out,
    totals: Totals,
}

impl Teller<'_> {
    async fn tell_all(&mut self, old: &Browse, new: &Browse) -> Result<()> {
        let (at_old, at_new) = (&self.args.old.path, &self.args.new.path);
        let mut kept = Some(Vec::new());
        if !(at_old.is_empty() && at_new.is_empty()) {
            let (top_old, top_new) = (select::node(old, at_old).await?, select::node(new, at_new).await?);
            let what = What::between(top_old.node(), top_new.node());
            if !what.is_nothing() {
                self.take(old, Change::Changed(Box::new((top_old, top_new)), what), &mut kept)?;
            }
        }
        let mut changes = Changes::new((old, at_old), (new, at_new));
        while let Some(change) = changes.next().await? {
            self.take(old, change, &mut kept)?;
        }
        if let Some(lines) = kept {
            moves::pair(lines).into_iter().try_for_each(|line| self.tell(&line))?;
        }
        Ok(())
    }

    /// Keeps a change for later; once there are too many, tells all at once.
    fn take(&mut self, browse: &Browse, change: Change, kept: &mut Option<Vec<Line>>) -> Result<()> {
        let line = line(browse, change);
        match kept {
            Some(lines) if lines.len() < KEPT_MAX => lines.push(line),
            Some(lines) => {
                let count = human::count(KEPT_MAX as u64);
                out::warning(
                    self.as_json,
                    format_args!("more than {count} changes: moved files are shown as removed and added"),
                );
                std::mem::take(lines).iter().try_for_each(|line| self.tell(line))?;
                *kept = None;
                self.tell(&line)?;
            }
            None => self.tell(&line)?,
        }
        Ok(())
    }

    fn tell(&mut self, line: &Line) -> std::result::Result<(), OutError> {
        self.totals.add(line);
        let is_hidden = matches!(line, Line::Changed(_, _, what) if !what.is_content() && !self.args.metadata);
        if is_hidden || self.args.summary {
            return Ok(());
        }
        if self.as_json {
            self.out.text(json::line("change", &line.json()))?;
            return self.out.bytes(b"\n");
        }
        let out = &mut self.out;
        match line {
            Line::Added(side) | Line::Removed(side) => {
                out.text(if matches!(line, Line::Added(_)) { "+ " } else { "- " })?;
                out.name(&side.shown())?;
                if side.kind != "folder" {
                    out.text(format_args!("  {}", human::size(side.size)))?;
                }
            }
            Line::Changed(old, new, what) => {
                out.text("M ")?;
                out.name(&new.shown())?;
                out.text(format_args!("  {}", what.words().collect::<Vec<_>>().join(", ")))?;
                if what.kind {
                    out.text(format_args!("  {} -> {}", old.kind, new.kind))?;
                } else if what.content {
                    out.text(format_args!("  {} -> {}", human::size(old.size), human::size(new.size)))?;
                }
            }
            Line::Moved(old, new) => {
                out.text("R ")?;
                out.name(&old.shown())?;
                out.text(" -> ")?;
                out.name(&new.shown())?;
                out.text(format_args!("  {}", human::size(new.size)))?;
            }
        }
        out.bytes(b"\n")
    }

    fn finish(mut self, old: &Browse, new: &Browse) -> Result<()> {
        let totals = &self.totals;
        if self.as_json {
            let body = totals.json(&old.snapshot().id.to_string(), &new.snapshot().id.to_string());
            self.out.text(json::line("summary", &body))?;
        } else {
            self.out.text(totals.text())?;
        }
        self.out.bytes(b"\n")?;
        Ok(self.out.finish()?)
    }
}

fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink(_) => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice { .. } => "char_device",
        Kind::BlockDevice { .. } => "block_device",
    }
}

fn side(browse: &Browse, path: Vec<u8>, node: &Node) -> Side {
    let keys = browse.chunks().repo().keys();
    Side {
        path,
        kind: kind_word(&node.kind),
        size: node.size(),
        content: content_id(node, |kind, bytes| keys.chunk_id(kind, bytes)),
        inode: node.meta.inode,
    }
}

fn line(browse: &Browse, change: Change) -> Line {
    match change {
        Change::Added(found) => Line::Added(side(browse, found.path(), found.node())),
        Change::Removed(found) => Line::Removed(side(browse, found.path(), found.node())),
        Change::Changed(both, what) => {
            let (old, new) = *both;
            Line::Changed(side(browse, old.path(), old.node()), side(browse, new.path(), new.node()), what)
        }
    }
}

impl Side {
    /// As people write it: folders end with a slash.
    fn shown(&self) -> Vec<u8> {
        let mut path = json::rooted(&self.path);
        if self.kind == "folder" && !self.path.is_empty() {
            path.push(b'/');
        }
        path
    }
}

impl Line {
    fn json(&self) -> Value {
        let mut map = Map::new();
        let (word, side) = match self {
            Line::Added(side) => ("added", side),
            Line::Removed(side) => ("removed", side),
            Line::Changed(_, side, _) => ("changed", side),
            Line::Moved(_, side) => ("moved", side),
        };
        map.insert("change".to_owned(), word.into());
        json::put_bytes(&mut map, "path", &json::rooted(&side.path));
        map.insert("kind".to_owned(), side.kind.into());
        map.insert("size".to_owned(), side.size.into());
        match self {
            Line::Changed(old, _, what) => {
                map.insert("what".to_owned(), what.words().collect());
                map.insert("old_kind".to_owned(), old.kind.into());
                map.insert("old_size".to_owned(), old.size.into());
            }
            Line::Moved(old, _) => json::put_bytes(&mut map, "from", &json::rooted(&old.path)),
            _ => {}
        }
        Value::Object(map)
    }
}

impl Totals {
    fn add(&mut self, line: &Line) {
        match line {
            Line::Added(side) if side.kind == "folder" => self.folders_added += 1,
            Line::Removed(side) if side.kind == "folder" => self.folders_removed += 1,
            Line::Added(side) => {
                self.files_added += 1;
                self.bytes_added += side.size;
            }
            Line::Removed(side) => {
                self.files_removed += 1;
                self.bytes_removed += side.size;
            }
            Line::Changed(old, new, what) if what.is_content() => {
                self.files_changed += 1;
                self.bytes_changed_before += old.size;
                self.bytes_changed_after += new.size;
            }
            Line::Changed(..) => self.metadata_changed += 1,
            Line::Moved(..) => self.files_moved += 1,
        }
    }

    fn text(&self) -> String {
        let files = |count| human::plural(count, "file", "files");
        let folders = |count| human::plural(count, "folder", "folders");
        format!(
            "Added {} ({}) and {}, removed {} ({}) and {}, changed {} ({} -> {}), moved {}; metadata alone: {}",
            files(self.files_added),
            human::size(self.bytes_added),
            folders(self.folders_added),
            files(self.files_removed),
            human::size(self.bytes_removed),
            folders(self.folders_removed),
            files(self.files_changed),
            human::size(self.bytes_changed_before),
            human::size(self.bytes_changed_after),
            files(self.files_moved),
            human::count(self.metadata_changed),
        )
    }

    fn json(&self, old: &str, new: &str) -> Value {
        json!({
            "command": "diff",
            "old": old,
            "new": new,
            "files_added": self.files_added,
            "files_removed": self.files_removed,
            "files_changed": self.files_changed,
            "files_moved": self.files_moved,
            "folders_added": self.folders_added,
            "folders_removed": self.folders_removed,
            "metadata_changed": self.metadata_changed,
            "bytes_added": self.bytes_added,
            "bytes_removed": self.bytes_removed,
            "bytes_changed_before": self.bytes_changed_before,
            "bytes_changed_after": self.bytes_changed_after,
        })
    }
}
