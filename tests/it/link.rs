//! A network between a client and a server on this machine: slow, narrow, and broken on request.
//!
//! A TCP proxy of threads. Bytes first wait for their turn on the line (one token bucket for each direction, shared by
//! all connections), then travel: what is under way does not keep others from setting out, so the delay never limits
//! the bandwidth. Faults are switched while it runs. Requests of HTTP/1.1 are told apart on their way to the server,
//! so that some can be answered in its place.
//!
//! The standard library alone, in one file: `scripts/bench/proxy.rs` is the same network as a program. Its threads
//! live as long as the process.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::ffi::c_void;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// What may be caught up after a thread slept too long.
const BURST: Duration = Duration::from_millis(4);
/// How often a writer that cannot write looks whether it is still wanted.
const WRITE_CHECK: Duration = Duration::from_millis(50);
const PIECE_BYTES_MAX: u64 = 128 << 10;
const PIECE_BYTES_MIN: u64 = 4 << 10;
/// A line without a limit holds this much of one connection.
const IN_FLIGHT_BYTES: u64 = 16 << 20;
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How far away and how narrow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Line {
    /// Time of travel each way: half a round trip.
    pub(crate) delay: Duration,
    /// Most bytes per second to the server, all connections together; 0 = no limit.
    pub(crate) up: u64,
    /// Most bytes per second from the server.
    pub(crate) down: u64,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    Up,
    /// From the server.
    Down,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Connections let through.
    pub(crate) connections: u64,
    /// Connections reset as soon as they were made.
    pub(crate) turned_away: u64,
    /// Connections broken in the middle of something, by [`Link::cut_after`].
    pub(crate) cuts: u64,
    /// Requests seen.
    pub(crate) requests: u64,
    /// Of these, answered in the place of the server.
    pub(crate) answered: u64,
    /// Bytes delivered to the server.
    pub(crate) bytes_up: u64,
    /// Bytes delivered from the server.
    pub(crate) bytes_down: u64,
}

/// The network. Clients connect to `address`.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    server: SocketAddr,
    delay: Duration,
    up: Lane,
    down: Lane,
    is_held: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    turns_away: bool,
    is_silent: bool,
    refuses: bool,
    /// The listener is closed.
    is_closed: bool,
    answers: VecDeque<Vec<u8>>,
    open: Vec<Weak<Connection>>,
}

/// One direction of the line.
#[derive(Debug)]
struct Lane {
    bytes_per_sec: u64,
    piece_bytes: usize,
    in_flight_max: u64,
    free_at: Mutex<Instant>,
    bytes: AtomicU64,
    cut: Mutex<Cut>,
    cut_is_set: AtomicBool,
}

/// Breaks the connection that carries the last of so many bytes, so many times.
#[derive(Debug, Default)]
struct Cut {
    after: u64,
    left: u64,
    times: u64,
}

impl Lane {
    fn new(bytes_per_sec: u64, delay: Duration) -> Lane {
        let piece = if bytes_per_sec == 0 { PIECE_BYTES_MAX } else { bytes_per_sec / 500 };
        let travelling = (bytes_per_sec as f64 * delay.as_secs_f64() * 2.0) as u64 + 8 * PIECE_BYTES_MAX;
        Lane {
            bytes_per_sec,
            piece_bytes: piece.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX) as usize,
            in_flight_max: if bytes_per_sec == 0 { IN_FLIGHT_BYTES } else { travelling },
            free_at: Mutex::new(Instant::now()),
            bytes: AtomicU64::default(),
            cut: Mutex::default(),
            cut_is_set: AtomicBool::default(),
        }
    }

    /// Waits for a turn on the line; when the last of these bytes has set out.
    fn turn(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        if self.bytes_per_sec == 0 {
            return now;
        }
        let until = {
            let mut free_at = lock(&self.free_at);
            let from = now.checked_sub(BURST).map_or(*free_at, |earliest| earliest.max(*free_at));
            *free_at = from + Duration::from_secs_f64(bytes as f64 / self.bytes_per_sec as f64);
            *free_at
        };
        sleep_until(until);
        until.max(now)
    }

    /// How many of these bytes get through before the connection breaks; `None` = all.
    fn cut_within(&self, bytes: usize) -> Option<usize> {
        if !self.cut_is_set.load(Ordering::Relaxed) {
            return None;
        }
        let mut cut = lock(&self.cut);
        if cut.times == 0 {
            return None;
        }
        if cut.left > bytes as u64 {
            cut.left -= bytes as u64;
            return None;
        }
        let through = cut.left as usize;
        cut.times -= 1;
        cut.left = cut.after;
        Some(through)
    }
}

