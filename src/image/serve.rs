//! The side that reads: a process of its own, which gets its bytes from whoever asks and can do nothing else.

use crate::disk::BlockSource;
use crate::disk::Cached;
use crate::disk::Disk;
use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::WHOLE_NUMBERS;
use crate::disk::container;
use crate::disk::fs;
use crate::disk::fs::FileSystem;
use crate::disk::fs::NodeId;
use crate::image::sandbox;
use crate::image::wire;
use crate::image::wire::Answer;
use crate::image::wire::Ask;
use crate::image::wire::CONTENT_BYTES_MAX;
use crate::image::wire::Fault;
use crate::image::wire::Given;
use crate::image::wire::Listed;
use crate::image::wire::NEED_BYTES_MAX;
use crate::image::wire::Part;
use crate::image::wire::RUNS_MAX;
use crate::image::wire::Say;
use serde::Deserialize;
use serde::Serialize;
use std::io;
use std::io::Read;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Memory for blocks of the image.
const CACHE_BYTES: u64 = 16 << 20;
/// Most entries of one answer.
const ENTRIES_MAX: u32 = 4096;
/// What is mapped of a file at first; more as long as it lies in long runs.
const STEP_BYTES: u64 = 128 << 10;

/// The two pipes.
struct Pipes<R, W> {
    input: R,
    output: W,
}

impl<R: Read, W: Write> Pipes<R, W> {
    fn send(&mut self, say: &impl Serialize) -> io::Result<()> {
        self.output.write_all(&wire::frame(say)?)?;
        self.output.flush()
    }

    /// The next message; `None` if the other side is gone.
    fn receive<T: for<'a> Deserialize<'a>>(&mut self) -> io::Result<Option<T>> {
        let mut header = [0; 4];
        match self.input.read_exact(&mut header) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut body = vec![0; wire::body_len(header)?];
        self.input.read_exact(&mut body)?;
        wire::message(&body).map(Some)
    }
}

/// The image, as far as the other side gives it.
struct Asked<R, W> {
    pipes: Arc<Mutex<Pipes<R, W>>>,
    len: u64,
}

impl<R: Read + Send, W: Write + Send> BlockSource for Asked<R, W> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        for part in buf.chunks_mut(NEED_BYTES_MAX as usize) {
            let fault = |source| Error::Read { at, source };
            pipes.send(&Say::Need { offset: at, len: part.len() as u32 }).map_err(fault)?;
            match pipes.receive::<Given>().map_err(fault)? {
                Some(Given::Bytes(bytes)) if bytes.len() == part.len() => part.copy_from_slice(&bytes),
                Some(_) => return Err(fault(io::Error::other("it cannot be read"))),
                None => return Err(fault(io::ErrorKind::UnexpectedEof.into())),
            }
            at += part.len() as u64;
        }
        Ok(())
    }
}

/// Reads one image for whoever is at the other ends of the pipes, until they are closed. The process can do nothing
/// else from now on.
pub fn serve(
    memory_bytes_max: u64,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    sandbox::enter(memory_bytes_max)?;
    talk(input, output)
}

