//! Policies over calendars that change, clocks that are wrong and snapshots of the same moment.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// As in Berlin, without asking the system: summer from the last Sunday of March to the last one of October.
fn zone() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn at(text: &str) -> Time {
    let time: Timestamp = text.parse().unwrap();
    Time { secs: time.as_second(), nanos: 0 }
}

/// A local time, as `2026-07-14 05:33`.
fn there(text: &str) -> Time {
    let civil: jiff::civil::DateTime = text.parse().unwrap();
    Time { secs: civil.to_zoned(zone()).unwrap().timestamp().as_second(), nanos: 0 }
}

const NOW: &str = "2026-11-22T12:00:00Z";

fn items(times: &[Time]) -> Vec<Item<'static>> {
    times.iter().map(|&time| Item { time, tags: &[] }).collect()
}

fn rule(every: Every, count: u32) -> Rule {
    Rule { every, limit: Limit::Count(count) }
}

fn within(every: Every, age: &str) -> Rule {
    Rule { every, limit: Limit::Within(age.parse().unwrap()) }
}

fn policy(rules: &[Rule]) -> Policy {
    Policy { rules: rules.to_vec(), tags: Vec::new() }
}

/// Why each stays, in words; nothing if it goes.
fn told(times: &[Time], rules: &[Rule]) -> Vec<String> {
    let decided = decide(&items(times), &policy(rules), at(NOW), &zone());
    let words = |reasons: Vec<Reason>| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    decided.into_iter().map(words).collect()
}

#[test]
fn of_each_period_the_newest_stays() {
    let times = ["2026-11-20 09:00", "2026-11-20 23:59", "2026-11-21 00:00", "2026-11-21 18:00", "2026-11-22 08:00"];
    let times = times.map(there);
    assert_eq!(told(&times, &[rule(Every::Day, 3)]), ["", "daily", "", "daily", "daily"]);
    assert_eq!(told(&times, &[rule(Every::Day, 2)]), ["", "", "", "daily", "daily"]);
    // Places are left: the oldest stays for later.
    assert_eq!(told(&times, &[rule(Every::Day, 4)]), ["daily (oldest)", "daily", "", "daily", "daily"]);
    assert_eq!(told(&times, &[rule(Every::Snapshot, 2)]), ["", "", "", "last", "last"]);
    assert_eq!(told(&times, &[rule(Every::Snapshot, 0)]), [""; 5]);
    assert_eq!(told(&times, &[rule(Every::Snapshot, u32::MAX)]), ["last"; 5]);
    let both = [rule(Every::Snapshot, 1), rule(Every::Month, 1)];
    assert_eq!(told(&times, &both), ["", "", "", "", "last, monthly"]);
    assert!(told(&[], &both).is_empty());
}

#[test]
fn weeks_begin_on_monday_and_the_first_may_begin_in_the_old_year() {
    let times = ["2025-12-28 12:00", "2025-12-29 12:00", "2026-01-01 12:00", "2026-01-04 23:59", "2026-01-05 00:00"];
    let times = times.map(there);
    assert_eq!(told(&times, &[rule(Every::Week, 3)]), ["weekly", "", "", "weekly", "weekly"]);
    assert_eq!(told(&times, &[rule(Every::Year, 2)]), ["", "yearly", "", "", "yearly"]);
    assert_eq!(told(&times, &[rule(Every::Month, 2)]), ["", "monthly", "", "", "monthly"]);
}

#[test]
fn days_are_those_of_the_place() {
    // Half past eleven in the evening and half past midnight, which London calls one day.
    let times = [at("2026-07-14T21:30:00Z"), at("2026-07-14T22:30:00Z")];
    assert_eq!(told(&times, &[rule(Every::Day, 2)]), ["daily", "daily"]);
    let utc = decide(&items(&times), &policy(&[rule(Every::Day, 1)]), at(NOW), &TimeZone::UTC);
    assert!(utc[0].is_empty() && !utc[1].is_empty());
}

