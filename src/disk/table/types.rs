//! Types of partitions, as people call them.
//!
//! Sources: UEFI Specification 2.10 section 5.3.3, the Discoverable Partitions Specification, Microsoft's list for
//! `PARTITION_INFORMATION_GPT`, and the codes of MBR partitions that fdisk knows.

use crate::disk::guid::Guid;

/// Name of a type of GPT partition; empty if it is not known.
pub(super) fn of_gpt(id: &Guid) -> &'static str {
    GPT.iter().find(|(known, _)| known == id).map_or("", |(_, name)| name)
}

/// Name of a type of MBR partition; empty if it is not known.
pub(super) fn of_mbr(id: u8) -> &'static str {
    MBR.iter().find(|(known, _)| *known == id).map_or("", |(_, name)| name)
}

const GPT: &[(Guid, &str)] = &[
    (Guid::new(0xc12a7328, 0xf81f, 0x11d2, 0xba4b, 0x00a0c93ec93b), "EFI system"),
    (Guid::new(0x024dee41, 0x33e7, 0x11d3, 0x9d69, 0x0008c781f39f), "MBR partition scheme"),
    (Guid::new(0x21686148, 0x6449, 0x6e6f, 0x744e, 0x656564454649), "BIOS boot"),
    (Guid::new(0xe3c9e316, 0x0b5c, 0x4db8, 0x817d, 0xf92df00215ae), "Microsoft reserved"),
    (Guid::new(0xebd0a0a2, 0xb9e5, 0x4433, 0x87c0, 0x68b6b72699c7), "Microsoft basic data"),
    (Guid::new(0xde94bba4, 0x06d1, 0x4d40, 0xa16a, 0xbfd50179d6ac), "Windows recovery"),
    (Guid::new(0x5808c8aa, 0x7e8f, 0x42e0, 0x85d2, 0xe1e90434cfb3), "Microsoft LDM metadata"),
    (Guid::new(0xaf9b60a0, 0x1431, 0x4f62, 0xbc68, 0x3311714a69ad), "Microsoft LDM data"),
    (Guid::new(0xe75caf8f, 0xf680, 0x4cee, 0xafa3, 0xb001e56efc2d), "Microsoft storage spaces"),
    (Guid::new(0x0fc63daf, 0x8483, 0x4772, 0x8e79, 0x3d69d8477de4), "Linux filesystem"),
    (Guid::new(0x0657fd6d, 0xa4ab, 0x43c4, 0x84e5, 0x0933c84b4f4f), "Linux swap"),
    (Guid::new(0xe6d6d379, 0xf507, 0x44c2, 0xa23c, 0x238f2a3df928), "Linux LVM"),
    (Guid::new(0xa19d880f, 0x05fc, 0x4d3b, 0xa006, 0x743f0f84911e), "Linux RAID"),
    (Guid::new(0xca7d7ccb, 0x63ed, 0x4c53, 0x861c, 0x1742536059cc), "Linux LUKS"),
    (Guid::new(0x933ac7e1, 0x2eb4, 0x4f13, 0xb844, 0x0e14e2aef915), "Linux home"),
    (Guid::new(0x3b8f8425, 0x20e0, 0x4f3b, 0x907f, 0x1a25a76f98e8), "Linux server data"),
    (Guid::new(0x4d21b016, 0xb534, 0x45c2, 0xa9fb, 0x5c16e091fd2d), "Linux variable data"),
    (Guid::new(0x7ec6f557, 0x3bc5, 0x4aca, 0xb293, 0x16ef5df639d1), "Linux temporary data"),
    (Guid::new(0xbc13c2ff, 0x59e6, 0x4262, 0xa352, 0xb275fd6f7172), "Linux extended boot"),
    (Guid::new(0x8da63339, 0x0007, 0x60c0, 0xc436, 0x083ac8230908), "Linux reserved"),
    (Guid::new(0x4f68bce3, 0xe8cd, 0x4db1, 0x96e7, 0xfbcaf984b709), "Linux root (x86-64)"),
    (Guid::new(0x44479540, 0xf297, 0x41b2, 0x9af7, 0xd131d5f0458a), "Linux root (x86)"),
    (Guid::new(0xb921b045, 0x1df0, 0x41c3, 0xaf44, 0x4c6f280d3fae), "Linux root (ARM-64)"),
    (Guid::new(0x69dad710, 0x2ce4, 0x4e3c, 0xb16c, 0x21a1d49abed3), "Linux root (ARM)"),
    (Guid::new(0x72ec70a6, 0xcf74, 0x40e6, 0xbd49, 0x4bda08e8f224), "Linux root (RISC-V-64)"),
    (Guid::new(0x8484680c, 0x9521, 0x48c6, 0x9c11, 0xb0720656f69e), "Linux usr (x86-64)"),
    (Guid::new(0x48465300, 0x0000, 0x11aa, 0xaa11, 0x00306543ecac), "Apple HFS+"),
    (Guid::new(0x7c3457ef, 0x0000, 0x11aa, 0xaa11, 0x00306543ecac), "Apple APFS"),
    (Guid::new(0x426f6f74, 0x0000, 0x11aa, 0xaa11, 0x00306543ecac), "Apple boot"),
    (Guid::new(0x53746f72, 0x6167, 0x11aa, 0xaa11, 0x00306543ecac), "Apple Core Storage"),
    (Guid::new(0x6a898cc3, 0x1dd2, 0x11b2, 0x99a6, 0x080020736631), "ZFS"),
    (Guid::new(0x6a945a3b, 0x1dd2, 0x11b2, 0x99a6, 0x080020736631), "Solaris reserved"),
    (Guid::new(0x83bd6b9d, 0x7f41, 0x11dc, 0xbe0b, 0x001560b84f0f), "FreeBSD boot"),
    (Guid::new(0x516e7cb4, 0x6ecf, 0x11d6, 0x8ff8, 0x00022d09712b), "FreeBSD data"),
    (Guid::new(0x516e7cb5, 0x6ecf, 0x11d6, 0x8ff8, 0x00022d09712b), "FreeBSD swap"),
    (Guid::new(0x516e7cb6, 0x6ecf, 0x11d6, 0x8ff8, 0x00022d09712b), "FreeBSD UFS"),
    (Guid::new(0x516e7cba, 0x6ecf, 0x11d6, 0x8ff8, 0x00022d09712b), "FreeBSD ZFS"),
    (Guid::new(0xaa31e02a, 0x400f, 0x11db, 0x9590, 0x000c2911d1b8), "VMware VMFS"),
    (Guid::new(0x9d275380, 0x40ad, 0x11db, 0xbf97, 0x000c2911d1b8), "VMware diagnostics"),
    (Guid::new(0xfe3a2a5d, 0x4f32, 0x41a7, 0xb725, 0xaccc3285a309), "ChromeOS kernel"),
    (Guid::new(0x3cb8e202, 0x3b7e, 0x47dd, 0x8a3c, 0x7ff2a13cfcec), "ChromeOS root"),
    (Guid::new(0x9e1a2d38, 0xc612, 0x4316, 0xaa26, 0x8b49521e5a8b), "PowerPC PReP boot"),
];

