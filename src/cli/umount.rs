//! `bygone umount`: closes a drive.

use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::json;
use crate::cli::out;
use bygone_mount::fuse;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  bygone umount ~/Backups
  bygone umount --lazy ~/Backups     even while programs use it";

/// Close a drive
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, alias = "unmount")]
pub(super) struct UmountArgs {
    /// Where it is mounted
    #[arg(value_name = "DIR")]
    point: PathBuf,

    /// Take it out of sight at once; programs that use it keep what they have open
    #[arg(short, long)]
    lazy: bool,
}

impl UmountArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        fuse::unmount(&self.point, self.lazy)?;
        if global.json {
            out::line(json::line("unmounted", &json!({ "mount_point": self.point.to_string_lossy() })))?;
        }
        Ok(Exit::Done)
    }
}
