//! The rules of LVM2, on disks made in memory.
#![allow(clippy::unwrap_used)]

use super::group;
use super::is_lvm;
use super::label::checksum;
use super::text::Section;
use super::text::Value;
use super::volumes;
use crate::disk::BlockSource;
use crate::disk::Run;
use crate::disk::fs::Source;
use crate::disk::read_runs;
use std::sync::Arc;

const AREA: usize = 4096;
const AREA_BYTES: usize = 64 << 10;
const FIRST_EXTENT: usize = 128 << 10;
const EXTENT: usize = 8 << 10;
const EXTENTS: usize = 16;

/// Disk `n` with its label and, if there is one, its text, which begins `before_end` bytes before the ring ends.
fn disk(n: u8, text: Option<&str>, before_end: usize) -> Vec<u8> {
    let mut disk = vec![0; FIRST_EXTENT];
    for extent in 0..EXTENTS {
        disk.extend(vec![n << 5 | extent as u8; EXTENT]);
    }
    let mut label = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| label[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"LABELONE\x01");
    put(20, &[32]);
    put(24, b"LVM2 001");
    put(32, uuid(n).replace('-', "").as_bytes());
    put(72, &(FIRST_EXTENT as u64).to_le_bytes());
    if text.is_some() {
        put(104, &(AREA as u64).to_le_bytes());
        put(112, &(AREA_BYTES as u64).to_le_bytes());
    }
    let sum = checksum(&label[20..]).to_le_bytes();
    label[16..20].copy_from_slice(&sum);
    disk[512..1024].copy_from_slice(&label);
    let Some(text) = text else { return disk };
    let offset = if before_end == 0 { 512 } else { AREA_BYTES - before_end };
    for (n, byte) in text.bytes().enumerate() {
        let at = offset + n;
        disk[AREA + if at < AREA_BYTES { at } else { at - AREA_BYTES + 512 }] = byte;
    }
    let mut header = vec![0; 512];
    header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    header[20] = 1;
    for (at, number) in [(24, AREA), (32, AREA_BYTES), (40, offset), (48, text.len())] {
        header[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    header[56..60].copy_from_slice(&checksum(text.as_bytes()).to_le_bytes());
    let sum = checksum(&header[4..]).to_le_bytes();
    header[..4].copy_from_slice(&sum);
    disk[AREA..AREA + 512].copy_from_slice(&header);
    disk
}

fn uuid(n: u8) -> String {
    format!("00000{n}-0000-0000-0000-0000-0000-pvpvpv")
}

fn segment(n: usize, start: usize, count: usize, rest: &str) -> String {
    format!("segment{n} {{\nstart_extent = {start}\nextent_count = {count}\n{rest}\n}}\n")
}

fn linear(pv: u8, extent: usize) -> String {
    format!("type = \"striped\"\nstripe_count = 1\nstripes = [\n\"pv{pv}\", {extent}\n]")
}

fn volume(name: &str, segments: &[String]) -> String {
    let count = segments.len();
    format!(
        "{name} {{\nid = \"id-{name}\"\nstatus = [\"READ\", \"VISIBLE\"]\nsegment_count = {count}\n{}}}\n",
        segments.concat()
    )
}

fn text(sequence: u32, volumes: &str) -> String {
    let pv = |n: u8| format!("pv{n} {{\nid = \"{}\"\npe_start = {}\n}}\n", uuid(n), FIRST_EXTENT / 512);
    format!(
        "# Made by a test\nvg {{\nid = \"vgid\"\nseqno = {sequence}\nformat = \"lvm2\" # informational\nextent_size = {}\n\
         physical_volumes {{\n{}{}{}}}\nlogical_volumes {{\n{volumes}}}\n}}\nversion = 1\ndescription = \"a \\\"b\\\" {{\"\n\0",
        EXTENT / 512,
        pv(0),
        pv(1),
        pv(2)
    )
}

fn bytes(source: &Source) -> Vec<u8> {
    let mut bytes = vec![0; source.len() as usize];
    source.read_at(0, &mut bytes).unwrap();
    bytes
}

fn sources(disks: Vec<Vec<u8>>) -> Vec<Source> {
    disks.into_iter().map(|disk| Arc::new(disk) as Source).collect()
}

#[test]
fn volumes_on_one_disk_and_on_several() {
    let striped = "type = \"striped\"\nstripe_count = 2\nstripe_size = 8\nstripes = [\"pv0\", 4, \"pv1\", 9]";
    let all = [
        volume("near", &[segment(1, 0, 2, &linear(1, 3)), segment(2, 2, 1, &linear(1, 0))]),
        volume("far", &[segment(1, 0, 1, &linear(1, 15)), segment(2, 1, 1, &linear(0, 7))]),
        volume("striped", &[segment(1, 0, 2, striped)]),
        volume("away", &[segment(1, 0, 1, &linear(2, 0))]),
    ];
    let text = text(7, &all.concat());
    // One has no text, and that of the other goes round the end of its ring.
    let pvs = sources(vec![disk(1, None, 0), disk(0, Some(&text), 100)]);
    assert!(is_lvm(&pvs[0]).unwrap());
    let found = volumes(&pvs).unwrap();
    let names: Vec<_> = found.iter().map(|lv| (lv.name.as_str(), lv.len as usize / EXTENT, lv.below)).collect();
    assert_eq!(names, [("vg/away", 1, None), ("vg/far", 2, None), ("vg/near", 3, Some(0)), ("vg/striped", 2, None)]);
    let away = found[0].content.as_ref().err().unwrap().to_string();
    assert_eq!(away, "LVM volume with a missing disk is not supported");
    let extents =
        |parts: &[(u8, usize)]| -> Vec<u8> { parts.iter().flat_map(|(byte, len)| vec![*byte; *len]).collect() };
    let wanted = [
        extents(&[(1 << 5 | 15, EXTENT), (7, EXTENT)]),
        extents(&[(1 << 5 | 3, EXTENT), (1 << 5 | 4, EXTENT), (1 << 5, EXTENT)]),
        extents(&[(4, 4096), (1 << 5 | 9, 4096), (4, 4096), (1 << 5 | 9, 4096)]),
    ];
    for (lv, wanted) in found[1..].iter().zip(wanted) {
        let source = lv.content.as_ref().unwrap();
        assert_eq!(bytes(source), wanted, "{}", lv.name);
        let mut runs = Vec::new();
        source.map(1..source.len() - 1, &mut runs).unwrap();
        assert_eq!(read_runs(&pvs[lv.below.unwrap_or(0)], &runs).unwrap(), wanted[1..wanted.len() - 1]);
        assert_eq!(lv.below.is_none(), matches!(runs[0], Run::Bytes(_)));
        assert!(source.read_at(source.len(), &mut [0]).is_err());
        assert!(source.map(0..source.len() + 1, &mut Vec::new()).is_err());
    }
}

#[test]
fn the_newest_text_counts_and_a_damaged_one_is_no_loss() {
    let old = text(1, &volume("old", &[segment(1, 0, 1, &linear(0, 0))]));
    let new = text(2, &volume("new", &[segment(1, 0, 1, &linear(0, 0))]));
    let name = |disks: Vec<Vec<u8>>| volumes(&sources(disks)).map(|found| found[0].name.clone());
    assert_eq!(name(vec![disk(0, Some(&new), 0), disk(1, Some(&old), 0)]).unwrap(), "vg/new");
    assert_eq!(name(vec![disk(0, Some(&old), 0), disk(1, Some(&new), 0)]).unwrap(), "vg/new");
    let mut damaged = disk(0, Some(&new), 0);
    damaged[AREA + 600] ^= 1;
    assert_eq!(name(vec![damaged.clone(), disk(1, Some(&old), 0)]).unwrap(), "vg/old");
    assert!(name(vec![damaged]).unwrap_err().to_string().contains("checksum"));
}

#[test]
fn a_snapshot_is_not_shown_as_what_it_looks_like() {
    let joint = "type = \"snapshot\"\nchunk_size = 8\norigin = \"base\"\ncow_store = \"snap\"";
    let mut all = volume("base", &[segment(1, 0, 1, &linear(0, 0))]);
    all += &volume("snap", &[segment(1, 0, 1, &linear(0, 1))]);
    all += &volume("snapshot0", &[segment(1, 0, 1, joint)]);
    let shown = |all: &str| -> Vec<(String, Option<String>)> {
        let group = group::parse(text(1, all).as_bytes()).unwrap();
        let shown = group.volumes.into_iter();
        shown.map(|lv| (lv.name, lv.segments.err().map(|error| error.to_string()))).collect()
    };
    let reason = Some("LVM snapshot is not supported".to_owned());
    assert_eq!(shown(&all), [("base".to_owned(), None), ("snap".to_owned(), reason.clone())]);
    let merging = all.replace("cow_store", "merging_store");
    let told = shown(&merging);
    assert!(told[0].1.as_ref().unwrap().contains("being merged"));
    assert_eq!(told[1].1, reason);
}

#[test]
fn a_disk_that_was_missing_may_be_out_of_date() {
    let all = volume("lv", &[segment(1, 0, 2, &linear(0, 0))]);
    let text = text(1, &all).replace("pv0 {\n", "pv0 {\nflags = [\"MISSING\"]\n");
    let found = volumes(&sources(vec![disk(0, Some(&text), 0)])).unwrap();
    assert!(found[0].content.as_ref().err().unwrap().to_string().contains("missing disk"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let told = |all: &str| -> String {
        match volumes(&sources(vec![disk(0, Some(&text(1, all)), 0)])) {
            Ok(found) => found[0].content.as_ref().err().unwrap().to_string(),
            Err(error) => error.to_string(),
        }
    };
    let one = |rest: &str| told(&volume("lv", &[segment(1, 0, 2, rest)]));
    assert!(told(&volume("lv", &[segment(1, 1, 1, &linear(0, 0))])).contains("do not fit together"));
    let twice = [segment(1, 0, 2, &linear(0, 0)), segment(2, 1, 2, &linear(0, 4))];
    assert!(told(&volume("lv", &twice)).contains("do not fit together"));
    assert!(one(&linear(0, EXTENTS - 1)).contains("longer than its disk"));
    assert!(one(&linear(0, usize::MAX)).contains("too large"));
    assert!(one(&linear(9, 0)).contains("stands on other volumes"));
    assert!(one("type = \"thin\"").contains("LVM volume of type thin is not supported"));
    assert!(one("type = \"striped\"\nstripe_count = 0\nstripes = []").contains("not as many"));
    assert!(one("type = \"striped\"\nstripe_count = 2\nstripes = [\"pv0\", 1]").contains("not as many"));
    let uneven = "type = \"striped\"\nstripe_count = 2\nstripe_size = 5\nstripes = [\"pv0\", 1, \"pv0\", 4]";
    assert!(one(uneven).contains("do not fill it"));
    assert!(one(&uneven.replace("= 5", "= 0")).contains("do not fill it"));
    let lost = volume("lv", &[segment(1, 0, 1, &linear(0, 0))]).replace("segment_count = 1", "segment_count = 2");
    assert!(told(&lost).contains("segments of a volume are missing"));
}

#[test]
fn values_of_the_text() {
    let section = Section::parse(b"a=1 b = -1\nc=[1,\"x\",]#]\nd{e=\"q\\\"}\" f=[]}g=\"\"").unwrap();
    assert_eq!(section.number("a").unwrap(), 1);
    assert_eq!(section.get("b"), Some(&Value::Other));
    assert_eq!(section.list("c"), [Value::Number(1), Value::Text("x")]);
    assert_eq!(section.sections().next().unwrap().1.text("e").unwrap(), "q\\\"}");
    assert_eq!(section.text("g").unwrap(), "");
    for wrong in
        ["a", "a=", "=1", "a={", "a{", "}", "a=[1", "a=[1 2]", "a=[,]", "a=\"x", "a=1}", "a=\"\\\"", "{}", "a b=1"]
    {
        assert!(Section::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    for deep in ["a{", "a=["] {
        assert!(Section::parse(deep.repeat(100_000).as_bytes()).is_err());
    }
    assert!(Section::parse(format!("a={}", "[".repeat(100_000)).as_bytes()).is_err());
}

#[test]
fn any_one_byte_may_be_wrong() {
    let text = text(1, &volume("lv", &[segment(1, 0, 2, &linear(0, 0))]));
    let good = disk(0, Some(&text), 0);
    let wanted = vec![0; EXTENT];
    for at in (512..1024).chain(AREA..AREA + 512 + text.len()) {
        let mut disk = good.clone();
        disk[at] ^= 0x21;
        // All of it is under a checksum.
        for lv in volumes(&sources(vec![disk])).unwrap_or_default() {
            assert_eq!(bytes(lv.content.as_ref().unwrap())[..EXTENT], wanted);
        }
    }
    // The text without its checksum.
    for at in 0..text.len() {
        for byte in [b'}', b'"', b'9', b'[', 0, 0xff] {
            let mut text = text.clone().into_bytes();
            text[at] = byte;
            let _ = group::parse(&text);
        }
    }
}
