//! Events with a length of their own, number 7 and above: a reader that does not know one skips it and loses nothing else,
//! and a writer that does not know one carries it along.
//!
//! What is known of them here: how a snapshot is called now, who made a password slot, which packs are damaged, and
//! several events in one record.

use crate::format::record::Event;
use crate::format::record::TEXT_BYTES_MAX;
use crate::format::record::read_event_of;
use crate::format::record::read_packs;
use crate::format::record::read_time;
use crate::format::record::write_event;
use crate::format::record::write_time;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::meta::Time;

const AMEND: u8 = 7;
const SEVERAL: u8 = 8;
const KEY: u8 = 9;
const DAMAGED: u8 = 10;
/// Longest such event, encoded.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// About as much of several events goes into one record.
const TOGETHER_BYTES: usize = 256 << 10;
/// Most packs that [`Event::Damaged`] may name.
pub const DAMAGED_MAX: usize = (EVENT_BYTES_MAX - 16) / 16;
/// Highest turn of an amendment.
const TURN_MAX: u64 = u32::MAX as u64;

/// How a snapshot is called now: takes the place of what its record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amend {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// One more than that of any amendment its writer knew of: the highest one is true, of equal ones that of the greater
    /// writer id. No clock is asked.
    pub turn: u64,
    /// All its tags, sorted.
    pub tags: Vec<String>,
    /// Its description.
    pub description: String,
}

/// Who made a password slot, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNote {
    /// Which slot.
    pub slot: ObjectId,
    /// When it was made, by the clock of who made it.
    pub time: Time,
    /// On which host.
    pub host: String,
    /// By which user.
    pub user: String,
    /// What it is, in the user's words.
    pub label: String,
}

impl Amend {
    /// The turn that follows this one.
    pub fn turn_after(turn: Option<u64>) -> u64 {
        turn.map_or(0, |turn| (turn + 1).min(TURN_MAX))
    }
}

impl Event {
    /// What this event says, one by one.
    pub fn parts(&self) -> &[Event] {
        if let Event::Several(events) = self { events } else { std::slice::from_ref(self) }
    }

    /// False if a text, a list or the whole is longer than any reader takes: then it must not be written.
    pub fn is_readable(&self) -> bool {
        let mut out = Vec::new();
        write_event(self, &mut out);
        let mut r = Reader::new(&out);
        r.u8("event").and_then(|kind| read_event_of(kind, &mut r)).is_ok()
    }

    /// As few events as will do, to say these in this order. They may be any but snapshots, marks and sweeps.
    pub fn together(events: Vec<Event>) -> Vec<Event> {
        let mut batches: Vec<Vec<Event>> = Vec::new();
        let mut bytes = TOGETHER_BYTES;
        for event in events {
            let mut encoded = Vec::new();
            write_event(&event, &mut encoded);
            bytes = bytes.saturating_add(encoded.len());
            if bytes > TOGETHER_BYTES {
                batches.push(Vec::new());
                bytes = encoded.len();
            }
            if let Some(batch) = batches.last_mut() {
                batch.push(event);
            }
        }
        let whole = |mut batch: Vec<Event>| match batch.pop() {
            Some(only) if batch.is_empty() => only,
            last => {
                batch.extend(last);
                Event::Several(batch)
            }
        };
        batches.into_iter().map(whole).collect()
    }
}

/// Appends an event of number 7 or above; nothing for others.
pub(super) fn write(event: &Event, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let kind = match event {
        Event::Amend(amend) => {
            body.extend_from_slice(&amend.snapshot.0);
            body.put_varint(amend.turn);
            body.put_varint(amend.tags.len() as u64);
            amend.tags.iter().for_each(|tag| body.put_bytes(tag.as_bytes()));
            body.put_bytes(amend.description.as_bytes());
            AMEND
        }
        Event::Several(events) => {
            body.put_varint(events.len() as u64);
            events.iter().for_each(|event| write_event(event, &mut body));
            SEVERAL
        }
        Event::Key(note) => {
            body.extend_from_slice(&note.slot.0);
            write_time(note.time, &mut body);
            [&note.host, &note.user, &note.label].into_iter().for_each(|text| body.put_bytes(text.as_bytes()));
            KEY
        }
        Event::Damaged(packs) => {
            body.put_varint(packs.len() as u64);
            packs.iter().for_each(|pack| body.extend_from_slice(&pack.0));
            DAMAGED
        }
        Event::Later { kind, body: known } => {
            body.extend_from_slice(known);
            *kind
        }
        _ => return,
    };
    out.push(kind);
    out.put_bytes(&body);
}

