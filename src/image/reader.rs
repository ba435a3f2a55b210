//! The side that asks: questions about an image, one after the other, to a process that may die.

use crate::disk::Run;
use crate::disk::fs::About;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::layout::Layout;
use crate::disk::layout::Look;
use crate::image::device::DeviceError;
use crate::image::process::Process;
use crate::image::wire::Answer;
use crate::image::wire::Ask;
use crate::image::wire::FURTHER_MAX;
use crate::image::wire::Fault;
use crate::image::wire::Given;
use crate::image::wire::Listed;
use crate::image::wire::NEED_BYTES_MAX;
use crate::image::wire::Part;
use crate::image::wire::Say;
use crate::meta::Xattr;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio::time::timeout;

/// How long the process may compute for one question, not counting what it waits for.
const COMPUTE_MAX: Duration = Duration::from_secs(20);
/// How long a question may take in all.
const QUESTION_MAX: Duration = Duration::from_secs(600);

/// Processes that are kept although nobody asks. On a drive of many disks each part that was looked at has one.
const IDLE_MAX: usize = 16;

/// Whoever has a process, the last that asked at the end.
static STARTED: std::sync::Mutex<Vec<Weak<ImageReader>>> = std::sync::Mutex::new(Vec::new());

/// Bytes that come later.
pub type Bytes = Pin<Box<dyn Future<Output = io::Result<bytes::Bytes>> + Send>>;