impl Link {
    /// A network to this server, listening on a port of its own.
    pub(crate) fn to(server: SocketAddr, line: Line) -> Link {
        Link::at(server, line, 0).expect("loopback has a free port")
    }

    /// The same on a certain port.
    pub(crate) fn at(server: SocketAddr, line: Line, port: u16) -> io::Result<Link> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let wire = Arc::new(Wire {
            server,
            delay: line.delay,
            up: Lane::new(line.up, line.delay),
            down: Lane::new(line.down, line.delay),
            is_held: AtomicBool::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let shared = wire.clone();
        thread::spawn(move || shared.listen(listener, address));
        Ok(Link { address, wire })
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has happened so far.
    pub(crate) fn counts(&self) -> Counts {
        let bytes = |lane: &Lane| lane.bytes.load(Ordering::Relaxed);
        Counts { bytes_up: bytes(&self.wire.up), bytes_down: bytes(&self.wire.down), ..self.wire.state().counts }
    }

    /// Waits until this is true of the counts; panics if it is not within two minutes.
    pub(crate) fn until(&self, what: &str, is_true: impl Fn(&Counts) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !is_true(&self.counts()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.counts());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Resets every connection, and each new one as soon as it is made.
    pub(crate) fn cut(&self) {
        self.wire.state().turns_away = true;
        self.reset();
    }

    /// Resets every connection; new ones are welcome.
    pub(crate) fn reset(&self) {
        let open = std::mem::take(&mut self.wire.state().open);
        open.iter().filter_map(Weak::upgrade).for_each(|connection| connection.reset());
    }

    /// Nobody listens any more: connections are refused. Those that exist go on.
    pub(crate) fn refuse(&self) {
        self.wire.state().refuses = true;
        // The listener has to wake up to close.
        let _ = TcpStream::connect(self.address);
        self.wire.wait(|state| state.is_closed);
    }

    /// All connections, old and new, lead to nobody: what is sent disappears, and nothing is ever said on them.
    pub(crate) fn fall_silent(&self) {
        let mut state = self.wire.state();
        state.is_silent = true;
        for connection in state.open.iter().filter_map(Weak::upgrade) {
            connection.is_silent.store(true, Ordering::Relaxed);
        }
    }

    /// Nothing moves any more, in both directions. Nothing is lost: it moves on once the link is mended.
    pub(crate) fn hold(&self) {
        self.wire.is_held.store(true, Ordering::Relaxed);
    }

    /// Breaks the connection that carries the last of so many bytes from now on, and so on, so many times.
    pub(crate) fn cut_after(&self, way: Way, bytes: u64, times: u64) {
        let lane = self.wire.lane(way);
        *lock(&lane.cut) = Cut { after: bytes, left: bytes, times };
        lane.cut_is_set.store(times > 0, Ordering::Relaxed);
    }

    /// Answers the next requests in the server's place: a status, more header lines (each ends in CR LF), a body.
    pub(crate) fn answer(&self, times: usize, status: u16, headers: &str, body: &str) {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} Link\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes();
        self.wire.state().answers.extend(std::iter::repeat_n(answer, times));
    }

    /// Ends all faults. Connections that lead to nobody still do.
    pub(crate) fn mend(&self) {
        [Way::Up, Way::Down].into_iter().for_each(|way| self.cut_after(way, 0, 0));
        self.wire.is_held.store(false, Ordering::Relaxed);
        let mut state = self.wire.state();
        state.answers.clear();
        state.turns_away = false;
        state.is_silent = false;
        state.refuses = false;
        drop(state);
        self.wire.changed.notify_all();
        self.wire.wait(|state| !state.is_closed);
    }
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    fn wait(&self, is_true: impl Fn(&State) -> bool) {
        let waited = self.changed.wait_while(self.state(), |state| !is_true(state));
        drop(waited);
    }

    fn wait_while_held(&self, connection: &Connection) {
        while self.is_held.load(Ordering::Relaxed) && !connection.is_reset() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn listen(self: Arc<Wire>, listener: TcpListener, address: SocketAddr) {
        let mut listener = Some(listener);
        loop {
            let client = listener.as_ref().and_then(|listener| listener.accept().ok());
            if self.state().refuses {
                drop((listener.take(), client));
                self.state().is_closed = true;
                self.changed.notify_all();
                self.wait(|state| !state.refuses);
                // Nobody else can want this port for long.
                while listener.is_none() {
                    listener = TcpListener::bind(address).ok();
                    thread::sleep(Duration::from_millis(1));
                }
                self.state().is_closed = false;
                self.changed.notify_all();
            } else if let Some((client, _)) = client {
                self.clone().welcome(client);
            }
        }
    }

    fn welcome(self: Arc<Wire>, client: TcpStream) {
        let mut state = self.state();
        if state.turns_away {
            state.counts.turned_away += 1;
            close_with_reset(&client);
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else { return close_with_reset(&client) };
        for stream in [&client, &server] {
            let prepared = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(WRITE_CHECK)));
            prepared.expect("a connected socket takes options");
        }
        let is_silent = state.is_silent.into();
        let [up, down] = [self.up.in_flight_max, self.down.in_flight_max].map(Queue::new);
        let connection = Arc::new(Connection { client, server, up, down, is_silent, is_reset: false.into() });
        state.counts.connections += 1;
        state.open.retain(|open| open.strong_count() > 0);
        state.open.push(Arc::downgrade(&connection));
        drop(state);
        for way in [Way::Up, Way::Down] {
            let (wire, from) = (self.clone(), connection.clone());
            thread::spawn(move || wire.send_out(&from, way));
            let (wire, to) = (self.clone(), connection.clone());
            thread::spawn(move || wire.deliver(&to, way));
        }
    }

    /// Takes bytes from one end and sends them on their way.
    fn send_out(&self, connection: &Connection, way: Way) {
        let lane = self.lane(way);
        let mut from = if way == Way::Up { &connection.client } else { &connection.server };
        let mut buffer = vec![0; lane.piece_bytes];
        let mut requests = Requests::default();
        loop {
            self.wait_while_held(connection);
            let read = match from.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap_or(0),
            };
            if read == 0 || connection.is_reset() {
                break;
            }
            if connection.is_silent.load(Ordering::Relaxed) {
                continue;
            }
            if way == Way::Down {
                let at = lane.turn(read) + self.delay;
                connection.down.push(connection, at, Some(buffer[..read].to_vec()));
                continue;
            }
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                if requests.is_between() {
                    let mut state = self.state();
                    state.counts.requests += 1;
                    requests.answer = state.answers.pop_front();
                }
                let (part, after) = rest.split_at(requests.advance(rest));
                rest = after;
                let at = lane.turn(part.len()) + self.delay;
                if requests.answer.is_none() {
                    connection.up.push(connection, at, Some(part.to_vec()));
                } else if requests.is_between() {
                    self.state().counts.answered += 1;
                    connection.down.push(connection, at + self.delay, requests.answer.take());
                }
            }
        }
        connection.queue(way).push(connection, Instant::now() + self.delay, None);
    }

