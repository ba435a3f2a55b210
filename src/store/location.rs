//! Where a store is, as text that people type: a folder, a bucket or container with a prefix, or memory.
//!
//! A location never holds a secret: text with a user, a query or a fragment is refused, and the refusal does not
//! repeat it.

use crate::store::Error;
use crate::store::ErrorKind;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The kinds of object storage reached over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// Amazon S3 and everything that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

impl Cloud {
    /// The scheme in a location and the prefix of its settings: `s3`, `gs`, `az`.
    pub fn scheme(self) -> &'static str {
        match self {
            Cloud::S3 => "s3",
            Cloud::Gs => "gs",
            Cloud::Az => "az",
        }
    }
}

/// Where a store is. Parse it from text; Display gives text that parses to the same (for a folder whose path is UTF-8).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// A folder of this machine; relative paths are relative to the current folder when opened.
    Folder(PathBuf),
    /// Part of a bucket or container.
    Bucket {
        /// Whose protocol.
        cloud: Cloud,
        /// The bucket or container.
        bucket: String,
        /// Everything is kept below this, `/` between components; empty = at the top.
        prefix: String,
    },
    /// Memory of this process, by name: for tests.
    Memory(String),
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Location, Error> {
        if text.is_empty() || text.contains('\0') {
            return Err(bad(text, "the location is empty or not text"));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return Ok(Location::Folder(PathBuf::from(text)));
        };
        let cloud = match scheme.to_ascii_lowercase().as_str() {
            "file" => return folder_of_url(text),
            "memory" => return memory(text, rest),
            "s3" => Cloud::S3,
            "gs" => Cloud::Gs,
            "az" | "azure" => Cloud::Az,
            "http" | "https" => {
                let hint = "for an S3 server write s3://bucket/prefix and give its address as the setting s3.endpoint";
                return Err(bad(text, hint));
            }
            _ => {
                return Err(bad(
                    text,
                    "Bygone knows folders, file://, s3://, gs:// and az:// (for a folder of that name write ./ before it)",
                ));
            }
        };
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(bad(text, "write // after the scheme, as in s3://bucket/prefix"));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        if rest.contains(['@', '?', '#', '%', '\\']) || bucket.contains(':') {
            return Err(bad(text, "credentials and options are given as settings, not in the location"));
        }
        if bucket.is_empty() || bucket.contains(char::is_whitespace) {
            return Err(bad(text, "the bucket or container is missing"));
        }
        if prefix.starts_with('/') || object_store::path::Path::parse(prefix).is_err() {
            return Err(bad(text, "the prefix is not a path"));
        }
        Ok(Location::Bucket { cloud, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// `s3://b` and the like; two letters at least, so that `C:\x` stays a path, and before any slash.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.len() >= 2
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then_some((scheme, rest))
}

fn folder_of_url(text: &str) -> Result<Location, Error> {
    let hint = "a file:// location is file:///absolute/path";
    if !text[4..].starts_with(":///") {
        return Err(bad(text, hint));
    }
    let url = url::Url::parse(text).map_err(|_| bad(text, hint))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad(text, "write ? as %3F and # as %23 in a file:// location"));
    }
    let path = url.to_file_path().map_err(|()| bad(text, hint))?;
    Ok(Location::Folder(path))
}

fn memory(text: &str, rest: &str) -> Result<Location, Error> {
    match rest.strip_prefix("//") {
        Some(name) if !name.is_empty() => Ok(Location::Memory(name.to_owned())),
        _ => Err(bad(text, "memory is written memory://name")),
    }
}

/// The refusal. Repeats only as much of the text as cannot hold a secret.
fn bad(text: &str, hint: &'static str) -> Error {
    let shown = match text.split_once("://") {
        Some((scheme, rest)) => {
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            let rest = rest.rsplit_once('@').map_or(rest.to_owned(), |(_, host)| format!("***@{host}"));
            format!("{scheme}://{rest}")
        }
        None => text.to_owned(),
    };
    Error::new(ErrorKind::BadLocation, "open", "", format!("'{shown}'")).because(hint)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Folder(path) => write!(f, "{}", path.display()),
            Location::Bucket { cloud, bucket, prefix } if prefix.is_empty() => {
                write!(f, "{}://{bucket}", cloud.scheme())
            }
            Location::Bucket { cloud, bucket, prefix } => write!(f, "{}://{bucket}/{prefix}", cloud.scheme()),
            Location::Memory(name) => write!(f, "memory://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::store::Cloud;
    use crate::store::ErrorKind;
    use crate::store::Location;
    use std::path::PathBuf;

    fn bucket(cloud: Cloud, bucket: &str, prefix: &str) -> Location {
        Location::Bucket { cloud, bucket: bucket.into(), prefix: prefix.into() }
    }

    #[test]
    fn locations_are_understood() {
        let cases = [
            ("/srv/b", Location::Folder("/srv/b".into()), "/srv/b"),
            ("./b c", Location::Folder("./b c".into()), "./b c"),
            ("b", Location::Folder("b".into()), "b"),
            ("./s3:x", Location::Folder("./s3:x".into()), "./s3:x"),
            (r"C:\b", Location::Folder(PathBuf::from(r"C:\b")), r"C:\b"),
            ("file:///srv/a%20b", Location::Folder("/srv/a b".into()), "/srv/a b"),
            ("s3://b", bucket(Cloud::S3, "b", ""), "s3://b"),
            ("S3://b/p/q/", bucket(Cloud::S3, "b", "p/q"), "s3://b/p/q"),
            ("gs://b/p", bucket(Cloud::Gs, "b", "p"), "gs://b/p"),
            ("az://c/p", bucket(Cloud::Az, "c", "p"), "az://c/p"),
            ("azure://c", bucket(Cloud::Az, "c", ""), "az://c"),
            ("memory://m", Location::Memory("m".into()), "memory://m"),
        ];
        for (text, expected, shown) in cases {
            let location: Location = text.parse().unwrap();
            assert_eq!(location, expected, "{text}");
            assert_eq!(location.to_string(), shown);
            assert_eq!(shown.parse::<Location>().unwrap(), expected);
        }
    }

    #[test]
    fn nonsense_is_refused_and_no_secret_is_repeated() {
        let cases = [
            "",
            "s3:b",
            "s3://",
            "s3:///p",
            "s3://b/../c",
            "s3://b//c",
            "sftp:me@host:/x",
            "ftp://h/x",
            "file://h/x",
            "file:x",
            "memory://",
            "https://h/b",
            "s3://key:hunter2@b/p",
            "az://c/p?sig=hunter2",
            "gs://b#hunter2",
        ];
        for text in cases {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadLocation, "{text}");
            let told = format!("{error} {error:?} {}", crate::monitor::chain(&error));
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