/// The bytes of an image, wherever they are.
pub trait Image: Send + Sync + 'static {
    /// Number of bytes.
    fn len(&self) -> u64;

    /// True for no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if it is surely a disk as it is, and not one in a container.
    fn is_raw(&self) -> bool;

    /// Further files that belong to it, by name and length: the bytes of each follow those of the one before.
    fn further(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// Exactly `len` bytes from `offset` on, which lie within the image.
    fn read(&self, offset: u64, len: u32) -> Bytes;
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image does not give it.
    #[error("cannot read the disk image")]
    Fault(#[from] Fault),
    /// The reading process died or talks nonsense; the next question starts another.
    #[error("the process that reads the disk image has failed")]
    Process(#[source] io::Error),
    /// One of the files it lies in.
    #[error(transparent)]
    File(#[from] DeviceError),
    /// It computed for too long.
    #[error("the disk image is too hard to read: no answer within {} s", limit.as_secs())]
    TooLong {
        /// What it had.
        limit: Duration,
    },
}

/// Result of a question.
pub type Result<T> = std::result::Result<T, Error>;

/// One part of one image. Questions wait for each other; each part has a process of its own.
pub struct ImageReader {
    image: Arc<dyn Image>,
    part: Option<Part>,
    passphrase: Vec<u8>,
    runtime: Handle,
    process: Mutex<Option<Process>>,
}

fn nonsense() -> Error {
    Error::Process(io::Error::new(io::ErrorKind::InvalidData, "it gave an answer to another question"))
}

impl ImageReader {
    /// Asks about `part` (`None`: about the layout alone). Nothing is started or read yet.
    pub fn new(image: Arc<dyn Image>, part: Option<Part>, passphrase: &[u8], runtime: &Handle) -> Arc<ImageReader> {
        let (passphrase, runtime) = (passphrase.to_vec(), runtime.clone());
        Arc::new(ImageReader { image, part, passphrase, runtime, process: Mutex::new(None) })
    }

    /// The image.
    pub fn image(&self) -> &Arc<dyn Image> {
        &self.image
    }

    /// Names of the further files that the image lies in, as it says.
    pub async fn further(self: &Arc<Self>) -> Result<Vec<String>> {
        match self.ask(Ask::Further).await? {
            Answer::Names(names) if names.len() <= FURTHER_MAX => Ok(names),
            _ => Err(nonsense()),
        }
    }

    /// What is on the disk. If a process does not survive looking into all of it, each part is looked into by one of its
    /// own: what kills that costs this part alone.
    pub async fn layout(self: &Arc<Self>) -> Result<Layout> {
        match self.look(Look::All).await {
            Err(Error::Process(_) | Error::TooLong { .. }) => {
                let look = |look| {
                    let this = self.clone();
                    async move { this.look(look).await }
                };
                part_by_part(look).await
            }
            other => other,
        }
    }

    async fn look(self: &Arc<Self>, look: Look) -> Result<Layout> {
        match self.ask(Ask::Layout { look }).await? {
            Answer::Layout(layout) => Ok(layout),
            _ => Err(nonsense()),
        }
    }

    /// The file system, and its root.
    pub async fn about(self: &Arc<Self>) -> Result<(NodeId, About)> {
        match self.ask(Ask::About).await? {
            Answer::About(root, about) => Ok((root, about)),
            _ => Err(nonsense()),
        }
    }

    /// One node.
    pub async fn node(self: &Arc<Self>, id: NodeId) -> Result<Node> {
        match self.ask(Ask::Node { id }).await? {
            Answer::Node(node) => Ok(node),
            _ => Err(nonsense()),
        }
    }

    /// One node by its name in a folder.
    pub async fn lookup(self: &Arc<Self>, folder: NodeId, name: &[u8]) -> Result<(NodeId, Node)> {
        match self.ask(Ask::Lookup { folder, name: name.to_vec() }).await? {
            Answer::Found(id, node) => Ok((id, node)),
            _ => Err(nonsense()),
        }
    }

    /// Nodes of a folder behind `cursor`, at most so many; true if there are no more.
    pub async fn list(self: &Arc<Self>, folder: NodeId, cursor: u64, entries_max: u32) -> Result<(Vec<Listed>, bool)> {
        match self.ask(Ask::List { folder, cursor, entries_max }).await? {
            Answer::Listed(listed, end) if end || !listed.is_empty() => Ok((listed, end)),
            _ => Err(nonsense()),
        }
    }

    /// Where the bytes of a file lie in the image; fewer than asked for if one answer does not hold them.
    pub async fn map(self: &Arc<Self>, file: NodeId, range: Range<u64>) -> Result<Vec<Run>> {
        let most = range.end.saturating_sub(range.start);
        self.runs(Ask::Map { file, range }, most).await
    }

    /// Where the bytes of the part itself lie in the image; fewer than asked for at its end, or if one answer does not hold them.
    pub async fn map_part(self: &Arc<Self>, range: Range<u64>) -> Result<Vec<Run>> {
        let most = range.end.saturating_sub(range.start);
        self.runs(Ask::MapPart { range }, most).await
    }

    async fn runs(self: &Arc<Self>, ask: Ask, most: u64) -> Result<Vec<Run>> {
        match self.ask(ask).await? {
            Answer::Runs(runs) if self.are_runs(&runs, most) => Ok(runs),
            _ => Err(nonsense()),
        }
    }

    /// Where the beginnings of files lie in the image, up to `len` bytes of each: in the order of the files, and fewer if one answer
    /// does not hold them. `None` for a file of which that cannot be told.
    pub async fn starts(self: &Arc<Self>, files: Vec<NodeId>, len: u64) -> Result<Vec<Option<Vec<Run>>>> {
        let most = files.len();
        match self.ask(Ask::Starts { files, len }).await? {
            Answer::Starts(all) if all.len() <= most && all.iter().flatten().all(|runs| self.are_runs(runs, len)) => {
                Ok(all)
            }
            _ => Err(nonsense()),
        }
    }

    /// True if these lie in the image and are at most so long together.
    fn are_runs(&self, runs: &[Run], most: u64) -> bool {
        let len = runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.len()));
        let within = |run: &Run| match run {
            Run::Below { offset, len } => offset.checked_add(*len).is_some_and(|end| end <= self.image.len()),
            Run::Zero { .. } | Run::Bytes(_) => true,
        };
        len <= most && runs.iter().all(within)
    }

    /// Target of a link.
    pub async fn link(self: &Arc<Self>, node: NodeId) -> Result<Vec<u8>> {
        match self.ask(Ask::Link { node }).await? {
            Answer::Link(target) => Ok(target),
            _ => Err(nonsense()),
        }
    }

    /// Extended attributes.
    pub async fn xattrs(self: &Arc<Self>, node: NodeId) -> Result<Vec<Xattr>> {
        match self.ask(Ask::Xattrs { node }).await? {
            Answer::Xattrs(xattrs) => Ok(xattrs),
            _ => Err(nonsense()),
        }
    }

    /// Ranges of the part that are in use; `None` if that cannot be known.
    pub async fn used(self: &Arc<Self>) -> Result<Option<Vec<Range<u64>>>> {
        self.ranges(|from| Ask::Used { from }).await
    }

    /// Bytes of the part that are in use; `None` if that cannot be known. May read more than [`Self::about`].
    pub async fn used_bytes(self: &Arc<Self>) -> Result<Option<u64>> {
        let (_, about) = self.about().await?;
        match about.used_bytes {
            None => Ok(self.used().await?.map(|ranges| about.bytes_of(&ranges))),
            known => Ok(known),
        }
    }

    /// Ranges of the virtual disk that its dirty bitmap of this name marks.
    pub async fn dirty(self: &Arc<Self>, bitmap: &str) -> Result<Vec<Range<u64>>> {
        let ranges = self.ranges(|from| Ask::Dirty { bitmap: bitmap.to_owned(), from }).await?;
        ranges.ok_or_else(nonsense)
    }

    /// Ranges in order, as many answers as it takes.
    async fn ranges(self: &Arc<Self>, ask: impl Fn(u64) -> Ask) -> Result<Option<Vec<Range<u64>>>> {
        let mut all: Vec<Range<u64>> = Vec::new();
        loop {
            let from = all.last().map_or(0, |range| range.end);
            let Answer::Ranges(some) = self.ask(ask(from)).await? else { return Err(nonsense()) };
            let Some((ranges, end)) = some else { return Ok(None) };
            for range in ranges {
                let from = all.last().map_or(0, |range| range.end);
                if range.start < from || range.end <= range.start {
                    return Err(nonsense());
                }
                all.push(range);
            }
            if end {
                return Ok(Some(all));
            }
        }
    }

    /// Ranges of the virtual disk that browsing needs, those for the root first; at most `count_max`.
    pub async fn metadata(self: &Arc<Self>, count_max: usize) -> Result<Vec<Range<u64>>> {
        let mut all: Vec<Range<u64>> = Vec::new();
        loop {
            let skip = u32::try_from(all.len()).map_err(|_| nonsense())?;
            let Answer::Ranges(Some((ranges, end))) = self.ask(Ask::Metadata { skip }).await? else {
                return Err(nonsense());
            };
            let end = end || ranges.is_empty();
            all.extend(ranges.into_iter().filter(|range| range.start < range.end));
            if end || all.len() >= count_max {
                all.truncate(count_max);
                return Ok(all);
            }
        }
    }

    /// Asks in a task of its own: whoever gives up waiting must not leave a conversation half finished.
    async fn ask(self: &Arc<Self>, ask: Ask) -> Result<Answer> {
        let this = self.clone();
        let asked = self.runtime.spawn(async move {
            let mut process = this.process.lock().await;
            let answer = match timeout(QUESTION_MAX, this.ask_process(&mut process, ask)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::TooLong { limit: QUESTION_MAX }),
            };
            if matches!(answer, Err(Error::Process(_) | Error::TooLong { .. })) {
                *process = None;
            } else if process.is_some() {
                this.has_asked();
            }
            answer
        });
        asked.await.unwrap_or_else(|_| Err(Error::Process(io::Error::other("its task was lost"))))
    }

    /// Ends the process that was idle for the longest time, if there are too many. A new one takes its place when it is
    /// asked again.
    fn has_asked(self: &Arc<Self>) {
        let mut oldest = Vec::new();
        {
            let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
            let this = Arc::downgrade(self);
            started.retain(|reader| reader.strong_count() > 0 && !reader.ptr_eq(&this));
            started.push(this);
            let too_many = started.len().saturating_sub(IDLE_MAX);
            oldest.extend(started.drain(..too_many));
        }
        for reader in oldest.into_iter().filter_map(|reader| reader.upgrade()) {
            // One that is locked has a question, and comes here when it is answered.
            if let Ok(mut process) = reader.process.try_lock() {
                *process = None;
            }
        }
    }

    async fn ask_process(&self, slot: &mut Option<Process>, ask: Ask) -> Result<Answer> {
        let process = match slot {
            Some(process) => process,
            None => {
                let process = slot.insert(Process::start(!self.passphrase.is_empty()).map_err(Error::Process)?);
                let (len, further, is_raw) = (self.image.len(), self.image.further(), self.image.is_raw());
                let hello = Ask::Hello { len, further, is_raw, passphrase: self.passphrase.clone() };
                self.converse(process, &hello).await?;
                if let Some(part) = &self.part {
                    self.converse(process, &Ask::Open { part: part.clone() }).await?;
                }
                process
            }
        };
        self.converse(process, &ask).await
    }

    async fn converse(&self, process: &mut Process, ask: &Ask) -> Result<Answer> {
        process.send(ask).await.map_err(Error::Process)?;
        let mut left = COMPUTE_MAX;
        loop {
            let began = Instant::now();
            let said = timeout(left, process.receive::<Say>()).await;
            let said = said.map_err(|_| Error::TooLong { limit: COMPUTE_MAX })?.map_err(Error::Process)?;
            left = left.saturating_sub(began.elapsed());
            let (offset, len) = match said {
                Say::Done(answer) => return Ok(answer?),
                Say::Need { offset, len } => (offset, len),
            };
            let is_within = offset.checked_add(len.into()).is_some_and(|end| end <= self.image.len());
            let given = match is_within && len <= NEED_BYTES_MAX {
                true => self.image.read(offset, len).await.map_or(Given::Failed, |bytes| Given::Bytes(bytes.into())),
                false => return Err(nonsense()),
            };
            process.send(&given).await.map_err(Error::Process)?;
        }
    }
}

