//! Dates: seven bytes of numbers, or sixteen digits, and an offset from Greenwich in quarters of an hour. (ECMA-119,
//! 8.4.26.1 and 9.1.5.)

use crate::disk::fs::calendar::Moment;
use crate::meta::Time;

/// Bytes of the short form.
pub(crate) const SHORT_BYTES: usize = 7;
/// Bytes of the long form.
pub(crate) const LONG_BYTES: usize = 17;

/// A date in the short form. `None` if nothing was written or there is no such date.
pub(crate) fn short(raw: &[u8; SHORT_BYTES]) -> Option<Time> {
    let [year, month, day, hour, minute, second, quarters] = raw.map(u32::from);
    let moment = Moment { year: 1900 + year, month, day, hour, minute, second };
    moment.time(minutes_east(quarters as u8), 0)
}

/// A date in the long form. `None` if nothing was written or there is no such date.
pub(crate) fn long(raw: &[u8; LONG_BYTES]) -> Option<Time> {
    let (digits, quarters) = (raw.get(..16)?, raw[16]);
    let number = |at: usize, len: usize| {
        let mut digits = digits.get(at..at + len)?.iter();
        digits.try_fold(0u32, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
    };
    let moment = Moment {
        year: number(0, 4)?,
        month: number(4, 2)?,
        day: number(6, 2)?,
        hour: number(8, 2)?,
        minute: number(10, 2)?,
        second: number(12, 2)?,
    };
    moment.time(minutes_east(quarters), number(14, 2)? * 10_000_000)
}

fn minutes_east(quarters: u8) -> i32 {
    i32::from(quarters.cast_signed()) * 15
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        assert_eq!(short(&[70, 1, 1, 1, 0, 0, 4]).unwrap(), Time { secs: 0, nanos: 0 });
        assert_eq!(short(&[255, 12, 31, 0, 0, 0, 0]).unwrap().secs, 5_869_497_600);
        assert_eq!(short(&[0, 1, 1, 0, 0, 0, 252]).unwrap().secs, -2_208_988_800 + 3600);
        assert_eq!(long(b"1969123123595950\0").unwrap(), Time { secs: -1, nanos: 500_000_000 });
    }

    #[test]
    fn nothing_was_written() {
        assert_eq!(short(&[0; 7]), None);
        assert_eq!(long(b"0000000000000000\0"), None);
        assert_eq!(long(&[0; 17]), None);
    }
}
