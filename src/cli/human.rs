//! Numbers, sizes, times and modes as people read and type them.

use crate::meta::Kind;
use crate::meta::Time;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size with a unit: `512 B`, `1.3 GiB`, `262 MiB`.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut value = bytes as f64;
    // 1023.95 would be shown as 1024.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// A number with commas between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub(super) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `12 files in 3 folders`: so many nodes, so many of them folders.
pub(super) fn files_in_folders(nodes: u64, folders: u64) -> String {
    let files = plural(nodes.saturating_sub(folders), "file", "files");
    format!("{files} in {}", plural(folders, "folder", "folders"))
}

/// How long something took: `0.4 s`, `12 s`, `2 min 5 s`, `1 h 3 min`.
pub(super) fn duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{secs} s"),
        60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
    }
}

/// A moment in this machine's time zone, to the second.
pub(super) fn time(time: Time) -> String {
    time_in(time, TimeZone::system(), "%Y-%m-%d %H:%M:%S")
}

/// A moment for the name of a drive: no colon, for file managers.
pub(super) fn time_for_name(time: Time) -> String {
    time_in(time, TimeZone::system(), "%-d %b %Y %H.%M")
}

fn time_in(time: Time, zone: TimeZone, format: &str) -> String {
    match Timestamp::new(time.secs, i32::try_from(time.nanos).unwrap_or(0)) {
        Ok(timestamp) => timestamp.to_zoned(zone).strftime(format).to_string(),
        Err(_) => format!("@{}", time.secs),
    }
}

/// This moment.
pub(super) fn now() -> Time {
    let now = Timestamp::now();
    let (secs, nanos) = (now.as_second(), now.subsec_nanosecond());
    match u32::try_from(nanos) {
        Ok(nanos) => Time { secs, nanos },
        Err(_) => Time { secs: secs - 1, nanos: (nanos + 1_000_000_000).unsigned_abs() },
    }
}

/// `-rw-r--r--` and the like.
pub(super) fn mode(kind: &Kind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        Kind::File => '-',
        Kind::Folder => 'd',
        Kind::Symlink(_) => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice { .. } => 'c',
        Kind::BlockDevice { .. } => 'b',
    });
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Text as one word of a shell command.
pub(super) fn shell(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Reads a size: `4096`, `64K`, `1.5GiB`. K and KiB are 1024 bytes, kB is 1000.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let fault = || format!("'{text}' is not a size: write a number of bytes, or 64K, 1.5G, 10MiB, 10MB");
    let text_of_number = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.trim()[text_of_number.len()..].to_ascii_lowercase();
    let number = text_of_number.trim_end();
    let power = match unit.chars().next() {
        None => 0,
        Some('b') if unit.len() == 1 => 0,
        Some(letter) => "kmgtpe".find(letter).ok_or_else(fault)? as u32 + 1,
    };
    let base: u64 = match unit.get(1..).unwrap_or_default() {
        "" | "ib" => 1024,
        "b" => 1000,
        _ => return Err(fault()),
    };
    let factor = base.pow(power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(fault);
    }
    let is_decimal = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = number.parse::<f64>().ok().filter(|_| is_decimal).ok_or_else(fault)? * factor as f64;
    if value < u64::MAX as f64 { Ok(value.round() as u64) } else { Err(fault()) }
}

/// Reads a duration: `90` (seconds), `5m`, `1h30m`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("'{text}' is not a duration: write seconds, or 30s, 5m, 1h");
    if let Ok(secs) = text.parse() {
        return Ok(Duration::from_secs(secs));
    }
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| fault())?;
    Duration::try_from(parsed).map_err(|_| fault())
}

/// Reads a moment: a day or a time of this machine's time zone (`2026-03-31`, `2026-03-31 14:00`), or how long ago
/// (`7d`, `2w`, `3h`).
pub(super) fn parse_moment(text: &str) -> Result<Time, String> {
    let fault =
        || format!("'{text}' is not a moment: write 2026-03-31, '2026-03-31 14:00', or 7d, 2w, 3h for how long ago");
    moment(text, &Timestamp::now().to_zoned(TimeZone::system())).ok_or_else(fault)
}

