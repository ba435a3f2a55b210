//! A VHDX whose log was not written out, made here.

use super::*;
use crate::disk::crc32::crc32c;
use crate::disk::guid::Guid;

const MIB: usize = 1 << 20;
const TABLE: Guid = Guid::new(0x2dc27766, 0xf623, 0x4200, 0x9d64, 0x115e9bfd4a08);
const METADATA: Guid = Guid::new(0x8b7ca206, 0x4790, 0x4b9a, 0xb8fe, 0x575f050f886e);
const PARAMETERS: Guid = Guid::new(0xcaa16737, 0xfa36, 0x4d43, 0xb3b6, 0x33f0aa44e76b);
const DISK_SIZE: Guid = Guid::new(0x2fa54224, 0xcd1b, 0x4876, 0xb211, 0x5dbed83bf4b8);
const SECTOR: Guid = Guid::new(0x8141bf1d, 0xa96f, 0x4709, 0xba47, 0xf233a8faab5f);
const LOG_AT: usize = MIB;
const METADATA_AT: usize = 2 * MIB;
const TABLE_AT: usize = 3 * MIB;
const BLOCK_AT: usize = 4 * MIB;

fn write64(file: &mut [u8], at: usize, number: usize) {
    write(file, at, &(number as u64).to_le_bytes());
}

fn write32(file: &mut [u8], at: usize, number: usize) {
    write(file, at, &(number as u32).to_le_bytes());
}

fn sum(file: &mut [u8], at: usize, len: usize) {
    write32(file, at + 4, 0);
    let sum = crc32c(&file[at..at + len]);
    write32(file, at + 4, sum as usize);
}

/// A disk of 2 MiB, its first block of ones, its second one not there; `log` says whether there is one.
fn vhdx(has_log: bool) -> Vec<u8> {
    let mut file = vec![0; 5 * MIB];
    write(&mut file, 0, b"vhdxfile");
    let at = 64 << 10;
    write(&mut file, at, b"head");
    write64(&mut file, at + 8, 1);
    file[at + 48] = u8::from(has_log);
    file[at + 66] = 1;
    write32(&mut file, at + 68, MIB);
    write64(&mut file, at + 72, LOG_AT);
    sum(&mut file, at, 4096);
    let at = 192 << 10;
    write(&mut file, at, b"regi\0\0\0\0\x02");
    for (n, (id, start)) in [(TABLE, TABLE_AT), (METADATA, METADATA_AT)].into_iter().enumerate() {
        let at = at + 16 + n * 32;
        write(&mut file, at, &id.0);
        write64(&mut file, at + 16, start);
        write32(&mut file, at + 24, MIB);
        write32(&mut file, at + 28, 1);
    }
    sum(&mut file, at, 64 << 10);
    write(&mut file, METADATA_AT, b"metadata\0\0\x03");
    for (n, (id, item)) in [(PARAMETERS, MIB), (DISK_SIZE, 2 * MIB), (SECTOR, 512)].into_iter().enumerate() {
        let at = METADATA_AT + 32 + n * 32;
        write(&mut file, at, &id.0);
        write32(&mut file, at + 16, (64 << 10) + n * 8);
        write32(&mut file, at + 20, 8);
        write32(&mut file, at + 24, 4);
        write64(&mut file, METADATA_AT + (64 << 10) + n * 8, item);
    }
    write64(&mut file, TABLE_AT, BLOCK_AT | 6);
    file[BLOCK_AT..].fill(1);
    file
}

