//! The other repository: the one that something is taken from.

use crate::cli::error::Result;
use crate::cli::global::Global;
use crate::cli::open::Opened;
use crate::cli::password;
use crate::repo::Freshness;
use std::path::PathBuf;

/// Which repository to take from, and its password.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The other repository")]
pub(super) struct FromArgs {
    /// The repository to take from
    #[arg(long, value_name = "LOCATION", env = "BYGONE_FROM_REPOSITORY", hide_env_values = true)]
    from: String,

    /// Take its password from this file [env: BYGONE_FROM_PASSWORD_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "from_password_command")]
    from_password_file: Option<PathBuf>,

    /// Take its password from what this command prints [env: BYGONE_FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND")]
    from_password_command: Option<String>,

    /// A setting of its storage, like s3.endpoint=https://host (repeatable); those of --option are not for it
    #[arg(long, value_name = "KEY=VALUE")]
    from_option: Vec<String>,
}

impl FromArgs {
    /// Opens it.
    pub(super) fn open(&self, global: &Global) -> Result<Opened> {
        let from = Global {
            repo: Some(self.from.clone()),
            password_file: self.from_password_file.clone(),
            password_command: self.from_password_command.clone(),
            options: self.from_option.clone(),
            ..global.clone()
        };
        Opened::with(&from, &from.store_options()?, Freshness::Newest, password::read_from)
    }
}
