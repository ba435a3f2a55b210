//! `bygone umount`: closes a drive.

use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::json;
use crate::cli::out;
use bygone_mount::fuse;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  bygone umount ~/Backups
  bygone umount ~/Backups ~/Yesterday
  bygone umount --lazy ~/Backups     even while programs use it";

/// Close a drive
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, alias = "unmount")]
pub(super) struct UmountArgs {
    /// Where it is mounted; several are closed one after the other
    #[arg(value_name = "DIR", required = true)]
    points: Vec<PathBuf>,

    /// Take it out of sight at once; programs that use it keep what they have open
    #[arg(short, long)]
    lazy: bool,
}

impl UmountArgs {
    /// One that cannot be closed keeps none of the others open.
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let mut exit = Exit::Done;
        for point in &self.points {
            if let Err(error) = self.close(global, point) {
                error.tell(global.json);
                exit = error.exit();
            }
        }
        Ok(exit)
    }

    fn close(&self, global: &Global, point: &Path) -> Result<()> {
        fuse::unmount(point, self.lazy)?;
        if global.json {
            out::line(json::line("unmounted", &json!({ "mount_point": point.to_string_lossy() })))?;
        }
        Ok(())
    }
}
