//! Dates and times of day in 16 bits each: 1980 to 2107, in steps of two seconds. (Microsoft FAT32 File System
//! Specification 1.03, "Date and Time Formats".)

use crate::disk::fs::calendar::Moment;
use crate::meta::Time;

/// The time of a `date` and a `time` of day, and so many hundredths of a second later (0 to 199), at a place
/// `minutes_east` of Greenwich. `None` if nothing was written or there is no such moment.
pub(crate) fn dos_time(date: u16, time: u16, hundredths: u8, minutes_east: i32) -> Option<Time> {
    let (date, time, hundredths) = (u32::from(date), u32::from(time), u32::from(hundredths));
    let moment = Moment {
        year: 1980 + (date >> 9),
        month: date >> 5 & 0xF,
        day: date & 0x1F,
        hour: time >> 11,
        minute: time >> 5 & 0x3F,
        second: (time & 0x1F) * 2 + hundredths / 100,
    };
    moment.time(minutes_east, hundredths % 100 * 10_000_000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_moment() {
        assert_eq!(dos_time(0x0021, 0, 0, 0).unwrap(), Time { secs: 315_532_800, nanos: 0 });
        let last = dos_time(0xFF9F, 0xBF7D, 199, 0).unwrap();
        assert_eq!(last, Time { secs: 4_354_819_199, nanos: 990_000_000 });
        assert_eq!(dos_time(0x0021, 0, 0, 120).unwrap().secs, 315_532_800 - 7200);
    }

    #[test]
    fn nothing_was_written() {
        assert_eq!(dos_time(0, 0, 0, 0), None);
        assert_eq!(dos_time(0x0021, 0xFFFF, 0, 0), None);
    }
}