const MBR: &[(u8, &str)] = &[
    (0x01, "FAT12"),
    (0x04, "FAT16"),
    (0x05, "Extended"),
    (0x06, "FAT16"),
    (0x07, "NTFS or exFAT"),
    (0x0b, "FAT32"),
    (0x0c, "FAT32"),
    (0x0e, "FAT16"),
    (0x0f, "Extended"),
    (0x11, "Hidden FAT12"),
    (0x14, "Hidden FAT16"),
    (0x16, "Hidden FAT16"),
    (0x17, "Hidden NTFS"),
    (0x1b, "Hidden FAT32"),
    (0x1c, "Hidden FAT32"),
    (0x1e, "Hidden FAT16"),
    (0x27, "Windows recovery"),
    (0x41, "PowerPC PReP boot"),
    (0x42, "Microsoft LDM data"),
    (0x82, "Linux swap"),
    (0x83, "Linux"),
    (0x84, "Hibernation"),
    (0x85, "Extended"),
    (0x8e, "Linux LVM"),
    (0xa5, "FreeBSD"),
    (0xa6, "OpenBSD"),
    (0xa8, "Apple UFS"),
    (0xa9, "NetBSD"),
    (0xab, "Apple boot"),
    (0xaf, "Apple HFS+"),
    (0xbe, "Solaris boot"),
    (0xbf, "Solaris"),
    (0xda, "Data"),
    (0xea, "Linux extended boot"),
    (0xee, "GPT"),
    (0xef, "EFI system"),
    (0xfb, "VMware VMFS"),
    (0xfc, "VMware swap"),
    (0xfd, "Linux RAID"),
];
