//! Which snapshot people mean: `latest`, `latest~2`, the first digits of an id, each with `:/path` behind it.

use crate::browse::clean_path;
use crate::format::record::Snapshot;
use crate::path;
use crate::path::NameError;
use std::str::FromStr;

/// A choice of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest one but this many.
    Latest(usize),
    /// The one whose id begins with these hexadecimal digits.
    Id(String),
}

/// A snapshot and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPath {
    /// Which snapshot.
    pub snapshot: Selector,
    /// Path in it; empty for the root.
    pub path: Vec<u8>,
}

/// Snapshots of interest. Empty lists mean all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Taken on one of these hosts.
    pub hosts: Vec<String>,
    /// Having all of these tags.
    pub tags: Vec<String>,
    /// Containing one of these paths among their sources.
    pub paths: Vec<Vec<u8>>,
}

/// No snapshot fits, or not exactly one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The text is not a snapshot.
    #[error("'{text}' is not a snapshot: use 'latest', 'latest~2' or the first digits of an id")]
    Syntax {
        /// The text.
        text: String,
    },
    /// The path behind the colon cannot be in a snapshot.
    #[error("'{text}' has a path that cannot be in a snapshot")]
    Path {
        /// The text.
        text: String,
        /// Why.
        #[source]
        source: NameError,
    },
    /// There are no snapshots (left after filtering).
    #[error("there is no snapshot{}", if *filtered { " that fits the filters" } else { " in the repository" })]
    None {
        /// True if there are snapshots but none passes the filters.
        filtered: bool,
    },
    /// Fewer snapshots than asked for.
    #[error("'latest~{back}' is before the first snapshot (there: {count})")]
    TooFar {
        /// How many fit.
        count: usize,
        /// How far back was asked.
        back: usize,
    },
    /// No id begins so.
    #[error("no snapshot has an id that begins with '{digits}'")]
    Unknown {
        /// What was typed.
        digits: String,
    },
    /// Several ids begin so.
    #[error("several snapshots have ids that begin with '{digits}': {}", candidates.join(", "))]
    Ambiguous {
        /// What was typed.
        digits: String,
        /// Their ids.
        candidates: Vec<String>,
    },
}

impl FromStr for SnapshotPath {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<SnapshotPath, SelectError> {
        let (snapshot, path) = text.split_once(':').unwrap_or((text, ""));
        let path = clean_path(path.as_bytes()).map_err(|source| SelectError::Path { text: text.to_owned(), source })?;
        Ok(SnapshotPath { snapshot: snapshot.parse()?, path })
    }
}

impl FromStr for Selector {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Selector, SelectError> {
        let fault = || SelectError::Syntax { text: text.to_owned() };
        if let Some(rest) = text.strip_prefix("latest") {
            return match rest.strip_prefix('~') {
                _ if rest.is_empty() => Ok(Selector::Latest(0)),
                Some(back) => back.parse().map(Selector::Latest).map_err(|_| fault()),
                None => Err(fault()),
            };
        }
        let is_id = !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_id { Ok(Selector::Id(text.to_ascii_lowercase())) } else { Err(fault()) }
    }
}

impl Filter {
    /// True if the snapshot is of interest.
    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        let host = self.hosts.is_empty() || self.hosts.contains(&snapshot.host);
        let tags = self.tags.iter().all(|tag| snapshot.tags.contains(tag));
        let within = |wanted: &Vec<u8>| snapshot.sources.iter().any(|source| path::is_below(wanted, source));
        host && tags && (self.paths.is_empty() || self.paths.iter().any(within))
    }
}

impl Selector {
    /// The snapshot meant, out of all of them (oldest first). An id need not pass the filter.
    pub fn choose<'a>(&self, snapshots: &[&'a Snapshot], filter: &Filter) -> Result<&'a Snapshot, SelectError> {
        match self {
            Selector::Latest(back) => {
                let fitting: Vec<_> = snapshots.iter().filter(|s| filter.admits(s)).collect();
                let count = fitting.len();
                if count == 0 {
                    return Err(SelectError::None { filtered: !snapshots.is_empty() });
                }
                let found = fitting.into_iter().rev().nth(*back).copied();
                found.ok_or(SelectError::TooFar { count, back: *back })
            }
            Selector::Id(digits) => {
                let fits = |s: &&&'a Snapshot| s.id.to_string().starts_with(digits.as_str());
                let fitting: Vec<&'a Snapshot> = snapshots.iter().filter(fits).copied().collect();
                match fitting[..] {
                    [] => Err(SelectError::Unknown { digits: digits.clone() }),
                    [only] => Ok(only),
                    _ => Err(SelectError::Ambiguous {
                        digits: digits.clone(),
                        candidates: fitting.iter().map(|s| s.id.to_string()).collect(),
                    }),
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        let parse = |text: &str| text.parse::<SnapshotPath>();
        assert_eq!(parse("latest").unwrap(), SnapshotPath { snapshot: Selector::Latest(0), path: vec![] });
        assert_eq!(parse("latest~2:/home//ada/").unwrap().path, b"home/ada");
        assert_eq!(parse("A1b2").unwrap().snapshot, Selector::Id("a1b2".into()));
        assert_eq!(parse("00ff:a:b").unwrap().path, b"a:b");
        for bad in ["", "newest", "latest~", "latest~x", "latestx", "xyz"] {
            assert!(matches!(parse(bad), Err(SelectError::Syntax { .. })), "{bad}");
        }
        assert!(matches!(parse("latest:/a/../b"), Err(SelectError::Path { .. })));
    }
}
