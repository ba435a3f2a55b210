//! Object servers on loopback, as child processes: started once for all tests that run at the same time, ended with
//! the last of them. `scripts/servers.sh` installs them.

use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Weak;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// The account every Azurite has, and its key: printed in its manual, no secret.
pub(crate) const AZURITE_ACCOUNT: &str = "devstoreaccount1";
/// See [`AZURITE_ACCOUNT`].
pub(crate) const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Signed with that key: may do everything until 2099.
pub(crate) const AZURITE_SAS: &str = "sp=rwdlac&ss=b&srt=sco&se=2099-01-01T00%3A00%3A00Z&sv=2019-12-12&sig=YKAtmJudHaH98kax9IHOYkiCF9veHhGg4TBHNwluLXo%3D";

/// A server under way; ends when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts a program of that tool. `arguments` gets its port and a folder of its own, where it is started.
    fn start(tool: &str, program: &str, arguments: impl Fn(u16, &Path) -> Vec<String>) -> Server {
        let program = tools().join(program);
        assert!(program.exists(), "{tool} is not installed in {}: run scripts/servers.sh {tool}", program.display());
        // Another process may take the port between our asking for it and the server's.
        for _ in 0..3 {
            let port = free_port();
            let folder = tempfile::tempdir().unwrap();
            let mut child = Command::new(&program)
                .args(arguments(port, folder.path()))
                .current_dir(&folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if answers(address, &mut child) {
                return Server { child, address, folder };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("{tool} did not start; try {} yourself", program.display());
    }
}

/// A server that speaks S3 and has the bucket `tests`.
pub(crate) fn moto() -> Arc<Server> {
    static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    shared(&RUNNING, || {
        let server = Server::start("moto", "moto/bin/moto_server", |port, _| {
            ["-H", "127.0.0.1", "-p", &port.to_string()].map(String::from).to_vec()
        });
        assert_eq!(request(server.address, "PUT", "/tests"), 200);
        server
    })
}

/// A server that speaks Azure Blob Storage and has the container `tests`.
pub(crate) fn azurite() -> Arc<Server> {
    static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    shared(&RUNNING, || {
        let server = Server::start("azurite", "azurite/node_modules/.bin/azurite-blob", |port, _| {
            let options = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"];
            let host = ["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()].map(String::from);
            options.map(String::from).into_iter().chain(host).collect()
        });
        let path = format!("/{AZURITE_ACCOUNT}/tests?restype=container&{AZURITE_SAS}");
        assert_eq!(request(server.address, "PUT", &path), 201);
        server
    })
}

/// One node of Garage, which replaces objects whatever the condition, and a key for its bucket `tests`.
#[derive(Debug)]
pub(crate) struct Garage {
    server: Server,
    key: String,
    secret: String,
}

/// A server that speaks S3, but enforces no conditions, and has the bucket `tests`.
pub(crate) fn garage() -> Arc<Garage> {
    static RUNNING: Mutex<Weak<Garage>> = Mutex::new(Weak::new());
    shared(&RUNNING, || {
        let server = Server::start("garage", GARAGE, |port, folder| {
            fs::write(folder.join("garage.toml"), garage_config(port, folder)).unwrap();
            ["-c", "garage.toml", "server"].map(String::from).to_vec()
        });
        let mut garage = Garage { server, key: String::new(), secret: String::new() };
        let node = garage.ask(&["node", "id", "-q"]);
        garage.ask(&["layout", "assign", "-z", "here", "-c", "1G", node.split('@').next().unwrap()]);
        garage.ask(&["layout", "apply", "--version", "1"]);
        let made = garage.ask(&["key", "create", "tester"]);
        let value =
            |label: &str| made.lines().find_map(|line| Some(line.trim().strip_prefix(label)?.trim().to_owned()));
        (garage.key, garage.secret) = (value("Key ID:").unwrap(), value("Secret key:").unwrap());
        garage.ask(&["bucket", "create", "tests"]);
        garage.ask(&["bucket", "allow", "--read", "--write", "--owner", "tests", "--key", &garage.key]);
        garage
    })
}

const GARAGE: &str = "garage/bin/garage";

fn garage_config(port: u16, folder: &Path) -> String {
    let (folder, rpc, secret) = (folder.display(), free_port(), "0123456789abcdef".repeat(4));
    format!(
        "metadata_dir = '{folder}/meta'\ndata_dir = '{folder}/data'\ndb_engine = 'sqlite'\nreplication_factor = 1\n\
         rpc_bind_addr = '127.0.0.1:{rpc}'\nrpc_public_addr = '127.0.0.1:{rpc}'\nrpc_secret = '{secret}'\n\
         [s3_api]\ns3_region = 'garage'\napi_bind_addr = '127.0.0.1:{port}'\n"
    )
}

impl Garage {
    /// Settings of a client.
    pub(crate) fn settings(&self) -> [String; 4] {
        [
            format!("s3.endpoint={}", self.server.url()),
            format!("s3.access_key_id={}", self.key),
            format!("s3.secret_access_key={}", self.secret),
            "s3.region=garage".to_owned(),
        ]
    }

    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new(tools().join(GARAGE));
        let output = command.args(["-c", "garage.toml"]).args(words).current_dir(&self.server.folder).output().unwrap();
        assert!(output.status.success(), "garage {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A port nobody listens on (any more).
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn shared<S>(running: &Mutex<Weak<S>>, start: impl FnOnce() -> S) -> Arc<S> {
    let mut running = running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    running.upgrade().unwrap_or_else(|| {
        let server = Arc::new(start());
        *running = Arc::downgrade(&server);
        server
    })
}

fn tools() -> PathBuf {
    match std::env::var_os("BYGONE_TOOLS") {
        Some(tools) => tools.into(),
        None => PathBuf::from(std::env::var_os("HOME").expect("there is a home")).join(".cache/bygone-tools"),
    }
}

/// Tries to connect until the server listens; false if it ended.
fn answers(address: SocketAddr, child: &mut Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(180);
    while Instant::now() < deadline {
        if TcpStream::connect(address).is_ok() {
            // Somebody else's server would answer too.
            return child.try_wait().unwrap().is_none();
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// One plain HTTP request without a body; the status of the answer.
fn request(address: SocketAddr, method: &str, path: &str) -> u16 {
    ask(address, method, path, "").0
}

/// The same with further lines of the head, each with its end; and with all of the answer.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, lines: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer.into_owned())
}

/// What a stub says to one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Further header lines, `name: value`.
    pub(crate) headers: Vec<String>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// Announces the whole body but sends only so much of it, then hangs up.
    pub(crate) cut: Option<usize>,
    /// Sends nothing at all and keeps the connection open.
    pub(crate) is_silent: bool,
}

impl Answer {
    /// A status and a body.
    pub(crate) fn new(status: u16, body: &str) -> Answer {
        Answer { status, body: body.into(), ..Answer::default() }
    }
}

/// An HTTP server that says what the test wants to hear. Its thread lives as long as the test binary.
#[derive(Debug)]
pub(crate) struct Stub {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// `answer` gets the head of a request in lower case, its body, and how many came before.
    pub(crate) fn start(answer: impl Fn(&str, &[u8], usize) -> Answer + Send + Sync + 'static) -> Stub {
        Stub::serve(answer, |mut stream, answer, log| converse(&mut stream, answer, log))
    }

    /// The same behind TLS; `https://127.0.0.1:port` is [`Stub::url`] with one letter more.
    pub(crate) fn start_tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(&str, &[u8], usize) -> Answer + Send + Sync + 'static,
    ) -> Stub {
        Stub::serve(answer, move |stream, answer, log| {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            converse(&mut stream, answer, log);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
    }

    fn serve(
        answer: impl Fn(&str, &[u8], usize) -> Answer + Send + Sync + 'static,
        talk: impl Fn(TcpStream, Reply<'_>, &Mutex<Vec<String>>) + Send + Sync + 'static,
    ) -> Stub {
        let talk = Arc::new(talk);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), seen.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, talk, log) = (answer.clone(), talk.clone(), log.clone());
                thread::spawn(move || talk(stream, &*answer, &log));
            }
        });
        Stub { address, seen }
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

type Reply<'a> = &'a dyn Fn(&str, &[u8], usize) -> Answer;

fn converse(stream: &mut (impl Read + Write), answer: Reply<'_>, log: &Mutex<Vec<String>>) {
    let Some((head, body)) = read_request(stream) else { return };
    let before = {
        let mut log = log.lock().unwrap();
        log.push(head.clone());
        log.len() - 1
    };
    let answer = answer(&head, &body, before);
    if answer.is_silent {
        // Until the client gives up.
        let _ = stream.read(&mut [0]);
        return;
    }
    let mut reply = format!("HTTP/1.1 {} Stub\r\nConnection: close\r\n", answer.status);
    for line in &answer.headers {
        let _ = write!(reply, "{line}\r\n");
    }
    let _ = write!(reply, "Content-Length: {}\r\n\r\n", answer.body.len());
    let sent = if head.starts_with("head ") { 0 } else { answer.cut.unwrap_or(answer.body.len()) };
    let _ = stream.write_all(reply.as_bytes()).and_then(|()| stream.write_all(&answer.body[..sent]));
}

/// Head and body of a request.
fn read_request(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    stream.take(len).read_to_end(&mut body).ok()?;
    Some((head, body))
}
