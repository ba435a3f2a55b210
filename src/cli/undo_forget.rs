//! `bygone undo-forget`: forgotten snapshots that are wanted after all.

use crate::browse::Filter;
use crate::browse::Selector;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::place;
use crate::cli::snapshots::chosen;
use crate::cli::snapshots::short;
use crate::id::SnapshotId;
use crate::repo::Log;

const EXAMPLES: &str = "Examples:
  bygone undo-forget --last
  bygone snapshots --forgotten
  bygone undo-forget 3f2a91c0";

/// Take back that snapshots were forgotten
///
/// Works until the repository was pruned of them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UndoForgetArgs {
    /// Which ones, as 'bygone snapshots --forgotten' lists them
    #[arg(value_name = "SNAPSHOT", required_unless_present = "last")]
    snapshots: Vec<Selector>,

    /// Those that the last 'forget' of this machine has forgotten; again: those of the one before
    #[arg(long, conflicts_with = "snapshots")]
    last: bool,
}

impl UndoForgetArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let mut opened = Opened::new(global)?;
        let machine = place::machine();
        let wanted = self.wanted(&opened, &machine)?;
        let recall = Log::recall(&opened.repo, opened.author(&machine), human::now(), &wanted);
        // A prune may have been faster.
        let late = opened.runtime.block_on(recall)?;
        opened.read_log(global)?;
        let back: Vec<_> = opened.log.snapshots().into_iter().filter(|s| wanted.contains(&s.id)).collect();
        for snapshot in &back {
            if global.json {
                out::line(json::line("snapshot", &json::snapshot(snapshot)))?;
            } else if !global.quiet {
                out::line(format_args!("{} of {} is back.", short(snapshot.id), human::time(snapshot.time)))?;
            }
        }
        if !late.is_empty() {
            let late: Vec<String> = late.iter().map(|id| short(*id)).collect();
            return Err(Fault::TooLate { snapshots: late.join(", ") }.into());
        }
        opened.tell_requests(global);
        Ok(Exit::Done)
    }

    fn wanted(&self, opened: &Opened, machine: &[u8]) -> Result<Vec<SnapshotId>> {
        if self.last {
            let writer = opened.state.writer(machine)?;
            let ids = writer.map(|writer| opened.log.last_forgotten(writer)).unwrap_or_default();
            return if ids.is_empty() { Err(Fault::NothingForgotten.into()) } else { Ok(ids) };
        }
        let found = chosen(opened.json, &self.snapshots, &opened.log.recallable(), &Filter::default());
        let found =
            found.map_err(|error| error.hint("'bygone snapshots --forgotten' lists those that can be taken back"))?;
        Ok(found.iter().map(|snapshot| snapshot.id).collect())
    }
}