#[test]
fn summer_comes_and_goes() {
    // Clocks go back at 03:00 local: 02:30 comes twice, an hour apart.
    let times = [at("2025-10-26T00:30:00Z"), at("2025-10-26T01:30:00Z"), at("2025-10-26T02:30:00Z")];
    assert_eq!(told(&times, &[rule(Every::Hour, 3)]), ["hourly"; 3]);
    assert_eq!(told(&times, &[rule(Every::Day, 1)]), ["", "", "daily"]);
    // Two in the second of the hours.
    let times = [at("2025-10-26T01:10:00Z"), at("2025-10-26T01:50:00Z"), at("2025-10-26T02:10:00Z")];
    assert_eq!(told(&times, &[rule(Every::Hour, 2)]), ["", "hourly", "hourly"]);
    // Clocks go forward: the day has 23 hours, and a day before is the same time of day.
    let times = ["2026-03-28 12:00", "2026-03-28 12:01", "2026-03-29 12:00"].map(there);
    assert_eq!(told(&times, &[within(Every::Snapshot, "1d")]), ["", "within 1d", "within 1d"]);
    assert_eq!(told(&times, &[within(Every::Snapshot, "24h")]), ["within 24h"; 3]);
}

#[test]
fn ages_count_from_the_newest() {
    let times = ["2020-01-31 12:00", "2020-02-29 11:00", "2020-02-29 13:00", "2020-03-31 12:00"].map(there);
    // A month before 31 March is 29 February.
    assert_eq!(told(&times, &[within(Every::Snapshot, "1m")]), ["", "", "within 1m", "within 1m"]);
    assert_eq!(
        told(&times, &[within(Every::Day, "1y")]),
        ["daily within 1y", "", "daily within 1y", "daily within 1y"]
    );
    assert_eq!(told(&times, &[within(Every::Snapshot, "4000000000y")]), ["within 4000000000y"; 4]);
    assert_eq!(told(&times[..1], &[within(Every::Snapshot, "1h")]), ["within 1h"]);
}

#[test]
fn clocks_that_are_ahead_cost_nobody_a_snapshot() {
    let times = [there("2026-11-20 12:00"), there("2026-11-21 12:00"), there("2099-01-01 12:00")];
    assert_eq!(told(&times, &[rule(Every::Snapshot, 1)]), ["", "last", "in the future"]);
    assert_eq!(told(&times, &[within(Every::Snapshot, "1d")]), ["", "within 1d", "in the future"]);
    assert_eq!(told(&times[2..], &[rule(Every::Day, 1)]), ["in the future"]);
    // Beyond any calendar, in both directions.
    let times = [Time { secs: i64::MIN, nanos: 0 }, at(NOW), Time { secs: i64::MAX, nanos: 999_999_999 }];
    assert_eq!(told(&times, &[rule(Every::Year, 2)]), ["yearly", "yearly", "in the future"]);
    assert_eq!(told(&times[..2], &[within(Every::Snapshot, "1y")]), ["", "within 1y"]);
}

#[test]
fn of_two_of_one_moment_the_later_in_the_list_is_newer() {
    let same = there("2026-11-21 12:00");
    assert_eq!(told(&[same, same], &[rule(Every::Day, 1)]), ["", "daily"]);
    assert_eq!(told(&[same, same], &[rule(Every::Snapshot, 2)]), ["last", "last"]);
    // The order of the list is otherwise of no matter.
    let (old, new) = (there("2026-11-20 12:00"), there("2026-11-21 13:00"));
    assert_eq!(told(&[new, same, old], &[rule(Every::Day, 2)]), ["daily", "", "daily"]);
}

