//! The other repository: the one that something is taken from.

use crate::cli::error::Result;
use crate::cli::global::Global;
use crate::cli::open::Opened;
use crate::cli::password;
use crate::repo::Freshness;
use std::path::PathBuf;

/// How to open it. The command that takes these has an option `from`, which says where it is.
#[derive(Debug, clap::Args)]
pub(super) struct FromArgs {
    /// Take the password of that repository from this file [env: BYGONE_FROM_PASSWORD_FILE]
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "from_password_command")]
    from_password_file: Option<PathBuf>,

    /// Take it from what this command prints [env: BYGONE_FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", requires = "from")]
    from_password_command: Option<String>,

    /// A setting of its storage, like s3.endpoint=https://host (repeatable); those of --option are not for it
    #[arg(long, value_name = "KEY=VALUE", requires = "from")]
    from_option: Vec<String>,
}

impl FromArgs {
    /// Opens the repository at a location.
    pub(super) fn open(&self, from: &str, global: &Global) -> Result<Opened> {
        let from = Global {
            repo: Some(from.to_owned()),
            password_file: self.from_password_file.clone(),
            password_command: self.from_password_command.clone(),
            options: self.from_option.clone(),
            ..global.clone()
        };
        Opened::with(&from, &from.store_options()?, Freshness::Newest, password::read_from)
    }
}
