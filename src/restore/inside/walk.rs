//! The walk down the folders of an image, and the jobs that come of it.
//!
//! Always: a folder gets its metadata after everything in it, further names of files included. Never: a folder is
//! entered a second time, so no image makes the walk endless.

use crate::browse::Inside;
use crate::disk::fs;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::image::Listed;
use crate::meta::Node;
use crate::monitor::Event;
use crate::path;
use crate::restore::Error;
use crate::restore::folders;
use crate::restore::folders::Closing;
use crate::restore::inside::content::restore_item;
use crate::restore::inside::monitor_path;
use crate::restore::inside::nodes::convert;
use crate::restore::note;
use crate::restore::problem::Problem;
use crate::restore::run::Run;
use crate::restore::work::Item;
use crate::restore::work::Origin;
use crate::restore::work::Outcome;
use crate::restore::work::Place;
use crate::restore::work::blocking;
use crate::target;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;

/// Files restored at once: most of the time each waits for an answer.
const JOBS_MAX: usize = 16;
/// Entries of a folder looked at at once, and in deep folders, all of whose subfolders wait.
const ENTRIES_MAX: u32 = 256;
const ENTRIES_DEEP: u32 = 32;
const DEEP: usize = 64;
/// Folders finished in one go.
const CLOSINGS_MAX: usize = 64;
/// Further names of files that wait for the first.
const LINKS_MAX: usize = 1024;

type Job<'r> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'r>>;

/// A folder on the way down.
struct Frame {
    id: NodeId,
    node: fs::Node,
    /// Path in the target.
    path: Vec<u8>,
    /// Looked at up to here.
    cursor: u64,
    is_end: bool,
    /// Its subfolders that are next.
    pending: VecDeque<(NodeId, Vec<u8>, fs::Node)>,
    /// All in it is asked for.
    is_included: bool,
    /// It is there in the end: something in it, or it itself, is asked for.
    is_chosen: bool,
    /// Everything in it could be listed.
    is_whole: bool,
}

/// The state of the walk.
pub(super) struct Walker<'r> {
    run: &'r Run<'r>,
    inside: &'r Arc<Inside>,
    /// The top of the target keeps its own metadata.
    leave_top: bool,
    met: HashSet<NodeId>,
    frames: Vec<Frame>,
    running: FuturesUnordered<Job<'r>>,
    links: Vec<Item>,
    closings: Vec<Closing>,
    result: Result<(), Error>,
}

