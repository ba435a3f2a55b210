//! The rules of LUKS, on disks made in memory.
#![allow(clippy::unwrap_used)]

use super::about;
use super::antiforensic;
use super::is_luks;
use super::kdf::Hash;
use super::unlock;
use super::xts::Cipher;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Run;
use crate::disk::fs::Source;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

const KEY: [u8; 64] = [0x5a; 64];
const STRIPES: usize = 3;
const AREA: usize = 32 << 10;
const DATA: usize = 64 << 10;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|n| u8::from_str_radix(&text[n * 2..n * 2 + 2], 16).unwrap()).collect()
}

fn plain() -> Vec<u8> {
    (0..20_480u32).map(|n| (n / 3) as u8).collect()
}

/// Key material that gives `KEY`, encrypted with the key that `passphrase` makes by PBKDF2 in one iteration.
fn key_material(passphrase: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut stripes: Vec<u8> = (0..KEY.len() * (STRIPES - 1)).map(|n| (n * 7) as u8).collect();
    // With a last stripe of zeros what comes out is what the others gave; the last one makes the key of it.
    let others = antiforensic::merge(&[&stripes[..], &[0; 64]].concat(), KEY.len(), Hash::Sha256);
    stripes.extend(others.iter().zip(KEY).map(|(a, b)| a ^ b));
    stripes.resize(stripes.len().next_multiple_of(512), 0);
    let key = Hash::Sha256.pbkdf2(passphrase, salt, 1, 64).unwrap();
    cipher().with_key(&key).unwrap().encrypt(&mut stripes, 512, 0);
    stripes
}

fn cipher() -> Cipher {
    Cipher::from_name("aes-xts-plain64").unwrap()
}

fn with_data(mut disk: Vec<u8>, passphrase: &[u8], sector: usize) -> Vec<u8> {
    let mut data = plain();
    cipher().with_key(&KEY).unwrap().encrypt(&mut data, sector, 0);
    let material = key_material(passphrase, &[1; 32]);
    disk.resize(DATA, 0);
    disk[AREA..AREA + material.len()].copy_from_slice(&material);
    disk.extend(data);
    disk
}

fn version1() -> Vec<u8> {
    let mut disk = vec![0; 592];
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    let be = |number: usize| (number as u32).swap_bytes().to_le_bytes();
    put(0, b"LUKS\xba\xbe\0\x01aes");
    put(40, b"xts-plain64");
    put(72, b"sha256");
    put(104, &be(DATA / 512));
    put(108, &be(64));
    put(112, &Hash::Sha256.pbkdf2(&KEY, &[2; 32], 1, 20).unwrap());
    put(132, &[2; 32]);
    put(164, &be(1));
    put(168, b"0b5ac4e1-uuid");
    for slot in 0..8 {
        put(208 + slot * 48, &be(0xdead));
    }
    put(208 + 48, &be(0x00ac_71f3));
    put(208 + 52, &be(1));
    put(208 + 56, &[1; 32]);
    put(208 + 88, &be(AREA / 512));
    put(208 + 92, &be(STRIPES));
    with_data(disk, b"open", 512)
}

fn json() -> String {
    let digest = Hash::Sha256.pbkdf2(&KEY, &[2; 32], 1, 32).unwrap();
    format!(
        r#"{{"keyslots":{{"1":{{"type":"luks2","key_size":64,"af":{{"type":"luks1","stripes":{STRIPES},"hash":"sha256"}},
        "area":{{"type":"raw","offset":"{AREA}","size":"4096","encryption":"aes-xts-plain64","key_size":64}},
        "kdf":{{"type":"pbkdf2","hash":"sha256","iterations":1,"salt":"{salt}"}}}}}},"tokens":{{}},
        "segments":{{"0":{{"type":"crypt","offset":"{DATA}","size":"dynamic","iv_tweak":"0",
        "encryption":"aes-xts-plain64","sector_size":4096}}}},"digests":{{"0":{{"type":"pbkdf2","keyslots":["1"],
        "segments":["0"],"hash":"sha256","iterations":1,"salt":"{digest_salt}","digest":"{digest}"}}}},
        "config":{{"json_size":"12288","keyslots_size":"32768"}}}}"#,
        salt = STANDARD.encode([1; 32]),
        digest_salt = STANDARD.encode([2; 32]),
        digest = STANDARD.encode(digest.as_slice()),
    )
}