fn moment(text: &str, now: &jiff::Zoned) -> Option<Time> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(Time { secs: timestamp.as_second(), nanos: 0 });
    }
    let zoned = match text.parse::<jiff::civil::DateTime>() {
        Ok(civil) => civil.to_zoned(now.time_zone().clone()).ok()?,
        Err(_) => {
            let ago: jiff::Span = text.parse().ok()?;
            now.checked_sub(ago.abs()).ok()?
        }
    };
    Some(Time { secs: zoned.timestamp().as_second(), nanos: 0 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_with_two_or_three_digits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10 << 10, "10 KiB"),
            (262 << 20, "262 MiB"),
            ((1 << 30) * 13 / 10, "1.3 GiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("64K", 64 << 10),
            ("64kib", 64 << 10),
            ("64kB", 64_000),
            ("1.5G", 3 << 29),
            ("10 MiB", 10 << 20),
            ("16383P", 16383 << 50),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "K", "x", "1X", "1KiX", "-1", "1e3", "inf", "nan", "99999999E", "1.2.3", "1bb", "0x10"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_and_durations() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(78_579), "78,579");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(plural(1, "file", "files"), "1 file");
        for (millis, shown) in [(400, "0.4 s"), (12_900, "12 s"), (125_000, "2 min 5 s"), (3_780_000, "1 h 3 min")] {
            assert_eq!(duration(Duration::from_millis(millis)), shown);
        }
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "x", "-5", "-5m", "5x"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_local() {
        let zone = || TimeZone::get("Europe/Berlin").unwrap();
        let format = "%Y-%m-%d %H:%M:%S";
        let summer = Time { secs: 1_784_000_000, nanos: 0 };
        assert_eq!(time_in(summer, zone(), format), "2026-07-14 05:33:20");
        assert_eq!(time_in(summer, TimeZone::UTC, format), "2026-07-14 03:33:20");
        let old = Time { secs: -1, nanos: 999_999_999 };
        assert_eq!(time_in(old, TimeZone::UTC, format), "1969-12-31 23:59:59");
        assert_eq!(time_in(Time { secs: i64::MAX, nanos: 0 }, zone(), format), "@9223372036854775807");
    }

    #[test]
    fn moments_are_read() {
        let now = Timestamp::new(1_784_000_000, 0).unwrap().to_zoned(TimeZone::UTC);
        let secs = |text: &str| moment(text, &now).map(|time| time.secs);
        assert_eq!(secs("1970-01-02"), Some(86_400));
        assert_eq!(secs("1970-01-02 01:00"), Some(90_000));
        assert_eq!(secs("1970-01-02T01:00:01"), Some(90_001));
        assert_eq!(secs("7d"), Some(1_784_000_000 - 7 * 86_400));
        assert_eq!(secs("2w"), Some(1_784_000_000 - 14 * 86_400));
        assert_eq!(secs("3h"), Some(1_784_000_000 - 3 * 3600));
        for bad in ["", "7", "x", "yesterday", "2026-13-01"] {
            assert_eq!(secs(bad), None, "{bad}");
        }
    }

    #[test]
    fn words_of_a_shell() {
        assert_eq!(shell("/srv/backup"), "/srv/backup");
        assert_eq!(shell("/my disk/it's"), r"'/my disk/it'\''s'");
        assert_eq!(shell(""), "''");
    }

    #[test]
    fn modes() {
        assert_eq!(mode(&Kind::File, 0o644), "-rw-r--r--");
        assert_eq!(mode(&Kind::Folder, 0o1777), "drwxrwxrwt");
        assert_eq!(mode(&Kind::File, 0o6750), "-rwsr-s---");
        assert_eq!(mode(&Kind::File, 0o7644), "-rwSr-Sr-T");
        assert_eq!(mode(&Kind::Symlink(vec![]), 0o777), "lrwxrwxrwx");
    }
}
