//! `bygone drives`: what is mounted.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::json;
use crate::cli::out::Out;
use crate::cli::table::Align;
use crate::cli::table::Table;
use bygone_mount::fuse;
use serde_json::Map;
use serde_json::Value;
use std::os::unix::ffi::OsStrExt;

const EXAMPLES: &str = "Examples:
  bygone drives
  bygone drives --json";

/// List the drives that are mounted on this machine
///
/// A dead drive is one whose process is gone; 'bygone umount' takes it away, and so does mounting there again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DrivesArgs {}

impl DrivesArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let drives = fuse::mounts().map_err(Fault::Mounts)?;
        let mut out = Out::new();
        if global.json {
            for drive in &drives {
                let mut map = Map::new();
                json::put_bytes(&mut map, "mount_point", drive.mount_point.as_os_str().as_bytes());
                map.insert("what".to_owned(), drive.source.as_str().into());
                map.insert("dead".to_owned(), drive.dead.into());
                out.text(json::line("drive", &Value::Object(map)))?;
                out.bytes(b"\n")?;
            }
        } else if drives.is_empty() {
            out.text("No drives are mounted.\n")?;
        } else {
            let mut table = Table::new(&[("DRIVE", Align::Left), ("STATE", Align::Left), ("WHAT", Align::Left)]);
            for drive in &drives {
                let state = if drive.dead { "dead" } else { "open" };
                let what = drive.source.strip_prefix("bygone:").unwrap_or(&drive.source);
                table.row([drive.mount_point.display().to_string(), state.to_owned(), what.to_owned()]);
            }
            out.text(table)?;
        }
        out.finish()?;
        Ok(Exit::Done)
    }
}
