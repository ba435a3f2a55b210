//! Rules of virtual disks, on containers made here.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::disk::Error;
use crate::disk::Run;
use crate::disk::read_runs;
use std::sync::Arc;

mod vhdx;

fn write(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn write_be(file: &mut [u8], at: usize, number: u64) {
    write(file, at, &number.swap_bytes().to_le_bytes());
}

fn write_be32(file: &mut [u8], at: usize, number: u32) {
    write(file, at, &number.swap_bytes().to_le_bytes());
}

fn no_neighbour(_: &str) -> Result<Source> {
    Err(Error::NotFound)
}

fn opened(file: Vec<u8>) -> Result<Container> {
    open(Arc::new(file), &no_neighbour).map(Option::unwrap)
}

fn refused(file: Vec<u8>) -> String {
    opened(file).map(drop).unwrap_err().to_string()
}

/// The disk, as both ways to read it must give it.
fn content(container: &Container) -> Result<Vec<u8>> {
    let mut bytes = vec![0xee; container.bytes() as usize];
    container.disk.read_at(0, &mut bytes)?;
    let mut runs = Vec::new();
    container.disk.map(0..container.bytes(), &mut runs)?;
    assert_eq!(read_runs(&container.below, &runs)?, bytes);
    Ok(bytes)
}

const CLUSTER: usize = 512;
const L1_AT: usize = 512;
const L2_AT: usize = 1024;
const DATA_AT: u64 = 1536;
const COPIED: u64 = 1 << 63;

/// Four clusters and a half of 512 bytes, with these entries of the second level.
fn qcow2(entries: &[u64]) -> Vec<u8> {
    let mut file = vec![0; 4096];
    write(&mut file, 0, qcow2::MAGIC);
    write_be32(&mut file, 4, 3);
    write_be32(&mut file, 20, 9);
    write_be(&mut file, 24, 4 * 512 + 100);
    write_be32(&mut file, 36, 1);
    write_be(&mut file, 40, L1_AT as u64);
    write_be32(&mut file, 100, 104);
    write_be(&mut file, L1_AT, L2_AT as u64 | COPIED);
    for (n, entry) in entries.iter().enumerate() {
        write_be(&mut file, L2_AT + n * 8, *entry);
    }
    for (n, byte) in file[DATA_AT as usize..].iter_mut().enumerate() {
        *byte = (n / CLUSTER) as u8 + 1;
    }
    file
}

#[test]
fn clusters_that_follow_each_other_are_one_run() {
    let container = opened(qcow2(&[DATA_AT | COPIED, (DATA_AT + 512) | COPIED, 1, 0, DATA_AT])).unwrap();
    let mut runs = Vec::new();
    container.disk.map(10..4 * 512 + 100, &mut runs).unwrap();
    let wanted = [
        Run::Below { offset: DATA_AT + 10, len: 1014 },
        Run::Zero { len: 1024 },
        Run::Below { offset: DATA_AT, len: 100 },
    ];
    assert_eq!(runs, wanted);
    let bytes = content(&container).unwrap();
    assert_eq!([bytes[0], bytes[512], bytes[1024], bytes[2047], bytes[2147]], [1, 2, 0, 0, 1]);
    assert!(container.disk.read_at(2148, &mut [0]).is_err());
    assert!(container.disk.map(0..2149, &mut Vec::new()).is_err());
}

#[test]
fn clusters_outside_of_the_file_are_damage() {
    for entry in [4096, 1 << 55, DATA_AT + 100 * 512] {
        let container = opened(qcow2(&[entry])).unwrap();
        assert!(matches!(content(&container), Err(Error::Damaged { .. })), "{entry:#x}");
    }
    // A table behind the end.
    let mut file = qcow2(&[]);
    write_be(&mut file, L1_AT, 1 << 40);
    assert!(matches!(content(&opened(file).unwrap()), Err(Error::Damaged { .. })));
}

#[test]
fn compressed_clusters_have_to_be_whole() {
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    std::io::Write::write_all(&mut packed, &[7; 512]).unwrap();
    let packed = packed.finish().unwrap();
    let entry = 1 << 62 | DATA_AT;
    let mut file = qcow2(&[entry, entry + 3]);
    file[DATA_AT as usize..].fill(0xff);
    write(&mut file, DATA_AT as usize, &packed);
    let container = opened(file.clone()).unwrap();
    let mut bytes = [0; 512];
    container.disk.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 512]);
    // The second one begins in the middle of the first.
    assert!(matches!(container.disk.read_at(512, &mut bytes), Err(Error::Damaged { .. })));
    // Cut off where the file ends.
    file.truncate(DATA_AT as usize + packed.len() - 2);
    assert!(opened(file).unwrap().disk.read_at(0, &mut bytes).is_err());
}

