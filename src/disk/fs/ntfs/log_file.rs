//! The restart pages of `$LogFile`: whether changes wait there to be made.
//!
//! Layout: Linux-NTFS documentation, file "$LogFile".

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::fixup;

/// Both restart pages of Windows.
pub(super) const RESTART_BYTES: u64 = 8 << 10;
const PAGE_BYTES: usize = 4 << 10;

const NO_CLIENT: u16 = 0xffff;
const FLAG_CLEAN: u16 = 2;

/// True if the log with these restart pages was closed, or never used.
pub(super) fn is_clean(pages: &[u8]) -> Result<bool> {
    if pages.iter().all(|byte| *byte == 0xff) {
        return Ok(true);
    }
    let mut newest = None;
    for page in pages.chunks_exact(PAGE_BYTES) {
        // The second page may be unwritten, and a torn one is not the newest.
        let Ok(state) = restart(page) else { continue };
        newest = newest.max(Some(state));
    }
    Ok(newest.is_some_and(|(_, is_clean)| is_clean))
}

/// The number of the last record, and whether the log was closed.
fn restart(page: &[u8]) -> Result<(u64, bool)> {
    const WHAT: &str = "NTFS restart page";
    let fields = Fields::new(page, WHAT, 0);
    if fields.bytes(0, 4)? != b"RSTR" {
        return Err(fields.damaged("it has no signature"));
    }
    let area = usize::from(fields.u16(0x18)?);
    if fields.u32(0x10)? as usize != PAGE_BYTES {
        return Err(fields.damaged("it has an unusual size"));
    }
    let mut page = page.to_vec();
    fixup::undo(&mut page, WHAT, 0)?;
    let fields = Fields::new(&page, WHAT, 0);
    let is_clean = fields.u16(area + 0xc)? == NO_CLIENT || fields.u16(area + 0xe)? & FLAG_CLEAN != 0;
    Ok((fields.u64(area)?, is_clean))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn page(last: u8, client: u16, flags: u8) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        page[..4].copy_from_slice(b"RSTR");
        (page[4], page[6], page[0x11], page[0x18]) = (0x1e, 9, 0x10, 0x30);
        page[0x30] = last;
        page[0x3c..0x3e].copy_from_slice(&client.to_le_bytes());
        page[0x3e] = flags;
        page
    }

    #[test]
    fn the_newest_page_tells() {
        let (closed, open) = (page(5, NO_CLIENT, 0), page(6, 0, 0));
        assert!(is_clean(&closed.repeat(2)).unwrap());
        assert!(!is_clean(&[closed.clone(), open.clone()].concat()).unwrap());
        assert!(is_clean(&[page(7, 0, 2), open].concat()).unwrap());
        assert!(is_clean(&[0xff; 8192]).unwrap());
        assert!(!is_clean(&[0; 8192]).unwrap());
        assert!(is_clean(&[closed, vec![0; PAGE_BYTES]].concat()).unwrap());
    }
}
