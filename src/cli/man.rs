//! `bygone man`: the help as manual pages.

use crate::cli::Cli;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use clap::CommandFactory;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  bygone man ~/.local/share/man/man1
  man bygone-backup";

/// Write the manual pages into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManArgs {
    /// The folder; made if it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl ManArgs {
    pub(super) fn run(self) -> Result<Exit> {
        let failed = |source| Fault::WriteTo { path: self.dir.clone(), source };
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        clap_mangen::generate_to(command, &self.dir).map_err(failed)?;
        Ok(Exit::Done)
    }
}