#[test]
fn what_qcow2_has_beside_itself_is_named() {
    let mut file = qcow2(&[]);
    write_be(&mut file, 8, 200);
    write_be32(&mut file, 16, 8);
    write(&mut file, 200, b"base.img");
    assert_eq!(refused(file), "qcow2 on the backing file \"base.img\" is not supported");
    let mut file = qcow2(&[]);
    write_be32(&mut file, 32, 2);
    assert_eq!(refused(file), "encrypted qcow2 (LUKS) is not supported");
    for (bit, name) in [(2, "external data file"), (5, "feature 5"), (63, "feature 63")] {
        let mut file = qcow2(&[]);
        write_be(&mut file, 72, 1 << bit);
        assert!(refused(file).contains(name));
    }
    let mut file = qcow2(&[]);
    write_be(&mut file, 72, 3);
    assert_eq!(opened(file).unwrap().notes.len(), 2);
}

#[test]
fn sizes_of_qcow2_that_cannot_be() {
    for (at, number) in [(20, 8), (20, 22), (36, 0), (36, u32::MAX), (100, 8), (4, 9)] {
        let mut file = qcow2(&[]);
        write_be32(&mut file, at, number);
        assert!(opened(file).is_err(), "{at} {number}");
    }
    let mut file = qcow2(&[]);
    write_be(&mut file, 24, u64::MAX);
    assert!(opened(file).is_err());
}

fn vhd_sum(file: &mut [u8], start: usize, len: usize, sum_at: usize) {
    file[start + sum_at..start + sum_at + 4].fill(0);
    let sum = file[start..start + len].iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    write_be32(file, start + sum_at, !sum);
}

/// A dynamic VHD of two blocks of 4096 bytes; of the first, sectors 0 and 7 were written.
fn vhd(kind: u32) -> Vec<u8> {
    let mut file = vec![0; 512 + 1024 + 512 + 512 + 4096 + 512];
    for at in [0, file.len() - 512] {
        write(&mut file, at, b"conectix\0\0\0\x02\0\x01\0\0");
        write_be(&mut file, at + 16, 512);
        write_be(&mut file, at + 48, 8192 - 512);
        write_be32(&mut file, at + 60, kind);
        vhd_sum(&mut file, at, 512, 64);
    }
    write(&mut file, 512, b"cxsparse\xff\xff\xff\xff\xff\xff\xff\xff");
    write_be(&mut file, 512 + 16, 1536);
    write_be32(&mut file, 512 + 28, 2);
    write_be32(&mut file, 512 + 32, 4096);
    vhd_sum(&mut file, 512, 1024, 36);
    write_be32(&mut file, 1536, 4);
    write_be32(&mut file, 1540, u32::MAX);
    file[2048] = 0b1000_0001;
    file[2560..2560 + 4096].fill(9);
    file
}

