//! Dates of the Gregorian calendar as seconds since 1970, for formats that store years, months and days.

use crate::meta::Time;

/// A date and a time of day, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: u32,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
}

/// Days from 1 January of the year 1 to 1 January 1970.
const DAYS_TO_1970: i64 = 719_162;
const MONTH_DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Moment {
    /// The moment `minutes_east` of Greenwich as a point in time. `None` if there is no such date or time of day.
    pub(crate) fn time(&self, minutes_east: i32, nanos: u32) -> Option<Time> {
        let Moment { year, month, day, hour, minute, second } = *self;
        if !(1..=9999).contains(&year) || hour > 23 || minute > 59 || second > 59 || nanos > 999_999_999 {
            return None;
        }
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = usize::try_from(month.checked_sub(1)?).ok()?;
        let length = *MONTH_DAYS.get(before)? + u32::from(is_leap && month == 2);
        if day == 0 || day > length {
            return None;
        }
        let past = i64::from(year - 1);
        let of_months: u32 = MONTH_DAYS.iter().take(before).sum::<u32>() + u32::from(is_leap && month > 2);
        let days = past * 365 + past / 4 - past / 100 + past / 400 + i64::from(of_months + day - 1) - DAYS_TO_1970;
        let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        Some(Time { secs: days * 86_400 + seconds - i64::from(minutes_east) * 60, nanos })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn moment(year: u32, month: u32, day: u32) -> Moment {
        Moment { year, month, day, hour: 12, minute: 34, second: 56 }
    }

    #[test]
    fn dates_on_both_sides_of_1970() {
        // date -u -d '2107-12-31 12:34:56' +%s, and so on
        for (date, secs) in [
            ((2107, 12, 31), 4_354_778_096),
            ((2000, 2, 29), 951_827_696),
            ((1970, 1, 1), 45_296),
            ((1969, 12, 31), -41_104),
            ((1900, 3, 1), -2_203_845_904),
        ] {
            assert_eq!(moment(date.0, date.1, date.2).time(0, 0).unwrap().secs, secs, "{date:?}");
        }
        assert_eq!(moment(1970, 1, 1).time(-90, 5).unwrap(), Time { secs: 45_296 + 5400, nanos: 5 });
    }

    #[test]
    fn there_is_no_such_date() {
        for (year, month, day) in [(1981, 2, 29), (2100, 2, 29), (1980, 0, 1), (1980, 13, 1), (1980, 1, 0), (0, 1, 1)] {
            assert_eq!(moment(year, month, day).time(0, 0), None, "{year}-{month}-{day}");
        }
        assert_eq!(Moment { hour: 24, ..moment(1980, 1, 1) }.time(0, 0), None);
        assert_eq!(moment(u32::MAX, u32::MAX, u32::MAX).time(i32::MIN, 0), None);
    }
}
