//! The options that say what stays.

use crate::plan::keep::Age;
use crate::plan::keep::Every;
use crate::plan::keep::Limit;
use crate::plan::keep::Policy;
use crate::plan::keep::Rule;

/// What stays.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What stays (of each group; what several options keep stays once)")]
pub(super) struct KeepArgs {
    /// The newest N snapshots; 'all' for no limit, here and below
    #[arg(long, value_name = "N", value_parser = count)]
    keep_last: Option<u32>,

    /// The newest snapshot of each of the newest N hours that have one
    #[arg(long, value_name = "N", value_parser = count)]
    keep_hourly: Option<u32>,

    /// The same for days, by the time zone of this machine
    #[arg(long, value_name = "N", value_parser = count)]
    keep_daily: Option<u32>,

    /// For weeks, which begin on Monday
    #[arg(long, value_name = "N", value_parser = count)]
    keep_weekly: Option<u32>,

    /// For months
    #[arg(long, value_name = "N", value_parser = count)]
    keep_monthly: Option<u32>,

    /// For years
    #[arg(long, value_name = "N", value_parser = count)]
    keep_yearly: Option<u32>,

    /// All snapshots of so long a time before the newest one: years, months, weeks, days, hours, as in 1y6m, 2w, 10d, 36h
    #[arg(long, value_name = "AGE")]
    keep_within: Option<Age>,

    /// One snapshot of each hour of that time
    #[arg(long, value_name = "AGE")]
    keep_within_hourly: Option<Age>,

    /// Of each day
    #[arg(long, value_name = "AGE")]
    keep_within_daily: Option<Age>,

    /// Of each week
    #[arg(long, value_name = "AGE")]
    keep_within_weekly: Option<Age>,

    /// Of each month
    #[arg(long, value_name = "AGE")]
    keep_within_monthly: Option<Age>,

    /// Of each year
    #[arg(long, value_name = "AGE")]
    keep_within_yearly: Option<Age>,

    /// All snapshots with this tag (repeatable: with one of them)
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
}

fn count(text: &str) -> Result<u32, String> {
    if text == "all" {
        return Ok(u32::MAX);
    }
    text.parse().map_err(|_| format!("'{text}' is neither a number nor 'all'"))
}

impl KeepArgs {
    /// For the library.
    pub(super) fn policy(&self) -> Policy {
        let counts = [
            (Every::Snapshot, self.keep_last),
            (Every::Hour, self.keep_hourly),
            (Every::Day, self.keep_daily),
            (Every::Week, self.keep_weekly),
            (Every::Month, self.keep_monthly),
            (Every::Year, self.keep_yearly),
        ];
        let ages = [
            (Every::Snapshot, self.keep_within),
            (Every::Hour, self.keep_within_hourly),
            (Every::Day, self.keep_within_daily),
            (Every::Week, self.keep_within_weekly),
            (Every::Month, self.keep_within_monthly),
            (Every::Year, self.keep_within_yearly),
        ];
        let counts = counts.into_iter().filter_map(|(every, count)| Some((every, Limit::Count(count?))));
        let ages = ages.into_iter().filter_map(|(every, age)| Some((every, Limit::Within(age?))));
        let rules = counts.chain(ages).map(|(every, limit)| Rule { every, limit }).collect();
        Policy { rules, tags: self.keep_tag.clone() }
    }
}
