//! Progress of a deed: a bar for people, lines for programs, nothing for logs; and problems as they happen.
//!
//! Deeds tell of millions of things from many threads. So an event only adds to counters; a thread of its own looks
//! at them a few times a second, and asks for a path when it wants to show one.

use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::interrupt;
use crate::cli::json;
use crate::cli::out;
use crate::monitor::Deed;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::monitor::chain;
use crate::path::Show;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::error::Error;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;
use tokio::runtime::Runtime;

const BAR_EVERY: Duration = Duration::from_millis(100);
const JSON_EVERY: Duration = Duration::from_millis(500);
const TEMPLATE: &str = "{prefix}\n{wide_bar} {percent:>3}%\n{wide_msg}";
const TEMPLATE_NO_TOTAL: &str = "{spinner} {prefix}\n{wide_msg}";

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Bar,
    Json,
    Nothing,
}

/// Counters, and the wish to stop.
struct Shared {
    began: Instant,
    nodes: AtomicU64,
    bytes: AtomicU64,
    nodes_total: AtomicU64,
    bytes_total: AtomicU64,
    problems: AtomicU64,
    path: Mutex<Vec<u8>>,
    path_wanted: AtomicBool,
    cancelled: Arc<AtomicBool>,
    json: bool,
    is_verbose: bool,
    tell_notes: bool,
    nouns: Nouns,
}

/// What is counted: one, and many.
type Nouns = (&'static str, &'static str);

/// Shows the progress of one deed, until finished.
pub(super) struct Progress {
    shared: Arc<Shared>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins to show, and to listen for Ctrl-C. `doing` is a word like `Backing up`.
    pub(super) fn start(global: &Global, runtime: &Runtime, doing: &'static str) -> Progress {
        Progress::counting(global, runtime, doing, ("file", "files"))
    }

    /// The same for a deed that counts something else.
    pub(super) fn counting(global: &Global, runtime: &Runtime, doing: &'static str, nouns: Nouns) -> Progress {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            nodes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            nodes_total: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            problems: AtomicU64::new(0),
            path: Mutex::default(),
            path_wanted: AtomicBool::new(true),
            cancelled: interrupt::watch(runtime),
            json: global.json,
            is_verbose: global.verbose > 0,
            tell_notes: !global.quiet,
            nouns,
        });
        let shown = match () {
            () if global.quiet || global.no_progress => Shown::Nothing,
            () if global.json => Shown::Json,
            () if std::io::stderr().is_terminal() => Shown::Bar,
            () => Shown::Nothing,
        };
        let ticker = (shown != Shown::Nothing).then(|| {
            let (stop, stopped) = mpsc::channel();
            let watched = shared.clone();
            let thread = std::thread::spawn(move || match shown {
                Shown::Bar => show_bar(&watched, doing, &stopped),
                _ => show_lines(&watched, &stopped),
            });
            (stop, thread)
        });
        Progress { shared, ticker }
    }

    /// Stops showing and returns the number of problems.
    pub(super) fn finish(mut self) -> u64 {
        self.stop();
        self.shared.problems.load(Ordering::Relaxed)
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // A ticker that failed has nothing more to show.
            let _showed_all = thread.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Monitor for Progress {
    fn event(&self, event: Event<'_>) {
        let shared = &*self.shared;
        match event {
            Event::Done { nodes, bytes } => {
                shared.nodes.fetch_add(nodes, Ordering::Relaxed);
                shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::Path(path) => {
                if shared.path_wanted.load(Ordering::Relaxed) && shared.path_wanted.swap(false, Ordering::Relaxed) {
                    path.clone_into(&mut shared.path.lock().unwrap_or_else(PoisonError::into_inner));
                }
            }
            Event::Total { nodes, bytes } => {
                shared.nodes_total.store(nodes, Ordering::Relaxed);
                shared.bytes_total.store(bytes, Ordering::Relaxed);
            }
            Event::Skipped { path, why } if shared.is_verbose => tell(shared.json, ("skipped", "why"), path, why),
            Event::Note { path, text } if shared.tell_notes => tell(shared.json, ("note", "text"), path, text),
            Event::Would { path, is_folder, deed } if shared.is_verbose => {
                tell_deed(shared.json, path, is_folder, deed)
            }
            Event::Skipped { .. } | Event::Note { .. } | Event::Would { .. } => {}
            Event::Problem { path, cause } => {
                shared.problems.fetch_add(1, Ordering::Relaxed);
                tell_problem(shared.json, path, cause);
            }
        }
    }

    fn wants_total(&self) -> bool {
        self.ticker.is_some()
    }

    fn wants_deeds(&self) -> bool {
        self.shared.is_verbose
    }

    fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Relaxed)
    }
}

fn tell(as_json: bool, (kind, key): (&str, &str), path: &[u8], text: &str) {
    let path = &json::rooted(path);
    if as_json {
        let mut map = Map::new();
        json::put_bytes(&mut map, "path", path);
        map.insert(key.to_owned(), text.into());
        out::note(json::line(kind, &Value::Object(map)));
    } else {
        out::note(format_args!("{kind}: {}: {}", Show(path), Show(text.as_bytes())));
    }
}