/// An entry of the log that writes `piece` to `offset`, and zeros behind it.
fn log(file: &mut [u8], slot: usize, sequence: usize, tail: usize, offset: usize, piece: &[u8; 4096]) {
    let at = LOG_AT + slot * 8192;
    let len = file.len();
    write(file, at, b"loge");
    write32(file, at + 8, 8192);
    write32(file, at + 12, tail * 8192);
    write64(file, at + 16, sequence);
    write32(file, at + 24, 2);
    file[at + 32] = 1;
    write64(file, at + 48, len);
    write64(file, at + 56, len);
    let descriptor = at + 64;
    write(file, descriptor, b"desc");
    write(file, descriptor + 4, &piece[4092..]);
    write(file, descriptor + 8, &piece[..8]);
    write64(file, descriptor + 16, offset);
    write64(file, descriptor + 24, sequence);
    write(file, descriptor + 32, b"zero");
    write64(file, descriptor + 40, 4096);
    write64(file, descriptor + 48, offset + 4096);
    write64(file, descriptor + 56, sequence);
    write(file, at + 4096, b"data");
    write(file, at + 4096 + 8, &piece[8..4092]);
    write32(file, at + 8188, sequence);
    sum(file, at, 8192);
}

fn table(first: usize, second: usize) -> [u8; 4096] {
    let mut piece = [0; 4096];
    write64(&mut piece, 0, first);
    write64(&mut piece, 8, second);
    piece
}

fn firsts(file: Vec<u8>) -> [u8; 2] {
    let bytes = content(&opened(file).unwrap()).unwrap();
    [bytes[0], bytes[MIB]]
}

#[test]
fn without_a_log_the_table_counts() {
    assert_eq!(firsts(vhdx(false)), [1, 0]);
}

#[test]
fn the_newest_whole_sequence_of_the_log_counts() {
    let mut file = vhdx(true);
    log(&mut file, 0, 7, 0, TABLE_AT, &table(0, 0));
    log(&mut file, 1, 8, 0, TABLE_AT, &table(0, BLOCK_AT | 6));
    assert_eq!(firsts(file.clone()), [0, 1]);
    // An older sequence further on does not.
    log(&mut file, 4, 3, 4, TABLE_AT, &table(2, 2));
    assert_eq!(firsts(file.clone()), [0, 1]);
    // Of an entry that was only half written nothing is used, nor is the sequence it tore.
    log(&mut file, 2, 9, 0, TABLE_AT, &table(BLOCK_AT | 6, BLOCK_AT | 6));
    assert_eq!(firsts(file.clone()), [1, 1]);
    file[LOG_AT + 2 * 8192 + 5000] ^= 1;
    assert_eq!(firsts(file), [0, 1]);
}

#[test]
fn a_log_over_content_counts_as_well() {
    let mut file = vhdx(true);
    log(&mut file, 0, 1, 0, BLOCK_AT + 8192, &[3; 4096]);
    let bytes = content(&opened(file).unwrap()).unwrap();
    let firsts: Vec<u8> = bytes.chunks(4096).take(6).map(|piece| piece[9]).collect();
    assert_eq!(firsts, [1, 1, 3, 0, 1, 1]);
}

#[test]
fn a_log_that_cannot_be_replayed_is_damage() {
    assert!(refused(vhdx(true)).contains("no entry of it is whole"));
    let mut file = vhdx(true);
    log(&mut file, 0, 1, 0, TABLE_AT + 1, &[0; 4096]);
    assert!(refused(file).contains("not aligned"));
    let mut file = vhdx(true);
    log(&mut file, 0, 1, 0, 5 * MIB, &[0; 4096]);
    assert!(refused(file).contains("not within the file"));
    let mut file = vhdx(true);
    log(&mut file, 0, 1, 0, TABLE_AT, &table(0, 0));
    file.truncate(4 * MIB);
    assert!(refused(file).contains("cut off"));
}

#[test]
fn an_entry_that_claims_all_of_the_log_from_everywhere_takes_no_time() {
    let mut file = vhdx(true);
    for slot in 0..MIB / 4096 {
        let at = LOG_AT + slot * 4096;
        write(&mut file, at, b"loge");
        write32(&mut file, at + 8, MIB);
        file[at + 32] = 1;
    }
    assert!(refused(file).contains("no entry of it is whole"));
}

#[test]
fn a_differencing_disk_is_refused() {
    let mut file = vhdx(false);
    write32(&mut file, METADATA_AT + (64 << 10) + 4, 2);
    assert_eq!(refused(file), "a differencing VHDX is not supported");
}