fn version2_copy(at: usize, sequence: u8, json: &str) -> Vec<u8> {
    let mut copy = vec![0; 16 << 10];
    let mut put = |at: usize, bytes: &[u8]| copy[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, if at == 0 { b"LUKS\xba\xbe\0\x02" } else { b"SKUL\xba\xbe\0\x02" });
    put(8, &(16u64 << 10).swap_bytes().to_le_bytes());
    put(23, &[sequence]);
    put(24, b"label");
    put(72, b"sha256");
    put(168, b"uuid");
    put(256, &(at as u64).swap_bytes().to_le_bytes());
    put(4096, json.as_bytes());
    let digest = Hash::Sha256.digest(&[&copy]);
    copy[448..480].copy_from_slice(&digest);
    copy
}

fn version2(json: &str) -> Vec<u8> {
    let disk = [version2_copy(0, 5, json), version2_copy(16 << 10, 5, json)].concat();
    with_data(disk, b"open", 4096)
}

fn opened(disk: Vec<u8>, passphrase: &[u8]) -> Result<Vec<u8>, Error> {
    let source = unlock(Arc::new(disk) as Source, passphrase)?;
    let mut bytes = vec![0; source.len() as usize];
    source.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn refusal(disk: Vec<u8>) -> String {
    opened(disk, b"open").unwrap_err().to_string()
}

#[test]
fn xts_as_ieee_1619_has_it() {
    // Vectors 1 and 10.
    let short = cipher().with_key(&[0; 32]).unwrap();
    let mut bytes = hex("917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e");
    short.decrypt(&mut bytes, 32, 0);
    assert_eq!(bytes, [0; 32]);
    let key = hex(concat!(
        "2718281828459045235360287471352662497757247093699959574966967627",
        "3141592653589793238462643383279502884197169399375105820974944592",
    ));
    let long = cipher().with_key(&key).unwrap();
    let text: Vec<u8> = (0..512).map(|n| n as u8).collect();
    let mut bytes = text.clone();
    long.encrypt(&mut bytes, 512, 0xff);
    assert_eq!(bytes[..16], hex("1c3b3a102f770386e4836c99e370cf9b"));
    assert_eq!(bytes[496..], hex("c4f36ffda9fcea70b9c6e693e148c151"));
    long.decrypt(&mut bytes, 512, 0xff);
    assert_eq!(bytes, text);
    assert!(cipher().with_key(&[0; 48]).is_err());
}

#[test]
fn both_versions_open_with_the_right_passphrase_alone() {
    for disk in [version1(), version2(&json())] {
        assert!(is_luks(&(Arc::new(disk.clone()) as Source)).unwrap());
        assert_eq!(opened(disk.clone(), b"open").unwrap(), plain());
        assert!(matches!(opened(disk, b"opem"), Err(Error::WrongPassphrase)));
    }
    let about = about(&(Arc::new(version2(&json())) as Source)).unwrap();
    assert_eq!((about.version, about.slots), (2, 1));
    assert_eq!(
        (about.uuid.as_str(), about.label.as_str(), about.cipher.as_str()),
        ("uuid", "label", "aes-xts-plain64")
    );
    assert!(!is_luks(&(Arc::new(vec![0u8; 4]) as Source)).unwrap());
}

#[test]
fn any_range_of_the_plain_bytes() {
    let source = unlock(Arc::new(version2(&json())) as Source, b"open").unwrap();
    let all = plain();
    for (at, len) in [(0, 1), (1, 511), (4095, 2), (100, 20_000), (20_479, 1), (20_480, 0)] {
        let mut bytes = vec![0; len];
        source.read_at(at as u64, &mut bytes).unwrap();
        assert_eq!(bytes, all[at..at + len]);
        let mut runs = Vec::new();
        source.map(at as u64..(at + len) as u64, &mut runs).unwrap();
        assert_eq!(runs.iter().map(Run::len).sum::<u64>(), len as u64);
    }
    assert!(source.read_at(20_480, &mut [0]).is_err());
    assert!(source.map(0..20_481, &mut Vec::new()).is_err());
    assert!(source.read_at(u64::MAX, &mut [0]).is_err());
}

#[test]
fn one_copy_of_the_header_is_enough() {
    let good = json();
    let newer = good.replace("sector_size\":4096", "sector_size\":1024");
    let mut disk = version2(&good);
    disk[5000] ^= 1;
    assert_eq!(opened(disk.clone(), b"open").unwrap(), plain());
    disk[16 << 10 | 5000] ^= 1;
    assert!(refusal(disk).contains("its checksum is wrong"));
    // The newer one counts.
    let mut disk = version2(&good);
    disk[16 << 10..32 << 10].copy_from_slice(&version2_copy(16 << 10, 6, &newer));
    assert_ne!(opened(disk, b"open").unwrap(), plain());
}

#[test]
fn what_is_not_understood_is_named() {
    let config = r#""config":{"json_size""#;
    let segments = r#""segments":{"#;
    for (from, to, why) in [
        (
            config,
            r#""config":{"requirements":{"mandatory":["online-reencrypt-v2"]},"json_size""#,
            "online-reencrypt-v2",
        ),
        (segments, r#""segments":{"1":{"type":"crypt"},"#, "other than one segment"),
        (r#""type":"crypt""#, r#""type":"linear""#, "segment of type linear"),
        ("\"sector_size\":4096", r#""sector_size":4096,"integrity":{"type":"hmac(sha256)"}"#, "with integrity"),
        ("\"sector_size\":4096", "\"sector_size\":4000", "no such length of a sector"),
        (r#""encryption":"aes-xts-plain64","sector"#, r#""encryption":"serpent-xts-plain64","sector"#, "serpent"),
        (r#""kdf":{"type":"pbkdf2","hash":"sha256""#, r#""kdf":{"type":"pbkdf2","hash":"whirlpool""#, "whirlpool"),
        (r#""kdf":{"type":"pbkdf2","#, r#""kdf":{"type":"scrypt","#, "scrypt"),
        (r#""type":"luks2""#, r#""type":"reencrypt""#, "key slot of type reencrypt"),
        ("\"stripes\":3", "\"stripes\":4000000000", "no such number of stripes"),
        ("\"key_size\":64,\"af\"", "\"key_size\":4096,\"af\"", "no such length of a key"),
    ] {
        assert!(json().contains(from), "{from}");
        let told = refusal(version2(&json().replace(from, to)));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn what_a_header_asks_for_is_bounded() {
    let kdf = r#""kdf":{"type":"pbkdf2","hash":"sha256","iterations":1,"#;
    for (asked, why) in [
        (r#""type":"pbkdf2","hash":"sha256","iterations":4000000000,"#, "4000000000 iterations"),
        (r#""type":"argon2id","time":4,"memory":1048577,"cpus":4,"#, "1048577 KiB of memory"),
        (r#""type":"argon2id","time":65,"memory":1048576,"cpus":4,"#, "65 passes over 1048576 KiB"),
        (r#""type":"argon2i","time":1,"memory":1024,"cpus":99,"#, "99 lanes"),
        (r#""type":"argon2i","time":0,"memory":1024,"cpus":1,"#, "no such parameters"),
        (r#""type":"argon2i","time":1,"memory":1,"cpus":1,"#, "no such parameters"),
    ] {
        assert!(json().contains(kdf));
        let told = refusal(version2(&json().replace(kdf, &format!(r#""kdf":{{{asked}"#))));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_slot_that_cannot_be_tried_is_not_a_wrong_passphrase() {
    let mut disk = version1();
    disk[208..216].copy_from_slice(&[0, 0xac, 0x71, 0xf3, 0xff, 0xff, 0xff, 0xff]);
    disk[208 + 47] = 1;
    assert_eq!(opened(disk.clone(), b"open").unwrap(), plain());
    assert!(opened(disk, b"wrong").unwrap_err().to_string().contains("4294967295 iterations"));
}

#[test]
fn any_one_byte_may_be_wrong() {
    for disk in [version1(), version2(&json())] {
        // All but the numbers of iterations, which would take their time.
        let in_header = (0..592).filter(|at| !(164..168).contains(at) && !(260..264).contains(at));
        for at in in_header.chain((4096..4096 + json().len()).step_by(3)) {
            let mut disk = disk.clone();
            disk[at] ^= 0x11;
            // No panic, and never other bytes.
            if let Ok(bytes) = opened(disk, b"open") {
                assert!(bytes.is_empty() || bytes == plain() || at < 592);
            }
        }
    }
}
