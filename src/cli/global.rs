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
use crate::store::Moved;
use crate::store::StoreOptions;
use crate::store::Traffic;
use crate::store::parse_rate;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

/// Everything this process moves; its limits hold for all stores together.
static TRAFFIC: LazyLock<Arc<Traffic>> = LazyLock::new(Traffic::new);

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

    /// How large the cache may be during this command ('bygone cache limit' changes it for good). With it, a repository
    /// in a folder is cached too: for slow network drives
    #[arg(long, global = true, value_name = "SIZE", value_parser = human::parse_size)]
    pub(super) cache_size: Option<u64>,

    /// Neither read nor fill the cache
    #[arg(long, global = true, conflicts_with_all = ["cache_size"])]
    pub(super) no_cache: bool,

    /// Ask the storage nothing: what is in the cache is all there is
    #[arg(long, global = true, conflicts_with = "no_cache")]
    pub(super) offline: bool,

    /// Send or write at most so many bytes per second, like 500K or 2M; 0 = no limit
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub(super) limit_upload: Option<u64>,

    /// Receive or read at most so many bytes per second
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub(super) limit_download: Option<u64>,

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
        let mut options = StoreOptions { traffic: TRAFFIC.clone(), ..StoreOptions::default() };
        for text in &self.options {
            options.set(text)?;
        }
        if let Some(secs) = self.retry_for {
            options.retry_secs_max = secs;
        }
        options.limit_upload = self.limit_upload.unwrap_or(options.limit_upload);
        options.limit_download = self.limit_download.unwrap_or(options.limit_download);
        Ok(options)
    }

    /// The same for somebody who waits no longer than this for one answer: whatever was not set is such that a request
    /// is tried several times until then, and not much longer.
    pub(super) fn store_options_within(&self, deadline: Duration) -> Result<StoreOptions> {
        const TRIES_MIN: u64 = 4;
        let is_set =
            |key: &str| self.options.iter().any(|text| text.split('=').next().is_some_and(|k| k.trim() == key));
        let mut options = self.store_options()?;
        let secs = deadline.as_secs().max(1);
        if !is_set("stall_secs_max") {
            options.stall_secs_max = options.stall_secs_max.min((secs / TRIES_MIN).max(1));
        }
        if !is_set("connect_secs_max") {
            options.connect_secs_max = options.connect_secs_max.min((secs / TRIES_MIN).max(1));
        }
        if !is_set("retry_secs_max") && self.retry_for.is_none() {
            options.retry_secs_max = options.retry_secs_max.min(secs);
        }
        Ok(options)
    }

    /// The folder of the cache, absolute; `None` if nothing says where it could be.
    pub(super) fn cache_folder(&self) -> Option<PathBuf> {
        let named = self.cache_dir.clone().filter(|folder| !folder.as_os_str().is_empty());
        std::path::absolute(named.or_else(place::cache_folder)?).ok()
    }

    /// The cache, for commands that read. Without it all goes on, only slower.
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

fn rate(text: &str) -> std::result::Result<u64, String> {
    parse_rate(text).ok_or_else(|| format!("'{text}' is not a rate: write bytes per second, or 500K, 2M, 1.5MiB"))
}

/// What has moved between this process and its stores.
pub(super) fn moved() -> Moved {
    TRAFFIC.moved()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_a_drive_has_little_patience() {
        let times = |options: &[&str], retry_for, deadline| {
            let options = options.iter().map(|&text| text.to_owned()).collect();
            let global = Global { options, retry_for, ..Global::default() };
            let options = global.store_options_within(Duration::from_secs(deadline)).unwrap();
            (options.stall_secs_max, options.connect_secs_max, options.retry_secs_max)
        };
        assert_eq!(times(&[], None, 60), (15, 10, 60));
        assert_eq!(times(&[], None, 4), (1, 1, 4));
        assert_eq!(times(&[], None, 0), (1, 1, 1));
        assert_eq!(times(&[], None, 86_400), (60, 10, 300));
        assert_eq!(times(&["stall_secs_max=50", "connect_secs_max = 40"], Some(500), 60), (50, 40, 500));
        assert_eq!(times(&["retry_secs_max=7"], None, 60), (15, 10, 7));
    }

    #[test]
    fn limits_are_read() {
        let global = Global {
            options: vec!["limit_upload=1K".to_owned(), "limit_download=3K".to_owned()],
            limit_upload: Some(5),
            ..Global::default()
        };
        let options = global.store_options().unwrap();
        assert_eq!((options.limit_upload, options.limit_download), (5, 3 << 10));
        assert_eq!(rate("1.5 MiB/s"), Ok(3 << 19));
        assert!(rate("fast").is_err_and(|told| told.contains("500K")));
    }
}