#[test]
fn sectors_that_were_never_written_are_zeros() {
    let bytes = content(&opened(vhd(3)).unwrap()).unwrap();
    let firsts: Vec<u8> = bytes.chunks(512).map(|sector| sector[1]).collect();
    assert_eq!(firsts, [9, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_vhd_needs_one_footer() {
    let wanted = content(&opened(vhd(3)).unwrap()).unwrap();
    let mut file = vhd(3);
    let last = file.len() - 1;
    file[last - 400] ^= 1;
    let container = opened(file).unwrap();
    assert_eq!((content(&container).unwrap(), container.notes.len()), (wanted, 1));
    assert_eq!(refused(vhd(4)), "a differencing VHD is not supported");
    assert_eq!(refused(vhd(7)), "type 7 of VHD is not supported");
    let mut file = vhd(3);
    file[512 + 40] ^= 1;
    assert!(refused(file).contains("checksum"));
}

#[test]
fn what_is_no_container_is_none() {
    for file in [Vec::new(), vec![0; 511], vec![0; 512], vec![1; 5000]] {
        let source: Source = Arc::new(file);
        assert!(open(source, &no_neighbour).unwrap().is_none());
    }
}

const VDI_TABLE_AT: usize = 512;
const VDI_DATA_AT: usize = 1024;

/// Three blocks of 4096 bytes and a half: the second lies first, and the third was discarded.
fn vdi(kind: u32) -> Vec<u8> {
    let mut file = vec![0; VDI_DATA_AT + 3 * 4096];
    write(&mut file, 0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    let numbers =
        [(64, 0xbeda_107f), (68, 0x1_0001), (76, kind), (0x154, 512), (0x158, 1024), (0x178, 4096), (0x180, 4)];
    for (at, number) in numbers {
        write(&mut file, at, &u32::to_le_bytes(number));
    }
    write(&mut file, 0x170, &(3 * 4096 + 2048u64).to_le_bytes());
    for (n, entry) in [1, 0, u32::MAX - 1, 2].into_iter().enumerate() {
        write(&mut file, VDI_TABLE_AT + n * 4, &entry.to_le_bytes());
        file[(VDI_DATA_AT + n * 4096).min(VDI_DATA_AT + 2 * 4096)..][..4096].fill(n as u8 + 1);
    }
    file
}

#[test]
fn blocks_of_a_vdi_lie_where_its_table_says() {
    for kind in [1, 2] {
        let container = opened(vdi(kind)).unwrap();
        assert_eq!((container.kind, container.bytes()), ("VDI", 3 * 4096 + 2048));
        let bytes = content(&container).unwrap();
        assert_eq!([bytes[0], bytes[4095], bytes[4096], bytes[8192], bytes[12288], bytes[14335]], [2, 2, 1, 0, 4, 4]);
    }
}

#[test]
fn a_vdi_that_cannot_be_is_refused() {
    assert_eq!(refused(vdi(4)), "a VDI that is a snapshot of another is not supported");
    assert_eq!(refused(vdi(3)), "type 3 of VDI is not supported");
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = vdi(1);
        write(&mut file, at, bytes);
        file
    };
    assert!(refused(changed(0x1b8, &[1])).contains("snapshot of another"));
    assert!(refused(changed(68, &[1, 0, 0, 0])).contains("version 0.1"));
    for (at, bytes) in
        [(0x178, [0; 4]), (0x178, [1, 16, 0, 0]), (0x180, [3, 0, 0, 0]), (0x180, [255; 4]), (0x154, [255; 4])]
    {
        assert!(matches!(opened(changed(at, &bytes)), Err(Error::Damaged { .. })), "{at:#x} {bytes:?}");
    }
    assert!(opened(changed(0x170, &[255; 8])).is_err());
    assert!(opened(vdi(1)[..300].to_vec()).is_err());
    // Blocks and data that lie outside of the file.
    for (at, bytes) in [(VDI_TABLE_AT, [3, 0, 0, 0]), (VDI_TABLE_AT, [253, 255, 255, 255]), (0x158, [255; 4])] {
        let container = opened(changed(at, &bytes)).unwrap();
        assert!(matches!(content(&container), Err(Error::Damaged { .. })), "{at:#x} {bytes:?}");
    }
}

#[test]
fn containers_that_are_not_read_are_named() {
    let begun = |mark: &[u8]| refused([mark, &[0; 5000]].concat());
    assert_eq!(begun(b"QED\0"), "a QED disk image is not supported");
    assert!(begun(b"WithouFreSpacExt").contains("Parallels"));
    assert!(begun(b"\x3a\xff\x26\xed").contains("Android"));
    assert_eq!(begun(b"\xfd7zXZ\0"), "an image that is compressed by xz is not supported");
    assert!(begun(b"\x1f\x8b\x08\0").contains("gzip"));
    let dmg = [&[7; 5000][..], b"koly\0\0\0\x04", &[0; 504]].concat();
    assert!(refused(dmg).contains("Apple disk image"));
}

/// A sparse VMDK of two grains of 4096 bytes: the first is there, the second is zeros.
fn vmdk_extent() -> Vec<u8> {
    let mut file = vec![0; 512 + 512 + 512 + 4096];
    write(&mut file, 0, b"KDMV\x01\0\0\0\x03\0\0\0");
    for (at, number) in [(12, 16u64), (20, 8), (56, 1), (64, 3)] {
        write(&mut file, at, &number.to_le_bytes());
    }
    write(&mut file, 44, &512u32.to_le_bytes());
    write(&mut file, 73, b"\n \r\n");
    file[512] = 2;
    file[1024] = 3;
    file[1536..].fill(5);
    file
}

#[test]
fn extents_lie_in_files_side_by_side() {
    let text = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\n\
        RW 2 FLAT \"flat\" 1\nRW 1 ZERO\nRW 16 SPARSE \"sparse\"\nRW 1 FLAT \"flat\" 0\n";
    let neighbour = |name: &str| -> Result<Source> {
        match name {
            "flat" => Ok(Arc::new([vec![1; 512], vec![2; 512], vec![3; 512]].concat())),
            "sparse" => Ok(Arc::new(vmdk_extent())),
            _ => Err(Error::NotFound),
        }
    };
    let container = open(Arc::new(text.as_bytes().to_vec()), &neighbour).unwrap().unwrap();
    let firsts: Vec<u8> = content(&container).unwrap().chunks(512).map(|sector| sector[3]).collect();
    assert_eq!(firsts, [&[2, 3, 0][..], &[5; 8], &[0; 8], &[1]].concat());
    let names: Vec<_> = container.neighbours.iter().map(|n| (n.name.as_str(), n.start)).collect();
    let start = text.len() as u64;
    assert_eq!(names, [("flat", start), ("sparse", start + 1536)]);
}

#[test]
fn an_extent_alone_is_no_disk() {
    assert!(refused(vmdk_extent()).contains("without its descriptor"));
    assert!(refused([b"COWD".to_vec(), vec![0; 600]].concat()).contains("COWD"));
}
