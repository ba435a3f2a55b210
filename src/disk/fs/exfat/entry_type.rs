//! The first byte of an entry: what it is. (exFAT file system specification, 6.2.1.)

/// No entry follows.
pub(crate) const END: u8 = 0;
/// Allocation bitmap.
pub(crate) const BITMAP: u8 = 0x81;
/// Up-case table. Names are told as they are written, so it is not needed.
const UP_CASE: u8 = 0x82;
/// Volume label.
pub(crate) const LABEL: u8 = 0x83;
/// File or folder.
pub(crate) const FILE: u8 = 0x85;
/// Stream extension.
pub(crate) const STREAM: u8 = 0xC0;
/// Part of a name.
pub(crate) const NAME: u8 = 0xC1;

const IN_USE: u8 = 0x80;
const SECONDARY: u8 = 0x40;
const BENIGN: u8 = 0x20;

/// True if the entry belongs to a set and may be left out.
pub(crate) fn is_benign_secondary(kind: u8) -> bool {
    kind & (IN_USE | SECONDARY | BENIGN) == IN_USE | SECONDARY | BENIGN
}

/// True if the entry makes its folder one that only a newer driver understands.
pub(crate) fn is_unknown_critical(kind: u8) -> bool {
    let is_critical = kind & (IN_USE | SECONDARY | BENIGN) == IN_USE;
    is_critical && !matches!(kind, BITMAP | UP_CASE | LABEL | FILE)
}
