//! A volume group: what its metadata says of physical and logical volumes.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::volume::lvm::SECTOR_BYTES;
use crate::disk::volume::lvm::text::Section;
use crate::disk::volume::lvm::text::Value;
use crate::disk::volume::lvm::text::fault;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// A volume group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) uuid: String,
    /// Grows with every change.
    pub(super) sequence: u64,
    /// The UUID of each physical volume, without dashes, and its first byte that belongs to an extent.
    pub(super) physical: BTreeMap<String, (String, u64)>,
    pub(super) volumes: Vec<Volume>,
}

/// A logical volume that people see.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) uuid: String,
    /// Bytes, as far as they can be told.
    pub(super) len: u64,
    /// In order, without gaps; or why it cannot be opened.
    pub(super) segments: Result<Vec<Segment>>,
}

/// Part of a logical volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First byte in the volume, and number of bytes.
    pub(super) start: u64,
    pub(super) len: u64,
    /// Bytes that lie together before the next stripe comes; all of them if there is only one.
    pub(super) stripe_bytes: u64,
    /// For each stripe the physical volume, and how many bytes behind its first extent the stripe begins.
    pub(super) stripes: Vec<(String, u64)>,
}

/// The group in a text of metadata.
pub(super) fn parse(text: &[u8]) -> Result<Group> {
    let whole = Section::parse(text)?;
    let mut groups = whole.sections();
    let (Some((name, group)), None) = (groups.next(), groups.next()) else {
        return Err(fault("there is not one volume group"));
    };
    if group.get("format").is_some_and(|format| *format != Value::Text("lvm2")) {
        return Err(Error::unsupported("LVM metadata of another format than lvm2"));
    }
    let extent_bytes = group.number("extent_size")?.checked_mul(SECTOR_BYTES).filter(|bytes| *bytes > 0);
    let extent_bytes = extent_bytes.ok_or_else(|| fault("no such size of an extent"))?;
    let mut physical = BTreeMap::new();
    for (name, pv) in group.sections_of("physical_volumes") {
        let start = pv.number("pe_start")?.checked_mul(SECTOR_BYTES).ok_or_else(|| fault("a number is too large"))?;
        // One that was missing when the metadata changed may be out of date, so it stays so: no disk has an empty UUID.
        let uuid = if has(pv, "flags", "MISSING") { String::new() } else { pv.text("id")?.replace('-', "") };
        physical.insert(name.to_owned(), (uuid, start));
    }
    let volumes = group.sections_of("logical_volumes");
    let hindered = hindered(&volumes);
    // A snapshot is known by the name of its store, which need not be visible; the hidden volume that joins the store
    // to the origin may well be.
    let is_seen = |name: &str, lv: &Section<'_>| {
        let is_joint = lv.sections().any(|(_, segment)| is_snapshot(segment));
        hindered.snapshots.contains(name) || (has(lv, "status", "VISIBLE") && !is_joint)
    };
    let volumes = volumes.into_iter().filter(|(name, lv)| is_seen(name, lv));
    let volumes = volumes.map(|(name, lv)| volume(name, lv, extent_bytes, &hindered)).collect::<Result<_>>()?;
    Ok(Group {
        name: name.to_owned(),
        uuid: group.text("id")?.to_owned(),
        sequence: group.number("seqno")?,
        physical,
        volumes,
    })
}

fn has(section: &Section<'_>, list: &str, word: &str) -> bool {
    section.list(list).contains(&Value::Text(word))
}

fn is_snapshot(segment: &Section<'_>) -> bool {
    segment.get("type") == Some(&Value::Text("snapshot"))
}

/// Volumes whose own extents do not hold what people see in them, and why.
struct Hindered<'a> {
    snapshots: BTreeSet<&'a str>,
    merging: BTreeSet<&'a str>,
}

