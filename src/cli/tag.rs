//! `bygone tag`: other tags and another description for snapshots that exist.

use crate::browse::Selector;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::place;
use crate::cli::snapshots::chosen;
use crate::format::later::EVENT_BYTES_MAX;
use crate::format::record::Event;
use crate::format::record::Snapshot;
use crate::format::record::TEXT_BYTES_MAX;
use crate::repo::Log;
use clap::ArgGroup;

const EXAMPLES: &str = "Examples:
  bygone tag latest --add keep --description 'before the upgrade'
  bygone tag 3f2a91c0 77aa01de --remove weekly
  bygone tag latest~1 --set monthly";

/// Change the tags or the description of snapshots
///
/// Nothing else about a snapshot can be changed. The change is a record of its own; if two machines change the same
/// snapshot at the same moment, one of the changes holds, the same one for everybody.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("change").args(["add", "remove", "set", "description"]).required(true).multiple(true)))]
pub(super) struct TagArgs {
    /// Which snapshots
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<Selector>,

    /// Add this tag (repeatable)
    #[arg(long, value_name = "TAG")]
    add: Vec<String>,

    /// Take this tag away (repeatable)
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,

    /// Put this tag in the place of all others (repeatable; an empty one only takes all away)
    #[arg(long, value_name = "TAG", conflicts_with_all = ["add", "remove"])]
    set: Vec<String>,

    /// What the snapshot is, in your words; empty: nothing
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    #[command(flatten)]
    filter: FilterArgs,
}

impl TagArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let texts = self.add.iter().chain(&self.set).chain(&self.description);
        if texts.map(String::len).any(|len| len > TEXT_BYTES_MAX) {
            return Err(usage(format!("a tag or description is at most {TEXT_BYTES_MAX} bytes long")));
        }
        if self.add.iter().any(String::is_empty) {
            return Err(usage("a tag is not empty"));
        }
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let all = opened.log.snapshots();
        let chosen = chosen(opened.json, &self.snapshots, &all, &filter)?;
        let after: Vec<Snapshot> = chosen.iter().map(|snapshot| self.changed(snapshot)).collect();
        let is_other = |(before, after): &(&&Snapshot, &Snapshot)| **before != *after;
        let changed: Vec<&Snapshot> = chosen.iter().zip(&after).filter(is_other).map(|(_, after)| after).collect();
        let amend = |s: &&Snapshot| opened.log.amendment(s.id, s.tags.clone(), s.description.clone());
        let events: Vec<Event> = changed.iter().map(amend).collect();
        if !events.iter().all(Event::is_readable) {
            let most = human::size(EVENT_BYTES_MAX as u64);
            return Err(usage(format!("all tags and the description of a snapshot are together at most {most} long"))
                .hint("nothing was changed"));
        }
        let machine = place::machine();
        let author = opened.author(&machine);
        opened.runtime.block_on(Log::say(&opened.repo, author, human::now(), events))?;
        if global.json {
            for snapshot in &after {
                out::line(json::line("snapshot", &json::snapshot(snapshot)))?;
            }
        } else if !global.quiet {
            out::line(format_args!("Changed {}.", human::plural(changed.len() as u64, "snapshot", "snapshots")))?;
        }
        opened.tell_requests(global);
        Ok(Exit::Done)
    }

    fn changed(&self, snapshot: &Snapshot) -> Snapshot {
        let mut tags = if self.set.is_empty() { snapshot.tags.clone() } else { self.set.clone() };
        tags.extend(self.add.iter().cloned());
        tags.retain(|tag| !tag.is_empty() && !self.remove.contains(tag));
        tags.sort();
        tags.dedup();
        let description = self.description.clone().unwrap_or_else(|| snapshot.description.clone());
        Snapshot { tags, description, ..snapshot.clone() }
    }
}