/// Reads what follows the number of an event.
pub(super) fn read(kind: u8, r: &mut Reader<'_>) -> Result<Event> {
    let body = r.bytes(EVENT_BYTES_MAX, "event")?;
    let mut r = Reader::new(body);
    let event = match kind {
        AMEND => Event::Amend(Box::new(Amend {
            snapshot: SnapshotId(r.array("snapshot id")?),
            turn: r.varint_max(TURN_MAX, "turn")?,
            tags: read_tags(&mut r)?,
            description: r.text(TEXT_BYTES_MAX, "description")?,
        })),
        SEVERAL => Event::Several(read_several(&mut r)?),
        KEY => Event::Key(Box::new(KeyNote {
            slot: ObjectId(r.array("slot id")?),
            time: read_time(&mut r)?,
            host: r.text(TEXT_BYTES_MAX, "host")?,
            user: r.text(TEXT_BYTES_MAX, "user")?,
            label: r.text(TEXT_BYTES_MAX, "label")?,
        })),
        DAMAGED => Event::Damaged(read_packs(&mut r)?),
        kind => return Ok(Event::Later { kind, body: body.to_vec() }),
    };
    r.end("event")?;
    Ok(event)
}

fn read_tags(r: &mut Reader<'_>) -> Result<Vec<String>> {
    let count = r.count(1, "tags")?;
    (0..count).map(|_| r.text(TEXT_BYTES_MAX, "tag")).collect()
}

