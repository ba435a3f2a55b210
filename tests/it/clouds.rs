//! Settings of the clouds, as servers see them: addresses, signatures, proxies, certificates, profiles, classes.
//!
//! Google Cloud Storage has no server that could be started here. What is tested of it, is tested against [`bucket`],
//! which says what Google's manual says; nothing here ever spoke to the real service.

use crate::bucket::Bucket;
use crate::bucket::bucket;
use crate::bucket::header;
use crate::contract::content;
use crate::contract::contract;
use crate::contract::kind;
use crate::program::Program;
use crate::servers::Answer;
use crate::servers::Stub;
use bygone::monitor::chain;
use bygone::store;
use bygone::store::AnyStore;
use bygone::store::ErrorKind;
use bygone::store::Probed;
use bygone::store::StoreOptions;
use bygone::store::probe;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

const KEYS: [&str; 2] = ["s3.access_key_id=tester", "s3.secret_access_key=hunter2"];

fn try_open(location: &str, settings: &[&str]) -> store::Result<AnyStore> {
    let mut options = StoreOptions { use_environment: false, retry_secs_max: 0, ..StoreOptions::default() };
    settings.iter().for_each(|text| options.set(text).unwrap());
    store::open(&location.parse().unwrap(), &options)
}

fn open(location: &str, settings: &[&str]) -> AnyStore {
    try_open(location, settings).unwrap()
}