impl<'r> Walker<'r> {
    pub(super) fn new(run: &'r Run<'r>, inside: &'r Arc<Inside>, leave_top: bool) -> Walker<'r> {
        Walker {
            run,
            inside,
            leave_top,
            met: HashSet::new(),
            frames: Vec::new(),
            running: FuturesUnordered::new(),
            links: Vec::new(),
            closings: Vec::new(),
            result: Ok(()),
        }
    }

    /// Restores everything below a folder, and then its metadata.
    pub(super) async fn restore(mut self, top: NodeId, node: fs::Node) -> Result<(), Error> {
        let walked = self.walk(top, node).await;
        // Nothing goes on behind the caller's back.
        self.wait().await;
        let Walker { run, result, .. } = self;
        let mut all = result;
        note(run, &mut all, walked);
        if run.is_over() { all.and(Err(Error::Cancelled)) } else { all }
    }

    async fn walk(&mut self, top: NodeId, node: fs::Node) -> Result<(), Error> {
        self.met.insert(top);
        self.push(top, node, Vec::new());
        while let Some(frame) = self.frames.last_mut() {
            if self.run.is_over() {
                return Ok(());
            }
            if let Some((id, name, node)) = frame.pending.pop_front() {
                let path = path::join(&frame.path, &name);
                self.enter(id, node, path)?;
            } else if !frame.is_end {
                self.look().await?;
            } else if let Some(frame) = self.frames.pop() {
                self.leave(frame).await?;
            }
        }
        self.settle().await
    }

    fn push(&mut self, id: NodeId, node: fs::Node, path: Vec<u8>) {
        let is_included = self.run.work.rules.includes_below(&path);
        let pending = VecDeque::new();
        self.frames.push(Frame {
            id,
            node,
            path,
            cursor: 0,
            is_end: false,
            pending,
            is_included,
            is_chosen: false,
            is_whole: true,
        });
        if is_included {
            self.choose();
        }
    }

    /// The newest folder is wanted, and so are those above it.
    fn choose(&mut self) {
        for frame in self.frames.iter_mut().rev().take_while(|frame| !frame.is_chosen) {
            frame.is_chosen = true;
            self.run.count(|summary| summary.nodes += 1);
            self.run.total(|total| total.nodes += 1);
        }
    }

    fn fail(&self, path: &[u8], problem: Problem) -> Result<(), Error> {
        self.run.fail(&self.run.snapshot_path(path), problem)
    }

    /// Goes down into a folder, unless it is not asked for or was met before.
    fn enter(&mut self, id: NodeId, node: fs::Node, path: Vec<u8>) -> Result<(), Error> {
        let rules = &self.run.work.rules;
        if rules.excludes(&path, true) {
            self.skip(&path);
            return Ok(());
        }
        if !rules.includes_below(&path) && !rules.may_include_below(&path) {
            return Ok(());
        }
        if !self.met.insert(id) {
            return self.fail(&path, Problem::FolderAgain);
        }
        self.push(id, node, path);
        Ok(())
    }

    fn skip(&self, path: &[u8]) {
        self.run.monitor.event(Event::Skipped { path: &self.run.snapshot_path(path), why: "excluded" });
    }

    /// Looks at the next entries of the newest folder: begins with files, and keeps subfolders for later.
    async fn look(&mut self) -> Result<(), Error> {
        let most = if self.frames.len() > DEEP { ENTRIES_DEEP } else { ENTRIES_MAX };
        let Some(frame) = self.frames.last() else { return Ok(()) };
        let (id, cursor, folder) = (frame.id, frame.cursor, frame.path.clone());
        let inside = self.inside;
        let listed = inside.ask(async |reader| reader.list(id, cursor, most).await);
        let listed = self.meanwhile(listed).await;
        let (entries, is_end) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                self.end_folder(false);
                return self.fail(&folder, Problem::Inside(error));
            }
        };
        let mut last = cursor;
        let place = Place::new(folder.clone());
        for listed in entries {
            if listed.entry.cursor <= last {
                self.end_folder(false);
                return self.fail(&folder, Problem::Circles);
            }
            last = listed.entry.cursor;
            self.entry(&folder, &place, listed).await?;
            if self.run.is_over() {
                return Ok(());
            }
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.cursor = last;
            frame.is_end = is_end;
        }
        Ok(())
    }

    fn end_folder(&mut self, is_whole: bool) {
        if let Some(frame) = self.frames.last_mut() {
            frame.is_end = true;
            frame.is_whole &= is_whole;
        }
    }

    /// One entry of the newest folder.
    async fn entry(&mut self, folder: &[u8], place: &Arc<Place>, listed: Listed) -> Result<(), Error> {
        let (id, name) = (listed.entry.node, listed.entry.name);
        let path = [folder, &name].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(&b'/');
        let checked = path::check_name(&name).and_then(|()| path::check_path(&path));
        if let Err(source) = checked {
            return self.fail(folder, Problem::Target(target::Error::BadName { path, source }));
        }
        let node = match listed.node {
            Some(node) => node,
            // Asked once more for the reason.
            None => match self.inside.ask(async |reader| reader.node(id).await).await {
                Ok(node) => node,
                Err(error) => return self.fail(&path, Problem::Inside(error)),
            },
        };
        if node.kind == NodeKind::Folder {
            if let Some(frame) = self.frames.last_mut() {
                frame.pending.push_back((id, name, node));
            }
            return Ok(());
        }
        let rules = &self.run.work.rules;
        let is_included = self.frames.last().is_some_and(|frame| frame.is_included);
        if rules.excludes(&path, false) {
            self.skip(&path);
            return Ok(());
        }
        if !is_included && !rules.includes(&path, false) {
            return Ok(());
        }
        let inside = self.inside;
        let converted = self.meanwhile(async { convert(inside, id, &node, &name).await }).await;
        self.choose();
        match converted {
            Ok(node) => self.begin(id, node, &path, place).await,
            Err(problem) => {
                self.run.count(|summary| summary.nodes += 1);
                self.fail(&path, problem)
            }
        }
    }

    /// Begins to restore a node that is no folder.
    async fn begin(&mut self, id: NodeId, node: Node, path: &[u8], place: &Arc<Place>) -> Result<(), Error> {
        let (size, bytes) = (node.size(), node.content.len());
        self.run.total(|total| {
            total.nodes += 1;
            total.bytes = total.bytes.saturating_add(size);
        });
        self.run.count(|summary| {
            summary.nodes += 1;
            summary.bytes = summary.bytes.saturating_add(bytes);
        });
        let is_first = self.run.work.is_first(&node);
        let told_path = self.run.snapshot_path(path);
        monitor_path(self.run, &told_path);
        let item = Item { origin: Origin::Image(Arc::new(node), id, told_path), place: place.clone() };
        if is_first {
            self.start(item).await;
            return Ok(());
        }
        self.links.push(item);
        if self.links.len() >= LINKS_MAX { self.link().await } else { Ok(()) }
    }

    async fn start(&mut self, item: Item) {
        while self.running.len() >= JOBS_MAX
            && let Some(done) = self.running.next().await
        {
            note(self.run, &mut self.result, done);
        }
        self.running.push(Box::pin(restore_item(self.run, self.inside, item)));
    }

    /// Does something while the jobs go on.
    async fn meanwhile<T>(&mut self, deed: impl Future<Output = T>) -> T {
        let mut deed = pin!(deed);
        loop {
            tokio::select! {
                done = &mut deed => return done,
                Some(done) = self.running.next() => note(self.run, &mut self.result, done),
            }
        }
    }

    /// Waits for all jobs.
    async fn wait(&mut self) {
        while let Some(done) = self.running.next().await {
            note(self.run, &mut self.result, done);
        }
    }

    /// Gives files their further names, when all first names are in place.
    async fn link(&mut self) -> Result<(), Error> {
        self.wait().await;
        for item in std::mem::take(&mut self.links) {
            if self.run.is_over() {
                return Ok(());
            }
            let (work, wanted) = (self.run.work.clone(), item.clone());
            match blocking(move || work.link(&wanted)).await? {
                Ok(Some(outcome)) => self.run.finish(&item, outcome, 0)?,
                Ok(None) => restore_item(self.run, self.inside, item).await?,
                Err(problem) => self.run.finish(&item, Outcome::Failed(problem), 0)?,
            }
        }
        Ok(())
    }

    /// A folder with everything in it begun.
    async fn leave(&mut self, frame: Frame) -> Result<(), Error> {
        if !frame.is_chosen {
            return Ok(());
        }
        let told_path = self.run.snapshot_path(&frame.path);
        let name = path::split(&frame.path).1;
        let meta = match convert(self.inside, frame.id, &frame.node, name).await {
            Ok(node) => node.meta,
            Err(problem) => return self.run.fail(&told_path, problem),
        };
        let mut keep = None;
        if self.run.work.delete && frame.is_whole && self.run.work.rules.includes_below(&frame.path) {
            match self.names(frame.id).await {
                Ok(names) => keep = Some(names),
                Err(problem) => self.run.fail(&told_path, problem)?,
            }
        }
        let is_left = self.leave_top && frame.path.is_empty();
        self.closings.push(Closing { told_path, meta, path: frame.path, keep, is_left });
        if self.closings.len() >= CLOSINGS_MAX { self.settle().await } else { Ok(()) }
    }

    /// All names in a folder.
    async fn names(&mut self, id: NodeId) -> Result<HashSet<Vec<u8>>, Problem> {
        let (mut names, mut cursor) = (HashSet::new(), 0);
        loop {
            let listed = self.inside.ask(async |reader| reader.list(id, cursor, ENTRIES_MAX).await).await;
            let (entries, is_end) = listed.map_err(Problem::Inside)?;
            for listed in entries {
                if listed.entry.cursor <= cursor {
                    return Err(Problem::Circles);
                }
                cursor = listed.entry.cursor;
                names.insert(listed.entry.name);
            }
            if is_end {
                return Ok(names);
            }
        }
    }

    /// Finishes the folders that were left, when everything in them is in place.
    async fn settle(&mut self) -> Result<(), Error> {
        self.link().await?;
        if self.run.is_over() {
            return Ok(());
        }
        folders::close(self.run, std::mem::take(&mut self.closings)).await
    }
}
