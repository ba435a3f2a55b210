//! What a server that is asked too much has said: how long to leave it alone, and how often it said so.
//!
//! It holds for the whole store: a server limits the account, not one request.

use crate::store::traffic::Sum;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// No server makes us wait longer than this at a time.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The memory of one store.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    until: Mutex<Option<Instant>>,
    times: Sum,
}

impl Throttle {
    /// The server asked us to slow down, perhaps to stay away for a while.
    pub(crate) fn asked(&self, pause: Option<Duration>) {
        self.times.add(1);
        let Some(pause) = pause else { return };
        let until = Instant::now() + pause.min(PAUSE_MAX);
        let mut known = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(until, |known| known.max(until)));
    }

    /// How often it asked.
    pub(crate) fn times(&self) -> u64 {
        self.times.get()
    }

    /// Waits until the server may be asked again.
    ///
    /// # Errors
    /// At once, with the time that is left, if that is longer than `patience`.
    pub(crate) async fn turn(&self, patience: Duration) -> Result<(), Duration> {
        loop {
            let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(());
            }
            if left > patience {
                return Err(left);
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// Reads a `Retry-After`: seconds, or a date, which is compared with the server's own clock.
pub(crate) fn retry_after(value: &str, server_date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(secs) = value.parse() {
        return Some(Duration::from_secs(secs));
    }
    let secs = unix_secs(value)?.checked_sub(unix_secs(server_date?)?)?;
    Some(Duration::from_secs(u64::try_from(secs).unwrap_or(0)))
}

/// Seconds since 1970 of a date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn unix_secs(date: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, rest) = date.trim().split_once(", ")?;
    let words: Vec<&str> = rest.split([' ', ':']).collect();
    let [day, month, year, hour, minute, second, "GMT"] = words[..] else { return None };
    let month = i64::try_from(MONTHS.find(month)? / 3).ok()? + 1;
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| (0..10_000).contains(n));
    let (day, year) = (number(day)?, number(year)?);
    // Years that begin in March end with the leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + number(hour)?) * 60 + number(minute)?) * 60 + number(second)?)
}

#[cfg(test)]
mod tests {
    use crate::store::throttle::PAUSE_MAX;
    use crate::store::throttle::Throttle;
    use crate::store::throttle::retry_after;
    use crate::store::throttle::unix_secs;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn dates_of_servers() {
        assert_eq!(unix_secs("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_secs("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_secs("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        for bad in ["", "yesterday", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(unix_secs(bad), None, "{bad}");
        }
        let now = Some("Sun, 06 Nov 1994 08:49:00 GMT");
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(37)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:48:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", None), None);
        assert_eq!(retry_after("soon", now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn all_wait_as_long_as_was_asked() {
        let throttle = Throttle::default();
        let (began, long) = (Instant::now(), Duration::from_secs(1000));
        throttle.asked(None);
        assert_eq!(throttle.turn(Duration::ZERO).await, Ok(()));
        throttle.asked(Some(Duration::from_secs(20)));
        throttle.asked(Some(Duration::from_secs(5)));
        assert!(throttle.turn(Duration::from_secs(10)).await.is_err());
        assert_eq!(throttle.turn(long).await, Ok(()));
        assert_eq!((began.elapsed().as_secs(), throttle.times()), (20, 3));
        throttle.asked(Some(Duration::from_secs(1 << 40)));
        assert_eq!(throttle.turn(long).await, Ok(()));
        assert!(began.elapsed() <= Duration::from_secs(21) + PAUSE_MAX);
    }
}
