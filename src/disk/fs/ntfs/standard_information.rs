//! Times and attribute bits of a file.
//!
//! Layout: Linux-NTFS documentation, attribute "$STANDARD_INFORMATION". Times count 100 ns since 1601.

use crate::disk::Fields;
use crate::disk::Result;
use crate::meta::Time;

/// Part of the system.
pub(super) const ATTRIBUTE_SYSTEM: u32 = 0x4;
/// Not shown.
pub(super) const ATTRIBUTE_HIDDEN: u32 = 0x2;

/// Seconds from 1601 to 1970.
const UNIX_EPOCH_SECS: i64 = 11_644_473_600;
const TICKS_PER_SEC: i64 = 10_000_000;

/// What is known of a file whatever it is.
pub(super) struct StandardInformation {
    pub(super) btime: Time,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
    /// `FILE_ATTRIBUTE_*` bits.
    pub(super) attributes: u32,
}

/// The attribute in these bytes.
pub(super) fn parse(fields: &Fields<'_>) -> Result<StandardInformation> {
    Ok(StandardInformation {
        btime: time(fields.u64(0)?),
        mtime: time(fields.u64(8)?),
        ctime: time(fields.u64(0x10)?),
        attributes: fields.u32(0x20)?,
    })
}

fn time(ticks: u64) -> Time {
    let ticks = ticks as i64;
    let nanos = ticks.rem_euclid(TICKS_PER_SEC) as u32 * 100;
    Time { secs: ticks.div_euclid(TICKS_PER_SEC) - UNIX_EPOCH_SECS, nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(116_444_736_000_000_000), Time { secs: 0, nanos: 0 });
        assert_eq!(time(116_444_735_999_999_999), Time { secs: -1, nanos: 999_999_900 });
        assert_eq!(time(0).secs, -UNIX_EPOCH_SECS);
        assert_eq!(time(u64::MAX).secs, -UNIX_EPOCH_SECS - 1);
    }
}
