//! A snapshot and a path in it, as an argument. The path may be any bytes.

use crate::browse::Browse;
use crate::browse::Filter;
use crate::browse::SelectError;
use crate::browse::Selector;
use crate::browse::SnapshotPath;
use crate::browse::clean_path;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::human;
use crate::cli::out;
use crate::cli::snapshots::short;
use crate::format::record::Snapshot;
use crate::tree::Found;
use clap::builder::OsStringValueParser;
use clap::builder::TypedValueParser;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Clocks of machines differ by this much, seconds.
const AHEAD_SECS_MAX: i64 = 300;

/// For clap.
pub(super) fn parser() -> impl TypedValueParser<Value = SnapshotPath> {
    OsStringValueParser::new().try_map(parse)
}

/// The argument as it stands.
pub(super) fn parse(text: OsString) -> std::result::Result<SnapshotPath, SelectError> {
    let bytes = text.as_bytes();
    let (snapshot, path) = match bytes.iter().position(|&byte| byte == b':') {
        Some(colon) => (&bytes[..colon], &bytes[colon + 1..]),
        None => (bytes, &b""[..]),
    };
    let shown = || text.to_string_lossy().into_owned();
    let snapshot = String::from_utf8_lossy(snapshot).parse()?;
    let path = clean_path(path).map_err(|source| SelectError::Path { text: shown(), source })?;
    Ok(SnapshotPath { snapshot, path })
}

/// The snapshot that was meant, out of all of them (oldest first). A latest one from the future is told: some clock was
/// wrong, and until that time has come no new snapshot is the latest.
pub(super) fn choose<'a>(
    json: bool,
    selector: &Selector,
    all: &[&'a Snapshot],
    filter: &Filter,
) -> Result<&'a Snapshot> {
    let chosen = selector.choose(all, filter)?;
    let is_ahead = chosen.time.secs.saturating_sub(human::now().secs) > AHEAD_SECS_MAX;
    if is_ahead && matches!(selector, Selector::Latest(_)) {
        let (id, time, host) = (short(chosen.id), human::time(chosen.time), &chosen.host);
        let text = format!(
            "snapshot {id} of {host} is the latest, but its time is in the future ({time}): a clock was wrong. Others are \
             chosen by their ids until then; 'bygone forget {id}' takes this one away"
        );
        out::warning(json, text);
    }
    Ok(chosen)
}

/// The node at a path, or the error that says there is none.
pub(super) async fn node(browse: &Browse, path: &[u8]) -> Result<Found> {
    let found = browse.get(path).await?;
    let missing = || Fault::NoPath { path: path.to_vec(), snapshot: short(browse.snapshot().id) };
    Ok(found.ok_or_else(missing)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn paths_need_not_be_text() {
        let parsed = parse(OsString::from_vec(b"latest~1:/a\xff/b:c".to_vec())).unwrap();
        assert_eq!(parsed, SnapshotPath { snapshot: Selector::Latest(1), path: b"a\xff/b:c".to_vec() });
        assert!(parse("ab:/../x".into()).is_err());
        assert!(parse(OsString::from_vec(b"\xff".to_vec())).is_err());
    }
}
