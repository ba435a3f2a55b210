//! The walk itself: who reads what, and in which order the caller gets it.
//!
//! All that is left of the walk lies in one ordered line of places. Each holds finished steps, work in progress,
//! or work nobody has begun. A reader takes the first work not begun, so threads stay close to the caller; what
//! it leaves goes back to its place in the line. The caller takes finished steps off the front. If there are
//! none, it reads like a thread; it waits only while another thread reads the very front.
//!
//! Finished steps are bounded: beyond the bound only the front may be worked on, which is what ends the wait.

use crate::source::Error;
use crate::source::Options;
use crate::source::Step;
use crate::source::folder::Folder;
use crate::source::folder::Handles;
use crate::source::reader::Plan;
use crate::source::reader::Reader;
use crate::source::reader::STEPS_MAX;
use crate::source::reader::Work;
use crate::source::roots;
use crate::source::roots::Guide;
use crate::source::rules::Rules;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// Steps read ahead of the caller.
const AHEAD_STEPS_MAX: usize = 8192;
/// Places in the line; keeps looking through it cheap.
const AHEAD_PLACES_MAX: usize = 256;

/// Begins to walk. Fails if no root can be read or a rule cannot be understood; a root that is missing beside others, and
/// later on trouble with a node, is a step like others.
pub fn walk(options: &Options) -> Result<Walk, Error> {
    let (paths, missing) = roots::resolve(&options.roots)?;
    let missing: Vec<Step> = missing.into_iter().map(|(path, error)| Step::Problem { path, error }).collect();
    let guide = Arc::new(Guide::to(paths));
    let plan = Arc::new(Plan {
        rules: Rules::new(options)?,
        one_file_system: options.one_file_system,
        stop: AtomicBool::new(false),
    });
    let top = Folder::top(Handles::new().map_err(Error::Begin)?, guide).map_err(Error::Begin)?;
    let line = VecDeque::from([Place::Waiting(vec![Work::Begin(top)])]);
    let state = State { line, ahead: 0, running: 0, next: 0, idle: 0, caller_waits: false, broken: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), ready: Condvar::new() });
    let mut walk =
        Walk { reader: Reader::new(Arc::clone(&plan)), plan, shared, threads: Vec::new(), steps: missing.into_iter() };
    for _ in 0..options.threads {
        walk.threads.push(walk.spawn().map_err(Error::Begin)?);
    }
    Ok(walk)
}

/// The steps of a walk, in order. Dropping it ends its threads.
#[derive(Debug)]
pub struct Walk {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    reader: Reader,
    threads: Vec<JoinHandle<()>>,
    steps: std::vec::IntoIter<Step>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There may be work, or no more ever.
    work: Condvar,
    /// The front of the line has changed.
    ready: Condvar,
}

#[derive(Debug)]
struct State {
    line: VecDeque<Place>,
    /// Finished steps in the line.
    ahead: usize,
    /// Pieces being worked on.
    running: usize,
    /// Number of the next piece.
    next: u64,
    /// Threads waiting for work.
    idle: usize,
    caller_waits: bool,
    /// A thread panicked: its piece will never be finished.
    broken: bool,
}

#[derive(Debug)]
enum Place {
    /// A stack of work not begun, next in order on top; never empty.
    Waiting(Vec<Work>),
    /// The piece of this number is being worked on.
    Running(u64),
    /// To be handed out; never empty.
    Done(Vec<Step>),
}

/// A piece of work taken out of the line, and the number its place has.
struct Piece {
    number: u64,
    work: Work,
}

impl State {
    /// The first work not begun, if so much may be read ahead.
    fn first_waiting(&self) -> Option<usize> {
        let at = self.line.iter().position(|place| matches!(place, Place::Waiting(_)))?;
        let room = self.ahead + self.running * STEPS_MAX < AHEAD_STEPS_MAX && self.line.len() < AHEAD_PLACES_MAX;
        (at == 0 || room).then_some(at)
    }