/// A line of the result, in the form of `bygone diff`.
fn tell_deed(as_json: bool, path: &[u8], is_folder: bool, deed: Deed) {
    let (mark, word) = match deed {
        Deed::Create => ('+', "added"),
        Deed::Change => ('M', "changed"),
        Deed::Remove => ('-', "removed"),
    };
    let path = json::rooted(path);
    // A dry run goes on to its end, whether or not somebody reads all of it.
    let _nobody_reads = if as_json {
        let mut map = Map::new();
        map.insert("change".to_owned(), word.into());
        json::put_bytes(&mut map, "path", &path);
        map.insert("is_folder".to_owned(), is_folder.into());
        out::line(json::line("change", &Value::Object(map)))
    } else {
        let end = if is_folder && path.len() > 1 { "/" } else { "" };
        out::line(format_args!("{mark} {}{end}", Show(&path)))
    };
}

fn tell_problem(as_json: bool, path: &[u8], cause: &(dyn Error + 'static)) {
    let path = &json::rooted(path);
    if as_json {
        let mut map = Map::new();
        json::put_bytes(&mut map, "path", path);
        map.insert("cause".to_owned(), chain(cause).into());
        out::note(json::line("problem", &Value::Object(map)));
    } else {
        out::note(format_args!("problem: {}: {}", Show(path), Show(chain(cause).as_bytes())));
    }
}

/// A path as people write it; nothing before the first one.
fn rooted_if_any(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { Vec::new() } else { json::rooted(path) }
}

/// The counters at one moment.
struct Now {
    nodes: u64,
    bytes: u64,
    nodes_total: u64,
    bytes_total: u64,
    elapsed: Duration,
    path: Vec<u8>,
    nouns: Nouns,
}

impl Shared {
    fn now(&self) -> Now {
        self.path_wanted.store(true, Ordering::Relaxed);
        Now {
            nodes: self.nodes.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            nodes_total: self.nodes_total.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            elapsed: self.began.elapsed(),
            path: self.path.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            nouns: self.nouns,
        }
    }
}

impl Now {
    fn rate(&self) -> u64 {
        (self.bytes as f64 / self.elapsed.as_secs_f64().max(0.001)) as u64
    }

    /// Time left at the rate so far, if that can be said.
    fn left(&self) -> Option<Duration> {
        let left = self.bytes_total.checked_sub(self.bytes).filter(|_| self.elapsed > Duration::from_secs(2))?;
        (self.rate() > 0).then(|| Duration::from_secs(left / self.rate()))
    }

    /// `12 files, 3.4 MiB of 2.0 GiB, 120 MiB/s, 17 s left`
    fn text(&self) -> String {
        let mut text =
            format!("{}, {}", human::plural(self.nodes, self.nouns.0, self.nouns.1), human::size(self.bytes));
        if self.bytes_total > 0 {
            text += &format!(" of {}", human::size(self.bytes_total));
        }
        text += &format!(", {}/s", human::size(self.rate()));
        if let Some(left) = self.left() {
            text += &format!(", {} left", human::duration(left));
        }
        text
    }

    fn json(&self) -> String {
        let mut map = Map::new();
        json::put_bytes(&mut map, "path", &rooted_if_any(&self.path));
        map.insert("nodes".to_owned(), self.nodes.into());
        map.insert("bytes".to_owned(), self.bytes.into());
        map.insert("nodes_total".to_owned(), self.nodes_total.into());
        map.insert("bytes_total".to_owned(), self.bytes_total.into());
        map.insert("seconds".to_owned(), json!(self.elapsed.as_secs_f64()));
        json::line("progress", &Value::Object(map))
    }
}

fn waits(stopped: &mpsc::Receiver<()>, time: Duration) -> bool {
    stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

fn show_bar(shared: &Shared, doing: &'static str, stopped: &mpsc::Receiver<()>) {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    bar.set_prefix(doing);
    let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let (with_total, without) = (style(TEMPLATE), style(TEMPLATE_NO_TOTAL));
    out::set_bar(Some(bar.clone()));
    while waits(stopped, BAR_EVERY) {
        let now = shared.now();
        let style = if now.bytes_total > 0 { &with_total } else { &without };
        bar.set_style(style.clone());
        bar.set_length(now.bytes_total.max(1));
        bar.set_position(now.bytes.min(now.bytes_total));
        bar.set_prefix(format!("{doing}: {}", now.text()));
        bar.set_message(Show(&rooted_if_any(&now.path)).to_string());
        bar.tick();
    }
    out::set_bar(None);
    bar.finish_and_clear();
}

fn show_lines(shared: &Shared, stopped: &mpsc::Receiver<()>) {
    while waits(stopped, JSON_EVERY) {
        // Nobody reads any more; the deed goes on, and its end will find out.
        if out::line(shared.now().json()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn now(bytes: u64, bytes_total: u64, secs: u64) -> Now {
        let (elapsed, path, nouns) = (Duration::from_secs(secs), b"a\n".to_vec(), ("file", "files"));
        Now { nodes: 3, bytes, nodes_total: 9, bytes_total, elapsed, path, nouns }
    }

    #[test]
    fn text_for_people() {
        assert_eq!(now(10 << 20, 0, 10).text(), "3 files, 10 MiB, 1.0 MiB/s");
        assert_eq!(now(10 << 20, 40 << 20, 10).text(), "3 files, 10 MiB of 40 MiB, 1.0 MiB/s, 30 s left");
        assert_eq!(now(0, 40 << 20, 10).text(), "3 files, 0 B of 40 MiB, 0 B/s");
    }

    #[test]
    fn lines_for_programs() {
        let value: Value = serde_json::from_str(&now(5, 6, 1).json()).unwrap();
        assert_eq!((&value["type"], &value["bytes"], &value["path"]), (&json!("progress"), &json!(5), &json!("/a\n")));
    }

    #[test]
    fn the_templates_are_understood() {
        for template in [TEMPLATE, TEMPLATE_NO_TOTAL] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