/// A snapshot is a volume of its own that does not say what it is; a hidden one says it.
fn hindered<'a>(volumes: &[(&'a str, &Section<'a>)]) -> Hindered<'a> {
    let mut found = Hindered { snapshots: BTreeSet::new(), merging: BTreeSet::new() };
    let segments = volumes.iter().flat_map(|(_, lv)| lv.sections());
    for (_, segment) in segments.filter(|(_, segment)| is_snapshot(segment)) {
        found.snapshots.extend(segment.text("cow_store"));
        if segment.get("merging_store").is_some() {
            found.snapshots.extend(segment.text("merging_store"));
            found.merging.extend(segment.text("origin"));
        }
    }
    found
}

fn volume(name: &str, lv: &Section<'_>, extent_bytes: u64, hindered: &Hindered<'_>) -> Result<Volume> {
    let segments: Vec<_> = lv.sections().filter(|(name, _)| name.starts_with("segment")).collect();
    let mut extents = 0u64;
    for (_, segment) in &segments {
        extents = extents.checked_add(segment.number("extent_count")?).ok_or_else(|| fault("a number is too large"))?;
    }
    let len = extents.checked_mul(extent_bytes).ok_or_else(|| fault("a number is too large"))?;
    let segments = if hindered.snapshots.contains(name) {
        Err(Error::unsupported("LVM snapshot"))
    } else if hindered.merging.contains(name) {
        Err(Error::unsupported("LVM volume into which a snapshot is being merged"))
    } else {
        segments.into_iter().map(|(_, segment)| self::segment(segment, extent_bytes)).collect::<Result<Vec<_>>>()
    };
    let segments = segments.and_then(|found| in_order(found, lv));
    Ok(Volume { name: name.to_owned(), uuid: lv.text("id")?.to_owned(), len, segments })
}

fn in_order(mut segments: Vec<Segment>, lv: &Section<'_>) -> Result<Vec<Segment>> {
    segments.sort_by_key(|segment| segment.start);
    let mut at = 0u64;
    for segment in &segments {
        if segment.start != at {
            return Err(fault("the segments of a volume do not fit together"));
        }
        at = at.checked_add(segment.len).ok_or_else(|| fault("a number is too large"))?;
    }
    if lv.number("segment_count")? != segments.len() as u64 {
        return Err(fault("segments of a volume are missing"));
    }
    Ok(segments)
}

fn segment(segment: &Section<'_>, extent_bytes: u64) -> Result<Segment> {
    let kind = segment.text("type")?;
    if kind != "striped" && kind != "linear" {
        return Err(Error::unsupported(format!("LVM volume of type {kind:.40}")));
    }
    let bytes = |extents: u64| extents.checked_mul(extent_bytes).ok_or_else(|| fault("a number is too large"));
    let (start, len) = (bytes(segment.number("start_extent")?)?, bytes(segment.number("extent_count")?)?);
    let count = segment.number("stripe_count")?;
    let (pairs, rest) = segment.list("stripes").as_chunks();
    if count == 0 || pairs.len() as u64 != count || !rest.is_empty() || len == 0 {
        return Err(fault("the stripes of a segment are not as many as they should be"));
    }
    let mut stripes = Vec::new();
    for pair in pairs {
        let [Value::Text(name), Value::Number(extent)] = pair else {
            return Err(fault("a stripe is not as it should be"));
        };
        stripes.push(((*name).to_owned(), bytes(*extent)?));
    }
    let mut stripe_bytes = len;
    if count > 1 {
        let sectors = segment.number("stripe_size")?;
        stripe_bytes = sectors.checked_mul(SECTOR_BYTES).ok_or_else(|| fault("a number is too large"))?;
        let row = stripe_bytes.checked_mul(count).filter(|row| *row > 0 && len % row == 0);
        row.ok_or_else(|| fault("the stripes of a segment do not fill it"))?;
    }
    Ok(Segment { start, len, stripe_bytes, stripes })
}