/// Only events that stand for themselves, and never several again: nothing nests.
fn read_several(r: &mut Reader<'_>) -> Result<Vec<Event>> {
    let count = r.count(2, "events")?;
    let mut events = Vec::new();
    for _ in 0..count {
        let kind = r.u8("event")?;
        if matches!(kind, 0..=2 | 5 | 6 | SEVERAL) {
            return Err(FormatError::Unknown { what: "event among several", value: kind.into() });
        }
        events.push(read_event_of(kind, r)?);
    }
    Ok(events)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn encoded(event: &Event) -> Vec<u8> {
        let mut out = Vec::new();
        write_event(event, &mut out);
        out
    }

    fn decoded(bytes: &[u8]) -> Result<Event> {
        let mut r = Reader::new(bytes);
        let event = read_event_of(r.u8("event")?, &mut r)?;
        r.end("event")?;
        Ok(event)
    }

    fn amend(tags: &[&str], description: &str) -> Event {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        Event::Amend(Box::new(Amend {
            snapshot: SnapshotId([1; 16]),
            turn: 7,
            tags,
            description: description.to_owned(),
        }))
    }

    fn events() -> Vec<Event> {
        let note = KeyNote {
            slot: ObjectId([4; 16]),
            time: Time { secs: -5, nanos: 6 },
            host: "tower".into(),
            user: "ada".into(),
            label: "laptop".into(),
        };
        vec![
            amend(&["a", "ä"], "before the upgrade"),
            Event::Key(Box::new(note)),
            Event::Forget(SnapshotId([2; 16])),
            Event::Recall(SnapshotId([3; 16])),
            Event::Damaged(vec![ObjectId([5; 16]), ObjectId([6; 16])]),
            Event::Later { kind: 200, body: b"?".to_vec() },
        ]
    }

    #[test]
    fn each_round_trips_and_none_is_cut() {
        let mut all = events();
        all.push(Event::Several(events()));
        all.push(Event::Several(Vec::new()));
        for event in all {
            let bytes = encoded(&event);
            assert_eq!(decoded(&bytes).unwrap(), event);
            for len in 0..bytes.len() {
                assert!(decoded(&bytes[..len]).is_err(), "{event:?} cut to {len}");
            }
            assert!(decoded(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn what_is_too_long_is_known_before_it_is_written() {
        let long = "x".repeat(TEXT_BYTES_MAX);
        let of = |count: usize| amend(&vec![long.as_str(); count], &long);
        assert!(of(14).is_readable());
        assert!(!of(15).is_readable());
        assert!(!amend(&[], &"x".repeat(TEXT_BYTES_MAX + 1)).is_readable());
    }

    #[test]
    fn as_many_packs_can_be_damaged_as_fit() {
        let of = |count| Event::Damaged(vec![ObjectId([1; 16]); count]);
        assert!(of(DAMAGED_MAX).is_readable());
        assert!(!of(DAMAGED_MAX + 1).is_readable());
    }

    #[test]
    fn hostile_lengths_take_no_memory_and_nothing_nests() {
        let wrap = |kind: u8, body: &[u8]| {
            let mut out = vec![kind];
            out.put_bytes(body);
            out
        };
        let limit = |bytes: &[u8], what| {
            let error = decoded(bytes).unwrap_err();
            assert!(matches!(error, FormatError::Limit { what: found, .. } if found == what), "{error:?}");
        };
        // A length without the bytes, a list longer than its bytes, a body longer than any.
        let mut huge = vec![AMEND];
        huge.put_varint(u64::MAX);
        limit(&huge, "event");
        limit(&wrap(200, &vec![0; EVENT_BYTES_MAX + 1]), "event");
        let mut tags = [&[1; 16][..], &[0]].concat();
        tags.put_varint(1 << 40);
        limit(&wrap(AMEND, &tags), "tags");
        let mut turn = vec![1; 16];
        turn.put_varint(TURN_MAX + 1);
        limit(&wrap(AMEND, &turn), "turn");
        let mut several = Vec::new();
        several.put_varint(1 << 40);
        limit(&wrap(SEVERAL, &several), "events");
        for kind in [0, 1, 2, 5, 6, SEVERAL] {
            let error = decoded(&wrap(SEVERAL, &[1, kind, 0])).unwrap_err();
            assert_eq!(error, FormatError::Unknown { what: "event among several", value: kind.into() });
        }
        assert!(matches!(decoded(&[0]), Err(FormatError::Unknown { what: "event", value: 0 })));
        // Bytes left over within the length, too.
        let mut long = encoded(&amend(&[], ""));
        long[1] += 1;
        long.push(0);
        assert!(matches!(decoded(&long), Err(FormatError::Trailing { .. })));
    }

    #[test]
    fn many_events_are_few_records() {
        let forgets = |count: u32| -> Vec<Event> {
            let id = |n: u32| [[0; 12].as_slice(), &n.to_le_bytes()].concat().try_into().unwrap();
            (0..count).map(|n| Event::Forget(SnapshotId(id(n)))).collect()
        };
        assert!(Event::together(Vec::new()).is_empty());
        assert_eq!(Event::together(forgets(1)), forgets(1));
        assert_eq!(Event::together(forgets(1000)), [Event::Several(forgets(1000))]);
        let many = Event::together(forgets(50_000));
        assert_eq!(many.len(), 4);
        assert!(many.iter().all(|event| encoded(event).len() < EVENT_BYTES_MAX));
        let parts: Vec<Event> = many.iter().flat_map(Event::parts).cloned().collect();
        assert_eq!(parts, forgets(50_000));
        // One that is larger than the rest together goes alone.
        let large = || amend(&["x".repeat(TEXT_BYTES_MAX).as_str(); 5], "");
        let mixed = vec![large(), amend(&[], "1"), amend(&[], "2"), large()];
        let together = Event::together(mixed.clone());
        assert_eq!(together.len(), 3);
        assert_eq!(together.iter().flat_map(Event::parts).cloned().collect::<Vec<_>>(), mixed);
        // As much as goes into one record does, and not a byte more.
        let half = |more: usize| Event::Later { kind: 200, body: vec![0; TOGETHER_BYTES / 2 - 4 + more] };
        assert_eq!(encoded(&half(0)).len(), TOGETHER_BYTES / 2);
        assert_eq!(Event::together(vec![half(0), half(0)]).len(), 1);
        assert_eq!(Event::together(vec![half(0), half(1)]).len(), 2);
        assert_eq!([None, Some(0), Some(6)].map(Amend::turn_after), [0, 1, 7]);
        assert_eq!(Amend::turn_after(Some(TURN_MAX)), TURN_MAX);
    }
}
