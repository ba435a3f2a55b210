//! Checksums put right, so that mutations get behind them: GPT, LVM, VHD, VHDX, exFAT, Btrfs.

use super::sparse::Sparse;
use bygone::disk::BlockSource;

/// Reflected polynomials.
const CRC32: u32 = 0xEDB8_8320;
const CRC32C: u32 = 0x82F6_3B78;
const LVM_START: u32 = 0xF597_A6CF;

const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = value >> 1 ^ if value & 1 == 1 { polynomial } else { 0 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

static TABLE: [u32; 256] = table(CRC32);
static TABLE_C: [u32; 256] = table(CRC32C);

fn crc(table: &[u32; 256], start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| crc >> 8 ^ table[((crc ^ u32::from(*byte)) & 0xff) as usize])
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

/// The image with right checksums, if it has any.
pub(super) fn mended(image: &Sparse) -> Option<Sparse> {
    let start = image.read(0, 512);
    let mend: fn(&mut Sparse) = match () {
        () if image.read(512, 8) == b"EFI PART" || image.read(4096, 8) == b"EFI PART" => gpt,
        () if (0..4).any(|sector| image.read(sector * 512, 8) == b"LABELONE") => lvm,
        () if start.starts_with(b"vhdxfile") => vhdx,
        () if image.read(image.len().saturating_sub(512), 8) == b"conectix" => vhd,
        () if start.get(3..11) == Some(b"EXFAT   ") => exfat,
        () if image.read(0x1_0040, 8) == b"_BHRfS_M" => btrfs,
        () => return None,
    };
    let mut copy = image.copied();
    mend(&mut copy);
    Some(copy)
}

fn gpt(image: &mut Sparse) {
    for sector in [512, 4096] {
        let header = image.read(sector, 512);
        if !header.starts_with(b"EFI PART") {
            continue;
        }
        let (count, size) = (le32(&header, 80) as usize, le32(&header, 84) as usize);
        let entries = image.read(le64(&header, 72).saturating_mul(sector), count.saturating_mul(size).min(64 << 10));
        image.write(sector + 88, &(!crc(&TABLE, !0, &entries)).to_le_bytes());
        image.write(sector + 16, &[0; 4]);
        let header = image.read(sector, (le32(&header, 12) as usize).min(512));
        image.write(sector + 16, &(!crc(&TABLE, !0, &header)).to_le_bytes());
    }
}

fn lvm(image: &mut Sparse) {
    for label in (0..4).map(|sector| sector * 512) {
        let bytes = image.read(label, 512);
        if bytes.starts_with(b"LABELONE") {
            image.write(label + 16, &crc(&TABLE, LVM_START, &bytes[20..]).to_le_bytes());
        }
    }
    let areas: Vec<u64> = image.pages().filter(|at| image.read(at + 4, 6) == b" LVM2 ").collect();
    for area in areas {
        let header = image.read(area, 512);
        let (offset, size, area_bytes) = (le64(&header, 40), le64(&header, 48), le64(&header, 32));
        let text = image.read(area.saturating_add(offset), size.min(64 << 10) as usize);
        if offset.saturating_add(size) <= area_bytes {
            image.write(area + 56, &crc(&TABLE, LVM_START, &text).to_le_bytes());
        }
        let header = image.read(area, 512);
        image.write(area, &crc(&TABLE, LVM_START, &header[4..]).to_le_bytes());
    }
}

fn vhd(image: &mut Sparse) {
    let end = image.len().saturating_sub(512);
    let header = le64(&image.read(16, 8).into_iter().rev().collect::<Vec<u8>>(), 0).min(end);
    for (at, len, sum_at) in [(0, 512, 64), (end, 512, 64), (header, 1024, 36)] {
        image.write(at + sum_at, &[0; 4]);
        let sum = image.read(at, len).iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        image.write(at + sum_at, &[24, 16, 8, 0].map(|shift| (!sum >> shift) as u8));
    }
}

fn vhdx(image: &mut Sparse) {
    for (at, len) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 64 << 10), (256 << 10, 64 << 10)] {
        image.write(at + 4, &[0; 4]);
        let sum = !crc(&TABLE_C, !0, &image.read(at, len));
        image.write(at + 4, &sum.to_le_bytes());
    }
}

/// Sets of entries, wherever they seem to be; and the boot sectors.
fn exfat(image: &mut Sparse) {
    let pages: Vec<u64> = image.pages().collect();
    for page in pages {
        for at in (page..page + 4096).step_by(32) {
            let start = image.read(at, 2);
            let [0x85, more] = start[..] else { continue };
            let set = image.read(at, 32 * (1 + usize::from(more)));
            let bytes = set.iter().enumerate().filter(|(index, _)| !matches!(index, 2 | 3));
            let sum = bytes.fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)));
            image.write(at + 2, &sum.to_le_bytes());
        }
    }
    let bytes_log = image.read(108, 1).first().map_or(9, |log| (*log).clamp(9, 12));
    let region = image.read(0, 11 << bytes_log);
    let bytes = region.iter().enumerate().filter(|(index, _)| !matches!(index, 106 | 107 | 112));
    let sum = bytes.fold(0u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    image.write(11 << bytes_log, &sum.to_le_bytes().repeat((1 << bytes_log) / 4));
}

/// Superblocks, and whatever begins as a node of this file system does.
fn btrfs(image: &mut Sparse) {
    let superblock = image.read(0x1_0000, 4096);
    let node_bytes = (le32(&superblock, 0x94) as usize).clamp(4096, 64 << 10);
    let id = superblock[32..48].to_vec();
    let pages: Vec<u64> = image.pages().collect();
    for at in pages {
        let len = if at == 0x1_0000 { 4096 } else { node_bytes };
        let bytes = image.read(at, len);
        if bytes.len() == len && bytes[32..48] == id {
            image.write(at, &(!crc(&TABLE_C, !0, &bytes[32..])).to_le_bytes());
        }
    }
}
