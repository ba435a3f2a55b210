//! `bygone versions`: how one file or folder changed over time.

use crate::browse::Selector;
use crate::browse::SnapshotPath;
use crate::browse::clean_path;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out::Out;
use crate::cli::snapshots::short;
use crate::cli::table::Align;
use crate::cli::table::Table;
use crate::format::record::Snapshot;
use crate::history;
use crate::history::Numbers;
use crate::history::Version;
use serde_json::Map;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

const EXAMPLES: &str = "Examples:
  bygone versions /home/ada/cv.odt
  bygone versions cv.odt                     in the current folder
  bygone versions latest:/home/ada/cv.odt    of the host of that snapshot alone
  bygone versions /etc --host tower          when a folder changed

To get one back: bygone restore ID:/PATH --to DIR, with the ID of any of its snapshots.";

/// List the versions of a file or folder in all snapshots
///
/// One line for each change of content, oldest first; the same number is the same content. A folder counts as changed if
/// anything below it was added or removed or changed its content.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VersionsArgs {
    /// The file or folder
    #[arg(value_name = "[SNAPSHOT:]PATH")]
    at: OsString,

    #[command(flatten)]
    filter: FilterArgs,
}

impl VersionsArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let (selector, path) = parse(&self.at)?;
        let opened = Opened::new(global)?;
        let mut snapshots = opened.log.snapshots();
        if let Some(snapshot) = selector {
            let host = opened.select(&SnapshotPath { snapshot, path: Vec::new() }, &filter)?.host.clone();
            snapshots.retain(|snapshot| snapshot.host == host);
        }
        snapshots.retain(|snapshot| filter.admits(snapshot) && history::covers(snapshot, &path));
        let mut hosts: BTreeMap<&str, Vec<&Snapshot>> = BTreeMap::new();
        for snapshot in snapshots {
            hosts.entry(&snapshot.host).or_default().push(snapshot);
        }
        let chunks = opened.chunks(&opened.chunks_options());
        let (mut all, mut numbers) = (Vec::new(), Numbers::default());
        for snapshots in hosts.into_values() {
            let found = history::versions(&chunks, &opened.log, &snapshots, &path, &mut numbers);
            let found = opened.runtime.block_on(found)?;
            if found.iter().any(|version| version.found.is_some()) {
                all.push((snapshots, found));
            }
        }
        if all.is_empty() {
            return Err(Fault::Nowhere { path }.into());
        }
        let mut out = Out::new();
        if global.json {
            for (snapshots, version) in all.iter().flat_map(|(s, found)| found.iter().map(move |v| (s, v))) {
                out.text(json::line("version", &version_json(snapshots, version, &path)))?;
                out.bytes(b"\n")?;
            }
        } else {
            out.text(table(&all))?;
        }
        out.finish()?;
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

/// A snapshot, if one is named, and the path. A path that does not begin at the root is one of this machine.
fn parse(text: &OsString) -> Result<(Option<Selector>, Vec<u8>)> {
    let bytes = text.as_bytes();
    let fault = |_| usage(format!("'{}' cannot be a path in a snapshot", text.display()));
    if let Some(colon) = bytes.iter().position(|&byte| byte == b':')
        && bytes.get(colon + 1) == Some(&b'/')
        && let Ok(selector) = String::from_utf8_lossy(&bytes[..colon]).parse()
    {
        return Ok((Some(selector), clean_path(&bytes[colon + 1..]).map_err(fault)?));
    }
    let path = std::path::absolute(text).map_err(Fault::CurrentFolder)?;
    Ok((None, clean_path(path.as_os_str().as_bytes()).map_err(fault)?))
}

fn table(all: &[(Vec<&Snapshot>, Vec<Version>)]) -> Table {
    let mut table = Table::new(&[
        ("VERSION", Align::Right),
        ("FROM", Align::Left),
        ("TIME", Align::Left),
        ("UNTIL", Align::Left),
        ("TIME", Align::Left),
        ("SNAPSHOTS", Align::Right),
        ("SIZE", Align::Right),
        ("MODIFIED", Align::Left),
        ("HOST", Align::Left),
    ]);
    for (snapshots, version) in all.iter().flat_map(|(s, found)| found.iter().map(move |v| (s, v))) {
        let (first, last) = (snapshots[version.first], snapshots[version.last]);
        let node = version.found.as_ref().map(|found| found.node());
        table.row([
            version.number.map_or("-".to_owned(), |number| number.to_string()),
            short(first.id),
            human::time(first.time),
            short(last.id),
            human::time(last.time),
            human::count((version.last - version.first + 1) as u64),
            node.map_or(String::new(), |node| if node.is_folder() { String::new() } else { human::size(node.size()) }),
            node.map_or("(not there)".to_owned(), |node| human::time(node.meta.mtime)),
            first.host.clone(),
        ]);
    }
    table
}

fn version_json(snapshots: &[&Snapshot], version: &Version, path: &[u8]) -> Value {
    let (first, last) = (snapshots[version.first], snapshots[version.last]);
    let mut map = Map::new();
    json::put_bytes(&mut map, "path", &json::rooted(path));
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("number", version.number.into());
    put("host", first.host.clone().into());
    put("first_snapshot", first.id.to_string().into());
    put("first_time", json::time(first.time));
    put("last_snapshot", last.id.to_string().into());
    put("last_time", json::time(last.time));
    put("snapshots", (version.last - version.first + 1).into());
    let node = version.found.as_ref().map(|found| found.node());
    put("size", node.map(|node| node.size()).into());
    put("mtime", node.map_or(Value::Null, |node| json::time(node.meta.mtime)));
    Value::Object(map)
}