    /// Hands over what has arrived.
    fn deliver(&self, connection: &Connection, way: Way) {
        let lane = self.lane(way);
        let to = if way == Way::Up { &connection.server } else { &connection.client };
        while let Some((at, bytes)) = connection.queue(way).pop(connection) {
            sleep_until(at);
            self.wait_while_held(connection);
            if connection.is_reset() {
                return;
            }
            let Some(bytes) = bytes else {
                let _ = to.shutdown(Shutdown::Write);
                return;
            };
            let through = lane.cut_within(bytes.len());
            if connection.write(to, &bytes[..through.unwrap_or(bytes.len())]).is_err() {
                return connection.reset();
            }
            lane.bytes.fetch_add(through.unwrap_or(bytes.len()) as u64, Ordering::Relaxed);
            if through.is_some() {
                self.state().counts.cuts += 1;
                return connection.reset();
            }
        }
    }
}

/// A client and its server.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    up: Queue,
    down: Queue,
    is_silent: AtomicBool,
    is_reset: AtomicBool,
}

impl Connection {
    fn queue(&self, way: Way) -> &Queue {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    fn is_reset(&self) -> bool {
        self.is_reset.load(Ordering::Relaxed)
    }

    /// Ends all threads of the connection; the last one to go closes both ends with a reset.
    fn reset(&self) {
        self.is_reset.store(true, Ordering::Relaxed);
        for stream in [&self.client, &self.server] {
            close_with_reset(stream);
            // Wakes whoever reads, and sends nothing.
            let _ = stream.shutdown(Shutdown::Read);
        }
        self.up.wake();
        self.down.wake();
    }

    fn write(&self, mut to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && !self.is_reset() {
            match to.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is under way in one direction of a connection.
#[derive(Debug)]
struct Queue {
    bytes_max: u64,
    travelling: Mutex<Travelling>,
    changed: Condvar,
}

/// Pieces with the time of their arrival; `None` is the end.
#[derive(Debug, Default)]
struct Travelling {
    bytes: u64,
    pieces: VecDeque<(Instant, Option<Vec<u8>>)>,
}

impl Queue {
    fn new(bytes_max: u64) -> Queue {
        Queue { bytes_max, travelling: Mutex::default(), changed: Condvar::new() }
    }

    fn wake(&self) {
        let _travelling = lock(&self.travelling);
        self.changed.notify_all();
    }

    fn push(&self, connection: &Connection, at: Instant, bytes: Option<Vec<u8>>) {
        let is_full = |travelling: &mut Travelling| travelling.bytes > self.bytes_max && !connection.is_reset();
        let travelling = lock(&self.travelling);
        let mut travelling = self.changed.wait_while(travelling, is_full).unwrap_or_else(PoisonError::into_inner);
        travelling.bytes += bytes.as_ref().map_or(0, Vec::len) as u64;
        travelling.pieces.push_back((at, bytes));
        self.changed.notify_all();
    }

    /// The next to arrive; `None` after a reset.
    fn pop(&self, connection: &Connection) -> Option<(Instant, Option<Vec<u8>>)> {
        let is_waiting = |travelling: &mut Travelling| travelling.pieces.is_empty() && !connection.is_reset();
        let travelling = lock(&self.travelling);
        let mut travelling = self.changed.wait_while(travelling, is_waiting).unwrap_or_else(PoisonError::into_inner);
        let next = travelling.pieces.pop_front()?;
        travelling.bytes -= next.1.as_ref().map_or(0, Vec::len) as u64;
        self.changed.notify_all();
        Some(next)
    }
}

/// Tells requests apart on their way to the server.
#[derive(Debug, Default)]
struct Requests {
    head: Vec<u8>,
    body_left: u64,
    /// This is no HTTP.
    is_strange: bool,
    /// What the request under way will be answered with instead of being sent on.
    answer: Option<Vec<u8>>,
}

impl Requests {
    /// True if the next byte begins a request.
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.body_left == 0 && !self.is_strange
    }

    /// Takes bytes up to the end of the request at the most; how many.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        if self.is_strange {
            return bytes.len();
        }
        if self.body_left > 0 {
            let taken = self.body_left.min(bytes.len() as u64);
            self.body_left -= taken;
            return taken as usize;
        }
        for (taken, byte) in bytes.iter().zip(1..).map(|(byte, n)| (n, *byte)) {
            self.head.push(byte);
            if self.head.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
                self.body_left = length.unwrap_or(0);
                self.head.clear();
                return taken;
            }
        }
        self.is_strange = self.head.len() > HEAD_BYTES_MAX;
        bytes.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sleep_until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}

/// Closing this stream will reset the connection instead of ending it politely.
fn close_with_reset(stream: &TcpStream) {
    const SOL_SOCKET: c_int = 1;
    const SO_LINGER: c_int = 13;
    unsafe extern "C" {
        fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, len: u32) -> c_int;
    }
    // On, for zero seconds.
    let linger: [c_int; 2] = [1, 0];
    // SAFETY: the descriptor is open as long as the stream is borrowed, and the value outlives the call.
    let failed = unsafe { setsockopt(stream.as_raw_fd(), SOL_SOCKET, SO_LINGER, linger.as_ptr().cast(), 8) };
    assert_eq!(failed, 0, "a socket takes SO_LINGER");
}
