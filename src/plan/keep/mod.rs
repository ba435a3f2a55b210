//! Which snapshots stay when old ones go, and why each does.
//!
//! A policy is a list of rules, each of them looks at all snapshots of a group and says which it keeps; what no rule
//! keeps may go. So one more rule never makes a snapshot go. Days, weeks, months and years begin as the calendar of the
//! given time zone says; weeks on Monday (ISO 8601). Of each period the newest snapshot stays.
//!
//! Clocks are wrong now and then: snapshots of the future stay and use up no place, and ages are counted from the
//! newest snapshot that is not of the future. So neither a machine that is years ahead nor a machine that was switched
//! off for years makes others' snapshots go.
//!
//! Never removes anything, and knows no snapshot but by time and tags.

use crate::meta::Time;
use jiff::Span;
use jiff::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// Of what one snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Every {
    /// Each snapshot counts.
    Snapshot,
    /// Of each hour. The hour that comes twice when summer ends counts as two.
    Hour,
    /// Of each day.
    Day,
    /// Of each week, which begins on Monday.
    Week,
    /// Of each month.
    Month,
    /// Of each year.
    Year,
}

impl Every {
    /// Something that differs between periods: `at` is the place of the snapshot among all.
    fn period(self, time: &Zoned, at: usize) -> [i64; 4] {
        let (year, day) = (i64::from(time.year()), i64::from(time.day_of_year()));
        match self {
            Every::Snapshot => [at as i64, 0, 0, 0],
            Every::Hour => [year, day, i64::from(time.hour()), i64::from(time.offset().seconds())],
            Every::Day => [year, day, 0, 0],
            Every::Week => {
                let week = time.date().iso_week_date();
                [i64::from(week.year()), i64::from(week.week()), 0, 0]
            }
            Every::Month => [year, i64::from(time.month()), 0, 0],
            Every::Year => [year, 0, 0, 0],
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Every::Snapshot => "last",
            Every::Hour => "hourly",
            Every::Day => "daily",
            Every::Week => "weekly",
            Every::Month => "monthly",
            Every::Year => "yearly",
        })
    }
}

/// How far back a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many periods that have snapshots. If there are fewer, the oldest snapshot of all stays too: it will be needed
    /// when the older periods have filled up.
    Count(u32),
    /// The time before the newest snapshot.
    Within(Age),
}

/// One rule: the newest snapshot of every period, so far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Of what one is kept.
    pub every: Every,
    /// How far back.
    pub limit: Limit,
}

/// What is to stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Rules of time.
    pub rules: Vec<Rule>,
    /// Snapshots with one of these tags stay.
    pub tags: Vec<String>,
}

impl Policy {
    /// True if nothing is said at all: then nothing may be removed either.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.tags.is_empty()
    }
}

/// What a policy wants to know of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// When it was taken.
    pub time: Time,
    /// Its tags.
    pub tags: &'a [String],
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A rule of time.
    Rule(Rule),
    /// It is the oldest, and the rule has places left.
    Oldest(Every),
    /// It has this tag.
    Tag(String),
    /// By the clock that is asked it was not taken yet.
    Future,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Rule(Rule { every, limit: Limit::Count(_) }) => write!(f, "{every}"),
            Reason::Rule(Rule { every: Every::Snapshot, limit: Limit::Within(age) }) => write!(f, "within {age}"),
            Reason::Rule(Rule { every, limit: Limit::Within(age) }) => write!(f, "{every} within {age}"),
            Reason::Oldest(every) => write!(f, "{every} (oldest)"),
            Reason::Tag(tag) => write!(f, "tag {tag}"),
            Reason::Future => f.write_str("in the future"),
        }
    }
}