async fn part_by_part<Asked: Future<Output = Result<Layout>>>(look: impl Fn(Look) -> Asked) -> Result<Layout> {
    let mut layout = look(Look::Nothing).await?;
    for part in &mut layout.parts {
        match look(Look::Only(part.number)).await {
            Ok(looked) => {
                if let Some(found) = looked.parts.into_iter().find(|found| found.number == part.number) {
                    *part = found;
                }
            }
            Err(error) => part.error = Some(crate::monitor::chain(&error)),
        }
    }
    layout
        .notes
        .push("Not all of it could be looked into, and volumes of several partitions were left out.".to_owned());
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::layout::Part;

    #[tokio::test]
    async fn what_kills_the_process_costs_one_part() {
        let asked = std::sync::Mutex::new(Vec::new());
        let look = async |look: Look| {
            asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(look);
            if look == Look::Only(2) {
                return Err(Error::Process(io::ErrorKind::BrokenPipe.into()));
            }
            let part = |number| {
                let kind = if look.includes(number) { "ext4" } else { "" }.to_owned();
                Part { number, kind, ..Part::default() }
            };
            Ok(Layout { parts: vec![part(1), part(2), part(3)], ..Layout::unknown(1 << 20) })
        };
        let layout = part_by_part(look).await.expect("the table can be read");
        let told: Vec<_> = layout.parts.iter().map(|part| (part.kind.as_str(), part.error.is_some())).collect();
        assert_eq!(told, [("ext4", false), ("", true), ("ext4", false)]);
        let asked = asked.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        assert_eq!(asked, [Look::Nothing, Look::Only(1), Look::Only(2), Look::Only(3)]);
    }
}