fn talk(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> io::Result<()> {
    let pipes = Arc::new(Mutex::new(Pipes { input, output }));
    let receive = || pipes.lock().unwrap_or_else(PoisonError::into_inner).receive::<Ask>();
    let send = |say: &Say| pipes.lock().unwrap_or_else(PoisonError::into_inner).send(say);
    let Some(Ask::Hello { len, further, is_raw, passphrase }) = receive()? else { return Ok(()) };
    let base: fs::Source = Arc::new(Cached::new(Asked { pipes: pipes.clone(), len }, CACHE_BYTES));
    let mut desk = Desk { base, further, is_raw, passphrase, disk: None, open: None };
    send(&Say::Done(Ok(Answer::Nothing)))?;
    while let Some(ask) = receive()? {
        let answer = desk.answer(ask).map_err(Fault::from);
        send(&Say::Done(answer))?;
    }
    Ok(())
}

/// Whoever asks for the beginnings of files waits for one of them.
const STARTS_TIME: Duration = Duration::from_millis(50);

/// What has been opened so far.
struct Desk {
    base: fs::Source,
    further: Vec<(String, u64)>,
    is_raw: bool,
    passphrase: Vec<u8>,
    disk: Option<Disk>,
    open: Option<Open>,
}

/// A part of the disk.
struct Open {
    /// What the file system stands on, and below it what that stands on, down to the image.
    layers: Vec<fs::Source>,
    /// Which of them is the virtual disk.
    disk_at: usize,
    fs: Option<Box<dyn FileSystem>>,
    fault: Option<Fault>,
}

impl Desk {
    fn answer(&mut self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Hello { .. } => return Err(Error::WrongKind),
            Ask::Further => return container::further_files(&self.base).map(Answer::Names),
            Ask::Layout { look } => return Ok(Answer::Layout(self.disk()?.layout(look)?)),
            Ask::Dirty { bitmap, from } => return Ok(some_from(from, self.disk()?.dirty(&bitmap)?)),
            Ask::Open { part } => {
                self.open(&part)?;
                return Ok(Answer::Nothing);
            }
            _ => {}
        }
        let open = self.open.as_mut().ok_or(Error::WrongKind)?;
        if let Ask::MapPart { range } = ask {
            let end = open.layers.first().map_or(0, |part| part.len());
            let mapped = stepped(range.start..range.end.min(end), &open.layers, |range, runs| {
                Run::Below { offset: range.start, len: len(&range) }.push(runs);
                Ok(())
            });
            return mapped.map(Answer::Runs);
        }
        let fs = match (&mut open.fs, &open.fault) {
            (Some(fs), _) => fs,
            (None, Some(Fault::Encrypted)) => return Err(Error::Encrypted),
            (None, Some(fault)) => return Err(Error::unsupported(fault.to_string())),
            (None, None) => return Err(Error::unsupported("a file system of this kind")),
        };
        match ask {
            Ask::About => Ok(Answer::About(fs.root(), fs.about())),
            Ask::Node { id } => fs.node(id).map(Answer::Node),
            Ask::Lookup { folder, name } => {
                let id = fs.lookup(folder, &name)?;
                Ok(Answer::Found(id, fs.node(id)?))
            }
            Ask::List { folder, cursor, entries_max } => list(&mut **fs, folder, cursor, entries_max),
            Ask::Map { file, range } => map(&mut **fs, &open.layers, file, range).map(Answer::Runs),
            Ask::Starts { files, len } => Ok(starts(&mut **fs, &open.layers, &files, len)),
            Ask::Link { node } => fs.link(node).map(Answer::Link),
            Ask::Xattrs { node } => fs.xattrs(node).map(Answer::Xattrs),
            Ask::Used { from } => {
                let used = fs.used()?;
                Ok(used.map_or(Answer::Ranges(None), |ranges| some_from(from, ranges)))
            }
            Ask::Metadata { skip } => metadata(&mut **fs, open.layers.get(..=open.disk_at).unwrap_or_default(), skip),
            Ask::Hello { .. }
            | Ask::Further
            | Ask::Layout { .. }
            | Ask::Dirty { .. }
            | Ask::Open { .. }
            | Ask::MapPart { .. } => Err(Error::WrongKind),
        }
    }

    fn disk(&mut self) -> Result<&Disk> {
        if self.disk.is_none() {
            self.disk = Some(Disk::open(&self.base, &self.further, self.is_raw, &self.passphrase)?);
        }
        self.disk.as_ref().ok_or(Error::WrongKind)
    }

    fn open(&mut self, part: &Part) -> Result<()> {
        self.open = None;
        let layers = self.disk()?.layers(match part {
            Part::Disk => None,
            Part::Number(number) => Some(*number),
        })?;
        let (fs, fault) = match (part, layers.first()) {
            (Part::Number(number), Some(source)) => match opened(*number, source) {
                Ok(fs) => (fs, None),
                Err(error) => (None, Some(error.into())),
            },
            _ => (None, None),
        };
        let disk_at = layers.len().saturating_sub(self.disk()?.depth());
        self.open = Some(Open { layers, disk_at, fs, fault });
        Ok(())
    }
}

fn opened(number: u32, source: &fs::Source) -> Result<Option<Box<dyn FileSystem>>> {
    if number < WHOLE_NUMBERS { fs::open(source) } else { fs::open_whole(source) }
}

fn len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Runs over the uppermost layer as runs over the last.
fn down(layers: &[fs::Source], mut runs: Vec<Run>) -> Result<Vec<Run>> {
    // The last layer is what is meant.
    for layer in layers.iter().take(layers.len().saturating_sub(1)) {
        let mut below = Vec::with_capacity(runs.len());
        for run in runs {
            match run {
                Run::Below { offset, len } => {
                    let end = offset.checked_add(len).filter(|end| *end <= layer.len());
                    let end = end.ok_or(Error::damaged("file", offset, "it lies beyond the end of its file system"))?;
                    layer.map(offset..end, &mut below)?;
                }
                other => other.push(&mut below),
            }
        }
        runs = below;
    }
    Ok(runs)
}