    fn take(&mut self) -> Option<Piece> {
        let at = self.first_waiting()?;
        let number = self.next;
        let Place::Waiting(stack) = &mut self.line[at] else { return None };
        let (work, rest) = stack.pop()?.cut();
        stack.extend(rest);
        if stack.is_empty() {
            self.line[at] = Place::Running(number);
        } else {
            self.line.insert(at, Place::Running(number));
        }
        self.next += 1;
        self.running += 1;
        Some(Piece { number, work })
    }

    /// Puts what a piece has become in its place. True if that is the front.
    fn put(&mut self, number: u64, steps: Vec<Step>, rest: Vec<Work>) -> bool {
        let is_it = |place: &Place| matches!(place, Place::Running(found) if *found == number);
        let at = self.line.iter().position(is_it).expect("a place stays until its piece is finished");
        self.running -= 1;
        self.ahead += steps.len();
        self.line.remove(at);
        match self.line.get_mut(at) {
            // The work that follows in order is further out: ours goes on top.
            Some(Place::Waiting(stack)) => stack.extend(rest),
            _ if rest.is_empty() => {}
            _ => self.line.insert(at, Place::Waiting(rest)),
        }
        if !steps.is_empty() {
            self.line.insert(at, Place::Done(steps));
        }
        at == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes who can do something now.
    fn wake(&self, state: &State) {
        if state.line.is_empty() {
            self.work.notify_all();
        } else if state.idle > 0 && state.first_waiting().is_some() {
            self.work.notify_one();
        }
    }

    /// What a thread does until there is no more work.
    fn work(&self, plan: &Plan, reader: &mut Reader) {
        let mut state = self.lock();
        while !state.line.is_empty() && !plan.stop.load(Ordering::Relaxed) {
            let Some(piece) = state.take() else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            self.wake(&state);
            drop(state);
            let (steps, rest) = reader.run(piece.work);
            state = self.lock();
            if state.put(piece.number, steps, rest) && state.caller_waits {
                self.ready.notify_one();
            }
        }
        self.wake(&state);
    }
}

impl Walk {
    #[cfg(test)]
    pub(super) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan)
    }

    /// Steps finished and not yet taken, threads waiting for work, and whether nothing is left.
    #[cfg(test)]
    pub(super) fn ahead(&self) -> (usize, usize, bool) {
        let state = self.shared.lock();
        (state.ahead, state.idle, state.line.is_empty())
    }

    fn spawn(&self) -> std::io::Result<JoinHandle<()>> {
        let shared = Arc::clone(&self.shared);
        let plan = Arc::clone(&self.plan);
        std::thread::Builder::new().name("source".into()).spawn(move || {
            let alarm = Alarm(&shared);
            shared.work(&plan, &mut Reader::new(Arc::clone(&plan)));
            drop(alarm);
        })
    }

    /// The next finished steps; none at the end.
    fn next_steps(&mut self) -> Option<Vec<Step>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            match state.line.pop_front() {
                None => {
                    shared.wake(&state);
                    return None;
                }
                Some(Place::Done(steps)) => {
                    state.ahead -= steps.len();
                    // Few wake-ups: not for each little room that opens, but before all is used up.
                    if state.ahead < AHEAD_STEPS_MAX / 2 {
                        shared.wake(&state);
                    }
                    return Some(steps);
                }
                Some(other) => state.line.push_front(other),
            }
            if state.broken {
                drop(state);
                self.fail();
                return None;
            }
            if let Some(piece) = state.take() {
                shared.wake(&state);
                drop(state);
                let (steps, rest) = self.reader.run(piece.work);
                state = shared.lock();
                state.put(piece.number, steps, rest);
            } else {
                state.caller_waits = true;
                state = shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.caller_waits = false;
            }
        }
    }

    /// Hands the panic of a thread on to the caller.
    fn fail(&mut self) {
        self.end();
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn end(&self) {
        self.plan.stop.store(true, Ordering::Relaxed);
        let state = self.shared.lock();
        self.shared.work.notify_all();
        drop(state);
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.steps.next() {
                return Some(step);
            }
            self.steps = self.next_steps()?.into_iter();
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.end();
        for thread in self.threads.drain(..) {
            // A panic there was reported there; to panic here again would end the process.
            drop(thread.join());
        }
    }
}

/// Tells the caller when a thread panics, who would else wait for ever.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().broken = true;
            self.0.ready.notify_all();
        }
    }
}