#[test]
fn tags_keep_whatever_the_time() {
    let (gold, other) = (["gold".to_owned(), "x".to_owned()], ["golden".to_owned()]);
    let items = [Item { time: there("2001-01-01 12:00"), tags: &gold }, Item { time: at(NOW), tags: &other }];
    let policy = Policy { tags: vec!["gold".to_owned()], ..Policy::default() };
    let decided = decide(&items, &policy, at(NOW), &zone());
    assert_eq!(decided, [vec![Reason::Tag("gold".to_owned())], vec![]]);
    assert!(Policy::default().is_empty() && !policy.is_empty());
}

#[test]
fn ages_as_they_are_typed() {
    for text in ["1y6m", "2w", "10d", "36h", "1y2m3w4d5h"] {
        assert_eq!(text.parse::<Age>().unwrap().to_string(), text);
    }
    assert_eq!("5h1y".parse::<Age>().unwrap().to_string(), "1y5h");
    for bad in ["", "1", "y", "1x", "1d1d", "-1d", "1.5d", "1 d", "0d", "99999999999d", "1dé", "é"] {
        assert!(bad.parse::<Age>().is_err(), "{bad}");
    }
}

fn any_time() -> impl Strategy<Value = Time> {
    // Three years, in steps of twenty minutes, so that many fall together.
    (0..80_000_i64).prop_map(|step| Time { secs: at("2023-11-01T00:00:00Z").secs + step * 1200, nanos: 0 })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    use Every::*;
    let every = prop::sample::select(vec![Snapshot, Hour, Day, Week, Month, Year]);
    let count = (0..9_u32).prop_map(Limit::Count);
    let age =
        prop::sample::select(vec!["5h", "3d", "2w", "5m", "1y"]).prop_map(|age| Limit::Within(age.parse().unwrap()));
    (every, prop_oneof![2 => count, 1 => age]).prop_map(|(every, limit)| Rule { every, limit })
}

proptest! {
    /// Written another way: snapshots are put into boxes, and boxes are counted.
    #[test]
    fn a_count_keeps_the_newest_of_the_newest_boxes(times in vec(any_time(), 0..60), rule in any_rule(), count in 0..9_u32) {
        let rule = Rule { limit: Limit::Count(count), ..rule };
        let mut times = times;
        times.sort();
        let mut boxes: BTreeMap<[i64; 4], usize> = BTreeMap::new();
        for (at, time) in times.iter().enumerate() {
            boxes.insert(rule.every.period(&local(*time, &zone()), at), at);
        }
        let mut last: Vec<usize> = boxes.into_values().collect();
        last.sort();
        let has_place = last.len() < count as usize;
        let mut expected = last.split_off(last.len().saturating_sub(count as usize));
        if has_place && !times.is_empty() && !expected.contains(&0) {
            expected.insert(0, 0);
        }
        let decided = decide(&items(&times), &policy(&[rule]), at(NOW), &zone());
        let kept: Vec<usize> = (0..times.len()).filter(|&at| !decided[at].is_empty()).collect();
        prop_assert_eq!(kept, expected);
    }

    /// What stays, stays when the policy is applied again; and one more rule takes nothing away.
    #[test]
    fn again_changes_nothing_and_more_rules_keep_more(times in vec(any_time(), 0..60), rules in vec(any_rule(), 1..5)) {
        let kept = |times: &[Time], rules: &[Rule]| -> Vec<Time> {
            let decided = decide(&items(times), &policy(rules), at(NOW), &zone());
            times.iter().zip(decided).filter(|(_, why)| !why.is_empty()).map(|(time, _)| *time).collect()
        };
        let mut times = times;
        times.sort();
        let once = kept(&times, &rules);
        prop_assert_eq!(&kept(&once, &rules), &once);
        let fewer = kept(&times, &rules[1..]);
        let mut rest = once.iter();
        prop_assert!(fewer.iter().all(|time| rest.any(|other| other == time)));
        let keeps_some = rules.iter().any(|rule| rule.limit != Limit::Count(0));
        prop_assert!(times.is_empty() || !keeps_some || once.last() == times.last());
    }
}
