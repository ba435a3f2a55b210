//! A bucket in memory that tells what it was asked: the requests of S3 and of Google's XML API that the client makes, as
//! their manuals describe them. No proof that the real services agree, but every header can be looked at.

use crate::servers::Answer;
use crate::servers::Stub;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

/// Objects of the bucket `tests`, by name.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    objects: Mutex<BTreeMap<String, (Vec<u8>, Timestamp)>>,
}

/// A server with the bucket `tests`. As a proxy it is all servers there are.
pub(crate) fn bucket() -> Stub {
    let bucket = Bucket::default();
    Stub::start(move |head, body, _| bucket.answer(head, body))
}

impl Bucket {
    /// What the server says to a request.
    pub(crate) fn answer(&self, head: &str, body: &[u8]) -> Answer {
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (host, path) = match target.split_once("://") {
            Some((_, rest)) => rest.split_once('/').unwrap(),
            None => ("", target.trim_start_matches('/')),
        };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = decoded(path);
        let name = match path.strip_prefix("tests") {
            Some(below) if !host.starts_with("tests.") => below.trim_start_matches('/').to_owned(),
            _ if host.starts_with("tests.") => path,
            _ => return Answer::new(404, "<Error><Code>NoSuchBucket</Code><Message>No.</Message></Error>"),
        };
        let mut objects = self.objects.lock().unwrap();
        match method {
            "get" if name.is_empty() => {
                let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).map(decoded);
                Answer::new(200, &listing(&objects, &prefix.unwrap_or_default()))
            }
            "get" | "head" => match objects.get(&name) {
                None => Answer::new(404, "<Error><Code>NoSuchKey</Code><Message>No.</Message></Error>"),
                Some((bytes, at)) => object(bytes, *at, header(head, "range: bytes=")),
            },
            "put" => {
                let is_new =
                    header(head, "if-none-match: *").or(header(head, "x-goog-if-generation-match: 0")).is_some();
                if is_new && objects.contains_key(&name) {
                    return Answer::new(412, "<Error><Code>PreconditionFailed</Code><Message>No.</Message></Error>");
                }
                objects.insert(name, (body.to_vec(), Timestamp::now()));
                Answer { headers: vec!["ETag: \"x\"".to_owned()], ..Answer::new(200, "") }
            }
            "delete" => match objects.remove(&name) {
                Some(_) => Answer::new(204, ""),
                None => Answer::new(404, "<Error><Code>NoSuchKey</Code><Message>No.</Message></Error>"),
            },
            _ => Answer::new(501, ""),
        }
    }
}

/// What follows this in a line of the head.
pub(crate) fn header<'a>(head: &'a str, begin: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(begin))
}

fn object(bytes: &[u8], at: Timestamp, range: Option<&str>) -> Answer {
    let at = DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap();
    let mut headers = vec!["ETag: \"x\"".to_owned(), format!("Last-Modified: {at}")];
    let Some(range) = range else { return Answer { status: 200, headers, body: bytes.to_vec(), ..Answer::default() } };
    let (start, end) = range.split_once('-').unwrap();
    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
    if start >= bytes.len() {
        return Answer::new(416, "<Error><Code>InvalidRange</Code><Message>No.</Message></Error>");
    }
    let end = end.min(bytes.len() - 1);
    headers.push(format!("Content-Range: bytes {start}-{end}/{}", bytes.len()));
    Answer { status: 206, headers, body: bytes[start..=end].to_vec(), ..Answer::default() }
}

fn listing(objects: &BTreeMap<String, (Vec<u8>, Timestamp)>, prefix: &str) -> String {
    let mut xml = String::from("<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>");
    for (name, (bytes, at)) in objects.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let _ = write!(
            xml,
            "<Contents><Key>{name}</Key><Size>{}</Size><LastModified>{at}</LastModified><ETag>\"x\"</ETag></Contents>",
            bytes.len()
        );
    }
    xml + "</ListBucketResult>"
}

fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |mut out, piece| {
        out.push(char::from(u8::from_str_radix(&piece[..2], 16).unwrap()));
        out + &piece[2..]
    })
}
