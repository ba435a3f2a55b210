//! The JSON of a LUKS version 2 header. Numbers that may be large stand there as texts.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::volume::luks::kdf::Hash;
use crate::disk::volume::luks::kdf::Kdf;
use crate::disk::volume::luks::plain::Segment;
use crate::disk::volume::luks::slot::Proof;
use crate::disk::volume::luks::slot::Slot;
use crate::disk::volume::luks::xts::Cipher;
use argon2::Algorithm;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

const WHAT: &str = "LUKS metadata";
/// A header has no more.
const SLOTS_MAX: usize = 32;

/// What of it is needed here.
#[derive(Deserialize)]
pub(super) struct Metadata {
    keyslots: BTreeMap<String, Value>,
    segments: BTreeMap<String, Value>,
    digests: BTreeMap<String, Value>,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    requirements: Option<Requirements>,
}

#[derive(Deserialize)]
struct Requirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

#[derive(Deserialize)]
struct SegmentText {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    #[serde(default)]
    iv_tweak: String,
    #[serde(default)]
    encryption: String,
    #[serde(default)]
    sector_size: u32,
    integrity: Option<Value>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Deserialize)]
struct SlotText {
    #[serde(rename = "type")]
    kind: String,
    key_size: usize,
    af: SplitterText,
    area: AreaText,
    kdf: KdfText,
}

#[derive(Deserialize)]
struct SplitterText {
    #[serde(rename = "type")]
    kind: String,
    stripes: u32,
    hash: String,
}

#[derive(Deserialize)]
struct AreaText {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    encryption: String,
    key_size: usize,
}

#[derive(Deserialize)]
struct KdfText {
    #[serde(rename = "type")]
    kind: String,
    salt: String,
    #[serde(default)]
    hash: String,
    #[serde(default)]
    iterations: u32,
    #[serde(default)]
    time: u32,
    #[serde(default)]
    memory: u32,
    #[serde(default)]
    cpus: u32,
}

#[derive(Deserialize)]
struct DigestText {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: String,
    iterations: u32,
    salt: String,
    digest: String,
}

/// The metadata out of its text.
pub(super) fn parse(text: &[u8]) -> Result<Metadata> {
    serde_json::from_slice(text).map_err(|_| fault("it is not the JSON it should be"))
}

fn fault(why: &'static str) -> Error {
    Error::damaged(WHAT, 0, why)
}

fn part<T: for<'a> Deserialize<'a>>(value: &Value, why: &'static str) -> Result<T> {
    T::deserialize(value).map_err(|_| fault(why))
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| fault("a number is none"))
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| fault("it is not the base64 it should be"))
}

impl Metadata {
    /// Name of the cipher of the first segment that has one.
    pub(super) fn cipher(&self) -> String {
        let name = self.segments.values().find_map(|segment| segment.get("encryption")?.as_str());
        name.unwrap_or_default().to_owned()
    }

    /// Number of slots.
    pub(super) fn slot_count(&self) -> usize {
        self.keyslots.len()
    }

    /// The one encrypted segment, and its name.
    pub(super) fn segment(&self) -> Result<(String, Segment)> {
        let mandatory = self.config.requirements.iter().flat_map(|needs| &needs.mandatory);
        if let Some(need) = mandatory.into_iter().next() {
            return Err(Error::unsupported(format!("LUKS2 requirement {need:.40}")));
        }
        let mut segments = self.segments.iter();
        let (Some((name, segment)), None) = (segments.next(), segments.next()) else {
            return Err(Error::unsupported("LUKS2 with other than one segment"));
        };
        let text: SegmentText = part(segment, "a segment is not as it should be")?;
        if text.kind != "crypt" {
            return Err(Error::unsupported(format!("LUKS2 segment of type {:.40}", text.kind)));
        }
        if text.integrity.is_some() {
            return Err(Error::unsupported("LUKS2 with integrity"));
        }
        if let Some(flag) = text.flags.first() {
            return Err(Error::unsupported(format!("LUKS2 segment flag {flag:.40}")));
        }
        let segment = Segment {
            start: number(&text.offset)?,
            len: if text.size == "dynamic" { None } else { Some(number(&text.size)?) },
            cipher: Cipher::from_name(&text.encryption)?,
            sector_bytes: text.sector_size,
            first_sector: number(&text.iv_tweak)?,
        };
        if segment.start == 0 {
            return Err(Error::unsupported("LUKS header apart from its data"));
        }
        Ok((name.clone(), segment))
    }

    /// The slots whose key is that of `segment`.
    pub(super) fn slots(&self, segment: &str) -> Vec<Result<Slot>> {
        let slots = self.keyslots.iter().take(SLOTS_MAX);
        slots.filter_map(|(name, value)| self.slot(name, value, segment).transpose()).collect()
    }

    fn slot(&self, name: &str, value: &Value, segment: &str) -> Result<Option<Slot>> {
        let Some(proof) = self.proof(name, segment)? else { return Ok(None) };
        if let Some(kind) = value.get("type").and_then(Value::as_str).filter(|kind| *kind != "luks2") {
            return Err(Error::unsupported(format!("LUKS2 key slot of type {kind:.40}")));
        }
        let text: SlotText = part(value, "a key slot is not as it should be")?;
        for (kind, known) in [(&text.kind, "luks2"), (&text.af.kind, "luks1"), (&text.area.kind, "raw")] {
            if kind != known {
                return Err(Error::unsupported(format!("LUKS2 key slot with {kind:.40}")));
            }
        }
        Ok(Some(Slot {
            kdf: kdf(&text.kdf)?,
            at: number(&text.area.offset)?,
            cipher: Cipher::from_name(&text.area.encryption)?,
            area_key_bytes: text.area.key_size,
            key_bytes: text.key_size,
            stripes: text.af.stripes,
            stripes_hash: Hash::from_name(&text.af.hash)?,
            proof,
        }))
    }

    /// The digest that the key of a slot must give to be that of a segment.
    fn proof(&self, slot: &str, segment: &str) -> Result<Option<Proof>> {
        for value in self.digests.values() {
            let text: DigestText = part(value, "a digest is not as it should be")?;
            let has = |names: &[String], name| names.iter().any(|other| other == name);
            if !has(&text.keyslots, slot) || !has(&text.segments, segment) {
                continue;
            }
            if text.kind != "pbkdf2" {
                return Err(Error::unsupported(format!("LUKS2 digest {:.40}", text.kind)));
            }
            return Ok(Some(Proof {
                hash: Hash::from_name(&text.hash)?,
                iterations: text.iterations,
                salt: bytes(&text.salt)?,
                digest: bytes(&text.digest)?,
            }));
        }
        Ok(None)
    }
}

fn kdf(text: &KdfText) -> Result<Kdf> {
    let salt = bytes(&text.salt)?;
    let algorithm = match text.kind.as_str() {
        "pbkdf2" => {
            return Ok(Kdf::Pbkdf2 { hash: Hash::from_name(&text.hash)?, iterations: text.iterations, salt });
        }
        "argon2i" => Algorithm::Argon2i,
        "argon2id" => Algorithm::Argon2id,
        kind => return Err(Error::unsupported(format!("LUKS2 key derivation {kind:.40}"))),
    };
    Ok(Kdf::Argon2 { algorithm, passes: text.time, memory_kib: text.memory, lanes: text.cpus, salt })
}
