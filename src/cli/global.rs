//! Options that every command takes.

use crate::cache;
use crate::cache::Cache;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::human;
use crate::cli::out;
use crate::cli::place;
use crate::monitor::chain;
use crate::store::Location;
use crate::store::StoreOptions;
use std::path::PathBuf;
use std::sync::Arc;

/// Options that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Where the repository is: a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix
    #[arg(short, long, global = true, env = "BYGONE_REPOSITORY", hide_env_values = true, value_name = "LOCATION")]
    pub(super) repo: Option<String>,

    /// Take the password from this file (one line break at its end does not count) [env: BYGONE_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "password_command")]
    pub(super) password_file: Option<PathBuf>,

    /// Take the password from what this command prints, run by sh [env: BYGONE_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub(super) password_command: Option<String>,

    /// A setting of the storage, like s3.endpoint=https://host or requests_max=32 (repeatable)
    #[arg(short, long = "option", global = true, value_name = "KEY=VALUE")]
    pub(super) options: Vec<String>,

    /// How long to keep asking a cloud that answered before
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(super) retry_for: Option<u64>,

    /// Where encrypted pieces of backups that were read are kept, to be read faster the next time
    #[arg(long, global = true, env = "BYGONE_CACHE_DIR", hide_env_values = true, value_name = "DIR")]
    pub(super) cache_dir: Option<PathBuf>,

    /// How large the cache may be during this command ('bygone cache limit' changes it for good)
    #[arg(long, global = true, value_name = "SIZE", value_parser = human::parse_size)]
    pub(super) cache_size: Option<u64>,

    /// Neither read nor fill the cache
    #[arg(long, global = true, conflicts_with_all = ["cache_size"])]
    pub(super) no_cache: bool,

    /// Print one JSON document per line, for programs
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Print results and problems only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,

    /// Tell more; twice or three times: for developers
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,

    /// Show no progress
    #[arg(long, global = true)]
    pub(super) no_progress: bool,
}

impl Global {
    /// The repository that was named. A folder becomes absolute: the current folder may change.
    pub(super) fn location(&self) -> Result<Location> {
        let text = self.repo.as_deref().ok_or(Fault::NoLocation)?;
        Ok(match text.parse()? {
            Location::Folder(path) => Location::Folder(std::path::absolute(path).map_err(Fault::CurrentFolder)?),
            other => other,
        })
    }

    /// How to open its store.
    pub(super) fn store_options(&self) -> Result<StoreOptions> {
        let mut options = StoreOptions::default();
        for text in &self.options {
            options.set(text)?;
        }
        if let Some(secs) = self.retry_for {
            options.retry_secs_max = secs;
        }
        Ok(options)
    }

    /// The folder of the cache, absolute; `None` if nothing says where it could be.
    pub(super) fn cache_folder(&self) -> Option<PathBuf> {
        let named = self.cache_dir.clone().filter(|folder| !folder.as_os_str().is_empty());
        std::path::absolute(named.or_else(place::cache_folder)?).ok()
    }

    /// The cache, for commands that read. Without it all goes on, only slower.
    #[expect(dead_code, reason = "the repository does not read through it yet")]
    pub(super) fn cache(&self) -> Result<Option<Arc<Cache>>> {
        if self.no_cache {
            return Ok(None);
        }
        let Some(folder) = self.cache_folder() else { return Ok(None) };
        let options = cache::Options { limit: self.cache_size, ..cache::Options::default() };
        match Cache::open(&folder, &options) {
            Ok(cache) => Ok(Some(cache)),
            Err(error @ cache::Error::LimitTooSmall { .. }) => Err(error.into()),
            Err(error) => {
                out::warning(self.json, format_args!("{}; going on without it", chain(&error)));
                Ok(None)
            }
        }
    }

    /// Settings that other users of this machine can see in the list of processes, though they should not.
    pub(super) fn exposed_settings(&self) -> impl Iterator<Item = &str> {
        let keys = self.options.iter().filter_map(|text| text.split_once('=')).map(|(key, _)| key.trim());
        keys.filter(|key| ["secret", "token", "sas", "password", "account_key"].iter().any(|word| key.contains(word)))
    }
}
