//! The status of a drive in lines, for people.

use crate::cli::human;
use crate::cli::status::FaultFigure;
use crate::cli::status::Status;
use std::fmt::Write;
use std::time::Duration;

impl Status {
    /// In lines, for people.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _always_ok = writeln!(text, "  {name:<11} {}", crate::path::Show(value.as_bytes()));
        };
        line(
            "snapshot",
            match &self.snapshot {
                Some(shown) => format!("{} of {}, {}", shown.id, shown.host, shown.time),
                None => "all".to_owned(),
            },
        );
        line("mounted", format!("{}, served by process {}", self.since, self.pid));
        line("read", self.served());
        line("fetched", self.fetched());
        line("cache", self.cache());
        line("storage", self.storage());
        if let Some(last) = &self.faults.last {
            line("failed", self.failed(last));
        }
        if let Some(log) = &self.log {
            line("log", log.clone());
        }
        line("memory", format!("{}, at most {}", human::size(self.memory_bytes), human::size(self.memory_bytes_peak)));
        line(
            "previews",
            match self.served.refused {
                0 => self.previews.clone(),
                refused => {
                    format!("{}, {}", self.previews, human::plural(refused, "opening refused", "openings refused"))
                }
            },
        );
        for (number, reader) in self.readers.iter().enumerate() {
            let refused =
                if reader.refused > 0 { format!(", {} refused", human::count(reader.refused)) } else { String::new() };
            let value = format!("{} ({}): {}{refused}", reader.program, reader.pid, human::size(reader.bytes));
            line(if number == 0 { "readers" } else { "" }, value);
        }
        text
    }

    fn served(&self) -> String {
        let failed = match self.served.failed {
            0 => String::new(),
            failed => format!(", {} failed", human::count(failed)),
        };
        let reads = human::plural(self.served.reads, "read", "reads");
        format!("{} by programs, in {reads}{failed}", human::size(self.served.bytes))
    }

    fn fetched(&self) -> String {
        format!("{} in {}", human::size(self.store.bytes), human::plural(self.store.requests, "request", "requests"))
    }

    fn cache(&self) -> String {
        let share = |hits: u64, misses: u64| match hits + misses {
            0 => "nothing asked yet".to_owned(),
            all => format!("{} %", hits.saturating_mul(100) / all),
        };
        let memory = share(self.cache.memory_hits, self.cache.memory_misses);
        match &self.cache.disk {
            None => format!("memory {memory}"),
            Some(disk) => format!(
                "memory {memory}; disk {}, {} of {}",
                share(disk.hits, disk.misses),
                human::size(disk.bytes),
                human::size(disk.bytes_max)
            ),
        }
    }

    /// Requests that failed, and why the last one did.
    fn failed(&self, last: &FaultFigure) -> String {
        let requests = human::plural(self.faults.count, "request", "requests");
        let ago = human::duration(Duration::from_secs(last.secs_ago));
        let place = if last.path.is_empty() { "(a folder)" } else { &last.path };
        let snapshot = if self.snapshot.is_none() { format!(" of {:.8}", last.snapshot) } else { String::new() };
        format!("{requests}; last {ago} ago: {place}{snapshot}: {}", last.reason)
    }

    fn storage(&self) -> String {
        let state = match self.store.online {
            true => "online",
            false if self.store.offline_asked => "offline (asked for)",
            false => "OFFLINE",
        };
        let mut text = state.to_owned();
        if self.store.waiting_secs > 0 {
            text += &format!(", waiting for {} s", self.store.waiting_secs);
        }
        if self.store.failed > 0 {
            text += &format!(", {}", human::plural(self.store.failed, "request failed", "requests failed"));
        }
        if let Some(error) = &self.store.last_error {
            let ago = human::duration(Duration::from_secs(self.store.last_error_secs_ago.unwrap_or_default()));
            text += &format!("; last {ago} ago: {error}");
        }
        text
    }
}
