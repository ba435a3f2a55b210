//! How to open a store: limits, and settings for the kinds of storage. Debug shows no secret.

use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::ObjectLock;
use crate::store::Traffic;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// How to open a store. `Default` is right for a backup.
#[derive(Clone)]
pub struct StoreOptions {
    /// Make the folder if it is missing (for `init`). Buckets and containers are never made.
    pub create: bool,
    /// The records that are written say what is not needed: on a full disk, what is held back in a folder is theirs.
    pub frees_space: bool,
    /// How long a cloud that answered before is asked again before we give up. 0 = ask once.
    pub retry_secs_max: u64,
    /// Requests under way at once.
    pub requests_max: usize,
    /// A cloud that says nothing for so long is taken to be gone.
    pub stall_secs_max: u64,
    /// How long making a connection may take.
    pub connect_secs_max: u64,
    /// Most bytes sent or written in a second, over all requests; 0 = no limit.
    pub limit_upload: u64,
    /// Most bytes received or read in a second, over all requests; 0 = no limit.
    pub limit_download: u64,
    /// Where what moves is counted and limited: shared by all stores that are opened with a clone of these options.
    pub traffic: Arc<Traffic>,
    /// A file with further certificates to trust (PEM), besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The class of storage for the contents of files, as the cloud calls it (`STANDARD_IA`, `NEARLINE`, `Cool`). All that
    /// is needed to open a drive and look around stays in the class of the bucket.
    pub storage_class: Option<String>,
    /// Locks all that is stored against removal (S3 only).
    pub object_lock: Option<ObjectLock>,
    /// Whether `AWS_*`, `GOOGLE_*`, `AZURE_*` and `*_PROXY` variables and the profiles of the AWS tools count. Tests say no.
    pub use_environment: bool,
    /// Settings of the kinds of storage, `s3.region` = `eu-west-1`; they win over the environment.
    pub settings: BTreeMap<String, String>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            create: false,
            frees_space: false,
            retry_secs_max: 300,
            requests_max: 16,
            stall_secs_max: 60,
            connect_secs_max: 10,
            limit_upload: 0,
            limit_download: 0,
            traffic: Traffic::new(),
            ca_file: None,
            storage_class: None,
            object_lock: None,
            use_environment: true,
            settings: BTreeMap::new(),
        }
    }
}

impl StoreOptions {
    /// Takes one `key=value` as given by `-o`: a limit of this struct by its name, or a setting of a cloud by its
    /// name after `s3.`, `gs.` or `az.`. Whether a cloud knows the setting is told when the store is opened.
    pub fn set(&mut self, text: &str) -> Result<(), Error> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (key, value) = (key.trim(), value.trim());
        match key {
            "retry_secs_max" => self.retry_secs_max = number(key, value, 0)?,
            "stall_secs_max" => self.stall_secs_max = number(key, value, 1)?,
            "connect_secs_max" => self.connect_secs_max = number(key, value, 1)?,
            "limit_upload" => self.limit_upload = rate(key, value)?,
            "limit_download" => self.limit_download = rate(key, value)?,
            "ca_file" if !value.is_empty() => self.ca_file = Some(value.into()),
            "storage_class" if !value.is_empty() => self.storage_class = Some(value.to_owned()),
            "object_lock" => self.object_lock = Some(ObjectLock::parse(value)?),
            "requests_max" => self.requests_max = usize::try_from(number(key, value, 1)?).unwrap_or(usize::MAX),
            _ if ["s3.", "gs.", "az."].iter().any(|kind| key.starts_with(kind)) && !value.is_empty() => {
                self.settings.insert(key.to_ascii_lowercase(), value.to_owned());
            }
            _ => {
                let hint = "write a limit (retry_secs_max, requests_max, stall_secs_max, connect_secs_max, \
                            limit_upload, limit_download), ca_file, storage_class, object_lock, or a setting like s3.region, then = and its value";
                return Err(bad_option(key, hint));
            }
        }
        Ok(())
    }
}

fn number(key: &str, value: &str, least: u64) -> Result<u64, Error> {
    let most = 86_400;
    let number = value.parse().ok().filter(|n| (least..=most).contains(n));
    number.ok_or_else(|| bad_option(key, format!("its value is a number from {least} to {most}")))
}

/// Reads bytes per second: `500000`, `500K`, `2M`, `1.5MiB`, also with `/s`. K and KiB are 1024, kB is 1000; 0 = no limit.
pub fn parse_rate(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_suffix("/s").unwrap_or(text).to_ascii_lowercase();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (power, base) = match &text[number.len()..] {
        "" | "b" => (0, 1),
        unit => {
            let power = "kmgt".find(unit.get(..1)?)? as u32 + 1;
            match unit.get(1..)? {
                "" | "ib" => (power, 1024),
                "b" => (power, 1000),
                _ => return None,
            }
        }
    };
    let number = number.trim_end();
    let is_decimal = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = number.parse::<f64>().ok().filter(|_| is_decimal)? * f64::from(base).powi(power.cast_signed());
    (value < 1e18).then(|| value.round() as u64)
}

fn rate(key: &str, value: &str) -> Result<u64, Error> {
    parse_rate(value).ok_or_else(|| bad_option(key, "its value is a number of bytes per second, like 500K or 2M"))
}

/// The refusal of one option. Names the key only: the value may be a secret.
pub(crate) fn bad_option(key: &str, hint: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::BadLocation, "open", "", format!("with option '{key}'")).because(hint)
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("create", &self.create)
            .field("retry_secs_max", &self.retry_secs_max)
            .field("requests_max", &self.requests_max)
            .field("stall_secs_max", &self.stall_secs_max)
            .field("connect_secs_max", &self.connect_secs_max)
            .field("limit_upload", &self.limit_upload)
            .field("limit_download", &self.limit_download)
            .field("ca_file", &self.ca_file)
            .field("storage_class", &self.storage_class)
            .field("object_lock", &self.object_lock)
            .field("use_environment", &self.use_environment)
            .field("settings", &self.settings.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::store::StoreOptions;

    #[test]
    fn options_are_set_by_text() {
        let mut options = StoreOptions::default();
        for text in ["retry_secs_max=7", "requests_max = 3", "s3.secret_access_key=hunter2=="] {
            options.set(text).unwrap();
        }
        options.set("limit_upload=1.5M").unwrap();
        options.set("limit_download=500kB/s").unwrap();
        assert_eq!((options.limit_upload, options.limit_download), (3 << 19, 500_000));
        assert_eq!((options.retry_secs_max, options.requests_max), (7, 3));
        assert_eq!(options.settings["s3.secret_access_key"], "hunter2==");
        assert!(!format!("{options:?}").contains("hunter2"));
        for bad in [
            "",
            "x=1",
            "retry_secs_max",
            "retry_secs_max=-1",
            "requests_max=0",
            "limit_upload=",
            "limit_upload=fast",
            "limit_download=-1",
            "ca_file=",
            "storage_class=",
            "object_lock=30d",
            "s3.region",
            "s4.key=hunter2",
        ] {
            let error = options.set(bad).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