/// Writes one object through this store; what the server saw of that.
async fn seen_of_put(store: &AnyStore, stub: &Stub) -> String {
    let before = stub.seen().len();
    store.put_new("config", content(9, 0)).await.unwrap();
    stub.seen().swap_remove(before)
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

// -- S3

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_of_the_tests_keeps_the_contract() {
    let stub = bucket();
    let endpoint = format!("s3.endpoint={}", stub.url());
    contract(open("s3://tests/contract", &[&KEYS[..], &[&endpoint]].concat())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_region_and_session_are_signed() {
    let stub = bucket();
    let endpoint = format!("s3.endpoint={}", stub.url());
    let settings = [&KEYS[..], &[&endpoint, "s3.region=eu-north-1", "s3.session_token=t0ken"]].concat();
    let head = seen_of_put(&open("s3://tests/p", &settings), &stub).await;
    assert!(head.starts_with("put /tests/p/config http/1.1"), "path style: {head}");
    assert_eq!(header(&head, "x-amz-security-token: "), Some("t0ken"));
    let signature = header(&head, "authorization: ").unwrap();
    assert!(signature.contains("credential=tester/") && signature.contains("/eu-north-1/s3/aws4_request"));
    assert!(signature.contains("x-amz-security-token") && !head.contains("hunter2"), "{head}");
    // Without a session there is none.
    let head = seen_of_put(&open("s3://tests/q", &[&KEYS[..], &[&endpoint]].concat()), &stub).await;
    assert_eq!(header(&head, "x-amz-security-token"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_signs_nothing() {
    let stub = bucket();
    let url = stub.url();
    for (location, settings) in [
        ("s3://tests/s3", ["s3.skip_signature=true".to_owned(), format!("s3.endpoint={url}")]),
        ("gs://tests/gs", ["gs.skip_signature=true".to_owned(), format!("gs.base_url={url}")]),
    ] {
        let store = open(location, &[&settings[0], &settings[1]]);
        let head = seen_of_put(&store, &stub).await;
        assert_eq!(store.get("config").await.unwrap(), content(9, 0));
        assert!(store.list("").await.unwrap().len() == 1);
        let heads = stub.seen();
        // Google's client signs a put with nothing when it may not sign.
        assert!(
            heads.iter().all(|head| header(head, "authorization: ").is_none_or(|said| said.trim() == "bearer")),
            "{head}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_can_be_hosts_and_proxies_are_used() {
    let proxy = bucket();
    let by_proxy = format!("s3.proxy_url={}", proxy.url());
    let settings = [&KEYS[..], &[&by_proxy, "s3.endpoint=http://s3.example.org:81"]].concat();
    let head = seen_of_put(&open("s3://tests/p", &settings), &proxy).await;
    assert!(head.starts_with("put http://s3.example.org:81/tests/p/config "), "{head}");
    let settings = [&settings[..], &["s3.virtual_hosted_style_request=true"]].concat();
    let store = open("s3://tests/v", &settings);
    let head = seen_of_put(&store, &proxy).await;
    assert!(head.starts_with("put http://tests.s3.example.org:81/v/config "), "{head}");
    assert_eq!(header(&head, "host: "), Some("tests.s3.example.org:81"));
    assert_eq!(store.get("config").await.unwrap(), content(9, 0));
    assert_eq!(store.list("").await.unwrap().len(), 1);
    // An endpoint that holds the bucket already is taken as it is.
    let settings = ["s3.virtual_hosted_style_request=true", "s3.endpoint=http://tests.s3.example.org", &by_proxy];
    let head = seen_of_put(&open("s3://tests/w", &[&KEYS[..], &settings].concat()), &proxy).await;
    assert!(head.starts_with("put http://tests.s3.example.org/w/config "), "{head}");
}

// -- Azure

#[tokio::test(flavor = "multi_thread")]
async fn azure_tier_and_nobody() {
    let stub = Stub::start(|_, _, _| Answer {
        headers: ["ETag: \"x\"", "Last-Modified: Sat, 01 Jan 2028 00:00:00 GMT"].map(String::from).to_vec(),
        ..Answer::new(201, "")
    });
    let endpoint = format!("az.endpoint={}", stub.url());
    let store =
        open("az://tests/p", &[&endpoint, "az.account_name=me", "az.account_key=aHVudGVyMg==", "storage_class=cool"]);
    store.put_bulk("packs/00/x", content(9, 0)).await.unwrap();
    let head = seen_of_put(&store, &stub).await;
    assert!(header(&head, "authorization: sharedkey me:").is_some() && header(&head, "x-ms-access-tier").is_none());
    assert_eq!(header(&stub.seen()[0], "x-ms-access-tier: "), Some("cool"));
    let nobody = open("az://tests/p", &[&endpoint, "az.account_name=me", "az.skip_signature=true"]);
    let head = seen_of_put(&nobody, &stub).await;
    assert!(head.starts_with("put /tests/p/config ") && header(&head, "authorization").is_none(), "{head}");
}

// -- Google Cloud Storage

#[tokio::test(flavor = "multi_thread")]
async fn google_keeps_the_contract_as_far_as_its_manual_goes() {
    let stub = bucket();
    let base = format!("gs.base_url={}", stub.url());
    contract(open("gs://tests/contract", &[&base, "gs.bearer_token=t0ken"])).await;
    let store = open("gs://tests/p", &[&base, "gs.bearer_token=t0ken", "storage_class=nearline"]);
    assert_eq!(probe(&*store).await.unwrap(), Probed { create_only: true, can_delete: true });
    let head = seen_of_put(&store, &stub).await;
    assert!(head.starts_with("put /tests/p%2fconfig "), "{head}");
    assert_eq!(header(&head, "x-goog-if-generation-match: "), Some("0"));
    assert_eq!(header(&head, "x-goog-storage-class"), None);
    store.put_bulk("packs/00/x", content(9, 0)).await.unwrap();
    let heads = stub.seen();
    assert_eq!(header(heads.last().unwrap(), "x-goog-storage-class: "), Some("nearline"));
    assert!(heads.iter().all(|head| header(head, "authorization: ") == Some("bearer t0ken")));
    assert!(heads.iter().any(|head| head.starts_with("get /tests?list-type=2&prefix=contract%2f")), "{heads:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn google_service_accounts_sign_tokens_themselves() {
    let stub = bucket();
    let folder = tempfile::tempdir().unwrap();
    run("openssl", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key"], folder.path());
    let account = serde_json::json!({
        "type": "service_account",
        "private_key": fs::read_to_string(folder.path().join("key")).unwrap(),
        "private_key_id": "k1",
        "client_email": "backup@example.org",
    });
    let file = folder.path().join("account.json");
    fs::write(&file, account.to_string()).unwrap();
    let settings = [format!("gs.base_url={}", stub.url()), format!("gs.service_account={}", file.display())];
    let store = open("gs://tests/account", &[&settings[0], &settings[1]]);
    let head = seen_of_put(&store, &stub).await;
    let token = header(&head, "authorization: bearer ").unwrap();
    assert!(token.split('.').count() == 3 && token.len() > 400, "a signed token: {token}");
    // A key file that is none is told at once.
    fs::write(&file, "{}").unwrap();
    let error = try_open("gs://tests/account", &[&settings[0], &settings[1]]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadLocation);
}

// -- certificates

/// An authority in a folder, and a server that it vouches for.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        let openssl = |line: &str| run("openssl", &line.split(' ').collect::<Vec<_>>(), folder.path());
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN={name} -days 2 -addext keyUsage=critical,keyCertSign"
        ));
        openssl(&format!("req -new {key} -keyout key.pem -out wish.pem -subj /CN=localhost"));
        let authority = "-CA ca.pem -CAkey ca.key -CAcreateserial";
        openssl(&format!("x509 -req -in wish.pem {authority} -days 2 -extfile names -out cert.pem"));
        Authority { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server with a bucket, and where it is.
    fn serve(&self) -> (Stub, String) {
        let certificate = CertificateDer::from_pem_file(self.folder.path().join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.folder.path().join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let bucket = Bucket::default();
        let stub = Stub::start_tls(Arc::new(config), move |head, body, _| bucket.answer(head, body));
        let url = stub.url().replace("http:", "https:");
        (stub, url)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_authorities_are_trusted_when_named() {
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    let (stub, url) = ours.serve();
    let at = [KEYS[0].to_owned(), KEYS[1].to_owned(), format!("s3.endpoint={url}")];
    let with = |more: &[String]| {
        let settings: Vec<&str> = at.iter().chain(more).map(String::as_str).collect();
        try_open("s3://tests/tls", &settings)
    };
    let ca_file = |path: &Path| format!("ca_file={}", path.display());
    let store = with(&[ca_file(&ours.file())]).unwrap();
    store.put_new("config", content(300_000, 0)).await.unwrap();
    assert!(store.get("config").await.unwrap() == content(300_000, 0));
    let before = stub.seen().len();
    // However patient: nobody gets a better certificate by waiting.
    for more in [vec!["retry_secs_max=300".to_owned()], vec![ca_file(&theirs.file())]] {
        let store = with(&more).unwrap();
        for error in [store.get("config").await.unwrap_err(), store.put_new("x", content(9, 0)).await.unwrap_err()] {
            assert!(error.kind == ErrorKind::Other && error.is_untrusted(), "{error:?}");
            let told = chain(&error);
            assert!(told.contains("the certificate of '127.0.0.1' is not trusted: who issued it"), "{told}");
        }
    }
    // The right authority, but not the name of this server.
    let elsewhere = format!("s3.endpoint={}", url.replace("127.0.0.1", "localhost"));
    let error = with(&[ca_file(&ours.file()), elsewhere]).unwrap().get("config").await.unwrap_err();
    assert!(error.is_untrusted() && chain(&error).contains("'localhost' is not trusted"), "{}", chain(&error));
    assert_eq!(stub.seen().len(), before, "nothing is said to a server that is not trusted");
    let missing = ours.folder.path().join("missing.pem");
    fs::write(ours.folder.path().join("empty.pem"), "nothing").unwrap();
    for file in [missing, ours.folder.path().join("empty.pem")] {
        let error = with(&[ca_file(&file)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadLocation);
        assert!(chain(&error).contains(&format!("cannot read certificates from '{}'", file.display())), "{error:?}");
    }
}

// -- the program and its environment

/// Runs `init` with these variables. Exit code and what was told.
fn init(program: &Program, place: &str, variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let place = format!("s3://tests/{place}");
    let arguments = [&["-r", &place, "--retry-for", "0"], arguments, &["init"]].concat();
    let output = program.command(&arguments).envs(variables.iter().copied()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const LOGIN: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "tester"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];

#[test]
fn variables_name_certificates() {
    let authority = Authority::new("Ours");
    let (_stub, url) = authority.serve();
    let program = Program::new();
    let file = authority.file();
    let file = file.to_str().unwrap();
    let endpoint = ("AWS_ENDPOINT_URL", url.as_str());
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let (code, told) = init(&program, variable, &[LOGIN[0], LOGIN[1], endpoint, (variable, file)], &[]);
        assert_eq!(code, 0, "{variable}: {told}");
    }
    let (code, told) = init(&program, "untrusted", &[LOGIN[0], LOGIN[1], endpoint], &[]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("the certificate of '127.0.0.1' is not trusted") && told.contains("ca_file=FILE"), "{told}");
}

#[test]
fn variables_name_proxies() {
    let proxy = bucket();
    let program = Program::new();
    let plain = [("AWS_ENDPOINT_URL", "http://s3.example.org"), ("HTTP_PROXY", &proxy.url())];
    let (code, told) = init(&program, "plain", &[&LOGIN[..], &plain].concat(), &[]);
    assert_eq!(code, 0, "{told}");
    assert!(proxy.seen().iter().all(|head| head.contains(" http://s3.example.org/tests")), "{:#?}", proxy.seen());
    // What is to be asked directly is.
    let near = bucket();
    let direct = [
        ("AWS_ENDPOINT_URL", near.url()),
        ("HTTP_PROXY", proxy.url()),
        ("NO_PROXY", "127.0.0.1,example.org".to_owned()),
    ];
    let before = proxy.seen().len();
    let direct: Vec<(&str, &str)> = direct.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (code, told) = init(&program, "direct", &[&LOGIN[..], &direct].concat(), &[]);
    assert_eq!(code, 0, "{told}");
    assert!(!near.seen().is_empty() && proxy.seen().len() == before);
    // Encrypted requests go through a tunnel. This proxy digs none.
    let closed = Stub::start(|_, _, _| Answer::new(403, ""));
    let tunnel = [("AWS_REGION", "eu-north-1"), ("HTTPS_PROXY", &closed.url())];
    let (code, told) = init(&program, "tunnel", &[&LOGIN[..], &tunnel].concat(), &[]);
    assert_eq!(code, 16, "{told}");
    let seen = closed.seen();
    assert!(seen[0].starts_with("connect s3.eu-north-1.amazonaws.com:443 "), "{seen:#?}");
}

#[test]
fn profiles_of_the_aws_tools_are_used() {
    let stub = bucket();
    let program = Program::new();
    let folder = program.scratch().join(".aws");
    fs::create_dir(&folder).unwrap();
    let keys = "[default]\naws_access_key_id = home\naws_secret_access_key = hunter2\n\
                [work]\naws_access_key_id = office\naws_secret_access_key = hunter3\naws_session_token = t0ken\n";
    fs::write(folder.join("credentials"), keys).unwrap();
    let config = format!(
        "[default]\nregion = eu-south-2\nendpoint_url = {0}\n[profile work]\nregion = us-west-2\nendpoint_url = {0}\n\
         [profile sso]\nsso_session = us\nendpoint_url = {0}\n",
        stub.url()
    );
    fs::write(folder.join("config"), config).unwrap();
    let signed = |place: &str, variables: &[(&str, &str)], arguments: &[&str]| {
        let before = stub.seen().len();
        let (code, told) = init(&program, place, variables, arguments);
        assert_eq!(code, 0, "{told}");
        assert!(!told.contains("hunter"), "{told}");
        let head = stub.seen().swap_remove(before);
        let words = ["home/", "office/", "tester/", "/eu-south-2/", "/us-west-2/", "t0ken"];
        words.into_iter().filter(|word| head.contains(word)).collect::<Vec<_>>()
    };
    assert_eq!(signed("a", &[], &[]), ["home/", "/eu-south-2/"]);
    assert_eq!(signed("b", &[("AWS_PROFILE", "work")], &[]), ["office/", "/us-west-2/", "t0ken"]);
    assert_eq!(signed("c", &[LOGIN[0], LOGIN[1], ("AWS_PROFILE", "work")], &[]), ["tester/", "/us-west-2/"]);
    assert_eq!(signed("d", &LOGIN, &["-o", "s3.profile=work"]), ["office/", "/us-west-2/", "t0ken"]);
    let (code, told) = init(&program, "e", &[("AWS_PROFILE", "sso")], &[]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("SSO") && told.contains("aws configure export-credentials --profile sso"), "{told}");
    let (code, told) = init(&program, "f", &[("AWS_PROFILE", "nobody")], &[]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("there is no profile 'nobody'"), "{told}");
}

// -- classes

#[test]
fn only_contents_of_files_go_to_a_cheaper_class() {
    let stub = bucket();
    let program = Program::with_source();
    let endpoint = format!("s3.endpoint={}", stub.url());
    let basic = ["-r", "s3://tests/classes", "-o", &endpoint, "-o", KEYS[0], "-o", KEYS[1]];
    let run = |more: &[&str]| {
        let output = program.command(&[&basic[..], more].concat()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let source = program.source();
    for command in [&["init"][..], &["backup", source.to_str().unwrap()]] {
        let (code, told) = run(&[&["-o", "storage_class=standard_ia"], command].concat());
        assert_eq!(code, 0, "{told}");
    }
    let puts: Vec<String> = stub.seen().into_iter().filter(|head| head.starts_with("put ")).collect();
    let is_pack = |head: &&String| head.starts_with("put /tests/classes/packs/");
    let (cheap, hot): (Vec<_>, Vec<_>) =
        puts.iter().partition(|head| header(head, "x-amz-storage-class: ") == Some("standard_ia"));
    assert!(cheap.len() == 1 && cheap.iter().all(is_pack), "{cheap:#?}");
    assert_eq!(hot.iter().filter(|head| is_pack(head)).count(), 1, "{hot:#?}");
    assert!(hot.iter().all(|head| header(head, "x-amz-storage-class").is_none()));
    for folder in ["config", "keys/", "log/", "index/"] {
        assert!(hot.iter().any(|head| head.starts_with(&format!("put /tests/classes/{folder}"))), "{folder}");
    }
    let lengths = |heads: &[&String]| -> usize {
        heads
            .iter()
            .filter(|h| is_pack(h))
            .map(|h| header(h, "content-length: ").unwrap().parse::<usize>().unwrap())
            .sum()
    };
    assert!(lengths(&cheap) > 3 << 20 && lengths(&hot) < 1 << 20, "the large pack is the cheap one");
    // A class that would have to be thawed is refused before anything is done.
    let before = stub.seen().len();
    let (code, told) = run(&["-o", "storage_class=DEEP_ARCHIVE", "backup", source.to_str().unwrap()]);
    assert!(code == 2 && told.contains("before they can be read"), "{code}: {told}");
    assert_eq!(stub.seen().len(), before);
    assert_eq!(kind(try_open("/tmp", &["storage_class=STANDARD_IA"])), Some(ErrorKind::BadLocation));
}