/// Why each snapshot stays; for those that may go, an empty list. In the order of `items`, which may be any: of two
/// with the same time, the later one counts as newer.
pub fn decide(items: &[Item<'_>], policy: &Policy, now: Time, zone: &TimeZone) -> Vec<Vec<Reason>> {
    let mut stays = vec![Vec::new(); items.len()];
    let mut newest_first: Vec<usize> = (0..items.len()).collect();
    newest_first.sort_by_key(|&at| Reverse((items[at].time, at)));
    newest_first.retain(|&at| items[at].time <= now);
    let times: Vec<Zoned> = newest_first.iter().map(|&at| local(items[at].time, zone)).collect();
    for &rule in &policy.rules {
        for (place, reason) in kept(rule, &times) {
            stays[newest_first[place]].push(reason);
        }
    }
    for (item, reasons) in items.iter().zip(&mut stays) {
        let tags = policy.tags.iter().filter(|tag| item.tags.contains(tag));
        reasons.extend(tags.map(|tag| Reason::Tag(tag.clone())));
        if item.time > now {
            reasons.push(Reason::Future);
        }
    }
    stays
}

/// The places that a rule keeps of these times, newest first.
fn kept(rule: Rule, times: &[Zoned]) -> Vec<(usize, Reason)> {
    let (count_max, begin) = match rule.limit {
        Limit::Count(count) => (count as usize, None),
        Limit::Within(age) => (usize::MAX, times.first().and_then(|newest| age.before(newest))),
    };
    let mut found: Vec<(usize, Reason)> = Vec::new();
    let mut last = None;
    for (place, time) in times.iter().enumerate() {
        if found.len() == count_max || begin.as_ref().is_some_and(|begin| time <= begin) {
            break;
        }
        let period = rule.every.period(time, place);
        if last.replace(period) != Some(period) {
            found.push((place, Reason::Rule(rule)));
        } else if place + 1 == times.len() && matches!(rule.limit, Limit::Count(_)) {
            found.push((place, Reason::Oldest(rule.every)));
        }
    }
    found
}

/// On the calendar; what lies beyond it, at its end.
fn local(time: Time, zone: &TimeZone) -> Zoned {
    let end = if time.secs < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    Timestamp::new(time.secs, nanos).unwrap_or(end).to_zoned(zone.clone())
}

/// A length of time on the calendar: `1y6m`, `2w`, `36h`. A month before 31 March is the last of February.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Age {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
    hours: u32,
}

/// A text that is no age.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a length of time: write years, months, weeks, days and hours, as in 1y6m, 2w, 10d or 36h")]
pub struct ParseAgeError {
    /// The text.
    pub text: String,
}

impl Age {
    /// That long before; `None` if that is before all times.
    pub fn before(&self, time: &Zoned) -> Option<Zoned> {
        let span = Span::new().try_years(self.years).ok()?.try_months(self.months).ok()?;
        let span = span.try_weeks(self.weeks).ok()?.try_days(self.days).ok()?.try_hours(self.hours).ok()?;
        time.checked_sub(span).ok()
    }

    fn parts(&self) -> [(u32, char); 5] {
        [(self.years, 'y'), (self.months, 'm'), (self.weeks, 'w'), (self.days, 'd'), (self.hours, 'h')]
    }
}

impl FromStr for Age {
    type Err = ParseAgeError;

    fn from_str(text: &str) -> Result<Age, ParseAgeError> {
        let fault = || ParseAgeError { text: text.to_owned() };
        let mut age = Age::default();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
            let number: u32 = rest[..end].parse().map_err(|_| fault())?;
            let field = match rest.as_bytes()[end] {
                b'y' => &mut age.years,
                b'm' => &mut age.months,
                b'w' => &mut age.weeks,
                b'd' => &mut age.days,
                b'h' => &mut age.hours,
                _ => return Err(fault()),
            };
            if *field != 0 || number == 0 {
                return Err(fault());
            }
            *field = number;
            rest = &rest[end + 1..];
        }
        if age == Age::default() { Err(fault()) } else { Ok(age) }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

#[cfg(test)]
mod tests;