fn list(fs: &mut dyn FileSystem, folder: NodeId, cursor: u64, entries_max: u32) -> Result<Answer> {
    let most = entries_max.clamp(1, ENTRIES_MAX) as usize;
    let mut entries = Vec::new();
    fs.list(folder, cursor, &mut |entry| {
        entries.push(entry);
        entries.len() <= most
    })?;
    let end = entries.len() <= most;
    entries.truncate(most);
    // A damaged node does not take its neighbours with it.
    let listed = entries.into_iter().map(|entry| Listed { node: fs.node(entry.node).ok(), entry });
    Ok(Answer::Listed(listed.collect(), end))
}

fn map(fs: &mut dyn FileSystem, layers: &[fs::Source], file: NodeId, range: Range<u64>) -> Result<Vec<Run>> {
    let end = range.end.min(fs.node(file)?.size);
    stepped(range.start..end, layers, |range, runs| fs.map(file, range, runs))
}

/// Beginnings of files, until the answer is full or has taken long.
fn starts(fs: &mut dyn FileSystem, layers: &[fs::Source], files: &[NodeId], len: u64) -> Answer {
    let (mut found, mut count, mut content) = (Vec::new(), 0, 0);
    let began = Instant::now();
    for file in files {
        if count >= RUNS_MAX || content >= CONTENT_BYTES_MAX || began.elapsed() >= STARTS_TIME {
            break;
        }
        // Whoever asks for a file that is damaged is told what is wrong with it.
        let runs = map(fs, layers, *file, 0..len).ok();
        count += runs.as_ref().map_or(0, Vec::len);
        content += runs.as_deref().map_or(0, content_of);
        found.push(runs);
    }
    Answer::Starts(found)
}

/// Bytes of content that the runs hold themselves.
fn content_of(runs: &[Run]) -> u64 {
    runs.iter().map(|run| if let Run::Bytes(bytes) = run { bytes.len() as u64 } else { 0 }).sum()
}

/// Maps a range in steps, until one answer is full.
fn stepped(
    range: Range<u64>,
    layers: &[fs::Source],
    mut map: impl FnMut(Range<u64>, &mut Vec<Run>) -> Result<()>,
) -> Result<Vec<Run>> {
    let (mut at, mut step) = (range.start, STEP_BYTES);
    let (mut runs, mut content) = (Vec::new(), 0);
    while at < range.end && runs.len() < RUNS_MAX && content < CONTENT_BYTES_MAX {
        let to = range.end.min(at.saturating_add(step));
        let mut part = Vec::new();
        map(at..to, &mut part)?;
        let part = down(layers, part)?;
        if part.iter().map(Run::len).sum::<u64>() != to - at {
            return Err(Error::damaged("file", 0, "its runs are not as long as it is"));
        }
        let bytes = content_of(&part);
        content += bytes;
        step = if bytes == 0 { step.saturating_mul(2) } else { STEP_BYTES };
        part.into_iter().for_each(|run| run.push(&mut runs));
        at = to;
    }
    Ok(runs)
}

/// Those of the ranges that lie behind `from`.
fn some_from(from: u64, ranges: Vec<Range<u64>>) -> Answer {
    let rest = ranges.into_iter().filter(|range| range.end > from);
    some_of(rest.map(|range| range.start.max(from)..range.end))
}

/// As many ranges as one answer holds.
fn some_of(ranges: impl Iterator<Item = Range<u64>>) -> Answer {
    let mut ranges: Vec<Range<u64>> = ranges.take(RUNS_MAX + 1).collect();
    let end = ranges.len() <= RUNS_MAX;
    ranges.truncate(RUNS_MAX);
    Answer::Ranges(Some((ranges, end)))
}

fn metadata(fs: &mut dyn FileSystem, layers: &[fs::Source], skip: u32) -> Result<Answer> {
    let (mut ranges, mut skip, mut end) = (Vec::new(), skip, true);
    fs.metadata(&mut |range| {
        if skip > 0 {
            skip -= 1;
            return true;
        }
        end = ranges.len() < RUNS_MAX;
        if end {
            ranges.push(range);
        }
        end
    })?;
    let mut below = Vec::new();
    for range in ranges {
        for run in down(layers, vec![Run::Below { offset: range.start, len: len(&range) }])? {
            // One for one, so that the next question skips as many as this answer had.
            if let Run::Below { offset, len } = run {
                below.push(offset..offset.saturating_add(len));
                break;
            }
        }
    }
    Ok(Answer::Ranges(Some((below, end))))
}
