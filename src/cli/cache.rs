//! `bygone cache`: what the cache of this user holds, how large it may be, and making it empty.

use crate::cache;
use crate::cache::Cache;
use crate::cache::PinInfo;
use crate::cache::Status;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::out;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  bygone cache status
  bygone cache limit 50G
  bygone cache clear";

/// See, bound or empty the cache
///
/// Drives and restores keep encrypted pieces of what they read, so that it need not be fetched again. One cache serves
/// all repositories of a user. It never takes more than its limit, nor the last twentieth of the disk, and can be
/// deleted at any time, even while drives are open.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CacheCommand {
    /// Show what the cache holds
    #[command(after_help = "Examples:\n  bygone cache status\n  bygone cache status --json")]
    Status,
    /// Empty the cache; what was pinned stays
    #[command(after_help = "Examples:\n  bygone cache clear\n  bygone cache clear --pinned")]
    Clear {
        /// Drop what was pinned as well
        #[arg(long)]
        pinned: bool,
    },
    /// Show or change how large the cache may be
    #[command(after_help = "Examples:\n  bygone cache limit\n  bygone cache limit 50G\n  bygone cache limit auto")]
    Limit {
        /// The new limit, at least 16M, or 'auto': 10G or a tenth of the free disk. A lower one takes effect at once
        #[arg(value_parser = parse_limit)]
        size: Option<Limit>,
    },
}

/// How large the cache may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// What a new cache would get.
    Usual,
    Bytes(u64),
}

fn parse_limit(text: &str) -> std::result::Result<Limit, String> {
    match text {
        "auto" => Ok(Limit::Usual),
        _ => human::parse_size(text).map(Limit::Bytes),
    }
}

impl CacheArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let folder = folder(global)?;
        match self.command {
            CacheCommand::Status => status(global, &folder)?,
            CacheCommand::Clear { pinned } => clear(global, &folder, pinned)?,
            CacheCommand::Limit { size } => limit(global, &folder, size)?,
        }
        Ok(Exit::Done)
    }
}

fn folder(global: &Global) -> Result<PathBuf> {
    if global.no_cache || global.cache_size.is_some() {
        return Err(usage("--no-cache and --cache-size have no meaning here"));
    }
    global.cache_folder().ok_or_else(|| usage("no folder for the cache: HOME is not set").hint("name one: --cache-dir"))
}

fn open(folder: &Path) -> Result<Arc<Cache>> {
    Ok(Cache::open(folder, &cache::Options::default())?)
}

/// Looking must not make a cache where there is none.
fn open_existing(folder: &Path) -> Result<Option<Arc<Cache>>> {
    if folder.exists() { open(folder).map(Some) } else { Ok(None) }
}

fn status(global: &Global, folder: &Path) -> Result<()> {
    let Some(cache) = open_existing(folder)? else {
        if global.json {
            out::line(json::line("cache", &document(folder, None, &[])))?;
        } else {
            out::line(format_args!("There is no cache yet in {}.", folder.display()))?;
        }
        return Ok(());
    };
    let (status, pins) = (cache.status()?, cache.pins()?);
    if global.json {
        out::line(json::line("cache", &document(folder, Some(&status), &pins)))?;
        return Ok(());
    }
    let rows = [
        ("Folder", status.folder.display().to_string()),
        ("On disk", format!("{} of at most {}", human::size(status.disk_bytes), human::size(most(&status)))),
        ("Contents", human::size(status.data_bytes)),
        ("Folders", human::size(status.metadata_bytes)),
        ("Records", format!("{} in {}", human::size(status.object_bytes), human::count(status.objects))),
        ("Pinned", human::size(status.pinned_bytes)),
        ("Disk free", human::size(status.disk_free_bytes)),
    ];
    for (name, value) in rows {
        out::line(format_args!("{name:<10}{value}"))?;
    }
    for pin in pins {
        let size = human::size(pin.bytes);
        let rest = if pin.is_whole { "" } else { ", incomplete: the same 'bygone pin' again brings the rest" };
        out::line(format_args!("  pin '{}': {size}{rest}", crate::path::Show(pin.label.as_bytes())))?;
    }
    Ok(())
}

/// What the folder may take: pins count apart.
fn most(status: &Status) -> u64 {
    status.limit.saturating_add(status.pinned_bytes)
}

fn document(folder: &Path, status: Option<&Status>, pins: &[PinInfo]) -> Value {
    let mut map = Map::new();
    json::put_bytes(&mut map, "folder", folder.as_os_str().as_bytes());
    map.insert("exists".to_owned(), status.is_some().into());
    if let Some(status) = status {
        for (name, number) in [
            ("limit", status.limit),
            ("disk_bytes", status.disk_bytes),
            ("data_bytes", status.data_bytes),
            ("metadata_bytes", status.metadata_bytes),
            ("object_bytes", status.object_bytes),
            ("pinned_bytes", status.pinned_bytes),
            ("spare_bytes", status.spare_bytes),
            ("runs", status.runs),
            ("objects", status.objects),
            ("disk_free_bytes", status.disk_free_bytes),
        ] {
            map.insert(name.to_owned(), number.into());
        }
    }
    let pin = |pin: &PinInfo| json!({ "label": pin.label, "bytes": pin.bytes, "complete": pin.is_whole });
    map.insert("pins".to_owned(), pins.iter().map(pin).collect());
    Value::Object(map)
}

fn clear(global: &Global, folder: &Path, pinned: bool) -> Result<()> {
    let freed = match open_existing(folder)? {
        Some(cache) => {
            let before = cache.status()?.disk_bytes;
            cache.clear(pinned)?;
            before.saturating_sub(cache.status()?.disk_bytes)
        }
        None => 0,
    };
    if global.json {
        out::line(json::line("cache_cleared", &json!({ "bytes_freed": freed })))?;
    } else if !global.quiet {
        out::line(format_args!("{} freed.", human::size(freed)))?;
    }
    Ok(())
}

fn limit(global: &Global, folder: &Path, size: Option<Limit>) -> Result<()> {
    let cache = open(folder)?;
    match size {
        Some(Limit::Bytes(bytes)) => cache.set_limit(bytes)?,
        Some(Limit::Usual) => cache.set_limit(cache.usual_limit()?)?,
        None => {}
    }
    let limit = cache.limit()?;
    if global.json {
        out::line(json::line("cache_limit", &json!({ "limit": limit })))?;
    } else {
        out::line(human::size(limit))?;
    }
    Ok(())
}
