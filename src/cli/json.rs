//! What programs read: one JSON document per line, each with `version` and `type` first.
//!
//! Within a version fields may be added, never removed or changed in meaning. Paths need not be text: `path` shows
//! them as well as text can, and `path_hex` is there when that is not exact.

use crate::format::record::Snapshot;
use crate::meta::Time;
use crate::store::Moved;
use crate::store::Totals;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Version of all documents.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    body: &'a Value,
}

/// One document on one line, without the line break.
pub(super) fn line(kind: &str, body: &Value) -> String {
    let document = Document { version: VERSION, kind, body };
    serde_json::to_string(&document).expect("a JSON object with text keys can be written")
}

/// Adds bytes as text under `key`, and under `key_hex` if the text does not say it all.
pub(super) fn put_bytes(map: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    map.insert(key.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        map.insert(format!("{key}_hex"), hex(bytes).into());
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time as RFC 3339 in UTC; null if it lies outside of what that can say.
pub(super) fn time(time: Time) -> Value {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    jiff::Timestamp::new(time.secs, nanos).map_or(Value::Null, |timestamp| timestamp.to_string().into())
}

/// A snapshot path as people write it.
pub(super) fn rooted(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

/// Everything known about a snapshot.
pub(super) fn snapshot(snapshot: &Snapshot) -> Value {
    let sources: Vec<String> =
        snapshot.sources.iter().map(|path| String::from_utf8_lossy(&rooted(path)).into_owned()).collect();
    let figures = &snapshot.figures;
    json!({
        "id": snapshot.id.to_string(),
        "time": time(snapshot.time),
        "host": snapshot.host,
        "user": snapshot.user,
        "sources": sources,
        "tags": snapshot.tags,
        "description": snapshot.description,
        "program": snapshot.program,
        "parent": snapshot.parent.map(|id| id.to_string()),
        "nodes": snapshot.nodes,
        "bytes": snapshot.bytes,
        "nodes_changed": figures.nodes_changed,
        "bytes_read": figures.bytes_read,
        "bytes_new": figures.bytes_new,
        "bytes_stored": figures.bytes_stored,
        "problems": figures.problems,
        "millis": figures.millis,
    })
}

/// What was asked of the store, and what moved because of it.
pub(super) fn totals(totals: &Totals, moved: &Moved) -> Value {
    json!({
        "requests": totals.requests,
        "gets": totals.gets,
        "puts": totals.puts,
        "lists": totals.lists,
        "deletes": totals.deletes,
        "heads": totals.heads,
        "locks": totals.locks,
        "bytes_read": totals.bytes_read,
        "bytes_written": totals.bytes_written,
        "http_requests": moved.requests,
        "retries": moved.retries,
        "throttled": moved.throttled,
        "bytes_up": moved.bytes_up,
        "bytes_down": moved.bytes_down,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn version_and_type_come_first() {
        assert_eq!(line("x", &json!({ "a": 1 })), r#"{"version":1,"type":"x","a":1}"#);
    }

    #[test]
    fn names_that_are_not_text_lose_nothing() {
        let mut map = Map::new();
        put_bytes(&mut map, "path", b"a\xff");
        put_bytes(&mut map, "name", "ä".as_bytes());
        assert_eq!(Value::Object(map), json!({ "path": "a\u{fffd}", "path_hex": "61ff", "name": "ä" }));
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(time(Time { secs: 0, nanos: 5 }), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(time(Time { secs: -1, nanos: 500_000_000 }), "1969-12-31T23:59:59.5Z");
        assert_eq!(time(Time { secs: i64::MAX, nanos: 0 }), Value::Null);
    }
}
