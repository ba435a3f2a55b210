//! Extended attributes of OS/2, in which WSL keeps mode, owner and device of a file.
//!
//! Layout: [MS-FSCC] 2.4.16 (FILE_FULL_EA_INFORMATION); the names `$LX…` are told in Microsoft's page "File Permissions
//! for WSL".

use crate::disk::Fields;
use crate::disk::Result;

/// NTFS allows no more.
pub(super) const EA_BYTES_MAX: u64 = 64 << 10;

/// What WSL knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wsl {
    /// With the kind of the file.
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) device: Option<(u32, u32)>,
}

/// What the entries in these bytes say.
pub(super) fn parse(bytes: &[u8]) -> Result<Wsl> {
    let fields = Fields::new(bytes, "NTFS extended attributes", 0);
    let (mut wsl, mut at) = (Wsl::default(), 0usize);
    while at < fields.len() {
        let step = fields.u32(at)? as usize;
        let name_len = usize::from(fields.u8(at + 5)?);
        let name = fields.bytes(at + 8, name_len)?;
        // A zero byte ends the name.
        let value = fields.part(at + 8 + name_len + 1, usize::from(fields.u16(at + 6)?), "NTFS extended attribute")?;
        match name {
            b"$LXMOD" => wsl.mode = Some(value.u32(0)?),
            b"$LXUID" => wsl.uid = Some(value.u32(0)?),
            b"$LXGID" => wsl.gid = Some(value.u32(0)?),
            b"$LXDEV" => wsl.device = Some((value.u32(0)?, value.u32(4)?)),
            _ => {}
        }
        match step {
            0 => break,
            step if step < 8 => return Err(fields.damaged("an entry has an impossible length")),
            step => at = at.saturating_add(step),
        }
    }
    Ok(wsl)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(step: u32, name: &str, value: &[u8]) -> Vec<u8> {
        let mut bytes = step.to_le_bytes().to_vec();
        bytes.extend([0, name.len() as u8, value.len() as u8, 0]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().max(step as usize), 0);
        bytes
    }

    #[test]
    fn what_wsl_keeps() {
        let mut bytes = entry(20, "$LXMOD", &[0xa4, 0x21, 0, 0]);
        bytes.extend(entry(20, "OTHER", &[1]));
        bytes.extend(entry(0, "$LXDEV", &[8, 0, 0, 0, 1, 0, 0, 0]));
        let wsl = Wsl { mode: Some(0o20644), device: Some((8, 1)), ..Wsl::default() };
        assert_eq!(parse(&bytes).unwrap(), wsl);
        assert_eq!(parse(&[]).unwrap(), Wsl::default());
    }

    #[test]
    fn entries_that_cannot_be() {
        for bytes in [entry(20, "$LXMOD", &[1]), entry(4, "A", &[1]), vec![0; 5]] {
            assert!(parse(&bytes).is_err(), "{bytes:x?}");
        }
    }
}
