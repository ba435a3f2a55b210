//! Object Lock of S3: objects that nobody can remove or overwrite for a time, whatever credentials they have.
//!
//! Every object is stored with the time until which it is kept, and that of objects that are still needed is put off again and
//! again. A locked object that is deleted or overwritten stays as an older version in the bucket.
//!
//! Source: Amazon S3 API reference, `PutObject` and `PutObjectRetention`.

use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::cloud::Make;
use crate::store::failure::Failure;
use crate::store::options::bad_option;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use md5::Digest;
use md5::Md5;
use object_store::ObjectStore;
use object_store::aws::AmazonS3;
use object_store::client::HttpClient;
use object_store::client::HttpRequest;
use object_store::path::Path;
use object_store::signer::HeaderMap;
use object_store::signer::HeaderName;
use object_store::signer::HeaderValue;
use object_store::signer::Method;
use object_store::signer::SignedUrlOptions;
use object_store::signer::Signer;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The option that asks for locks.
const OPTION: &str = "object_lock";
const DAYS_MAX: u32 = 36_500;
/// Locks may end so much earlier than they should.
const RENEWED_AFTER: Duration = Duration::from_secs(3600);
const SIGNED_FOR: Duration = Duration::from_secs(900);
/// More than any answer about one object has.
const ANSWER_LEN_MAX: usize = 1000;

/// Who may end a lock before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Nobody, not even the owner of the bucket.
    Compliance,
    /// Who has the special permission to bypass it.
    Governance,
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockMode::Compliance => "COMPLIANCE",
            LockMode::Governance => "GOVERNANCE",
        })
    }
}

/// How what is stored is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// Who may end it.
    pub mode: LockMode,
    /// For how long.
    pub days: u32,
}

impl ObjectLock {
    /// Reads `compliance:30d` or `governance:30d`.
    pub(crate) fn parse(text: &str) -> Result<ObjectLock, Error> {
        let parts = text.split_once(':').and_then(|(mode, days)| {
            let mode = match mode {
                "compliance" => LockMode::Compliance,
                "governance" => LockMode::Governance,
                _ => return None,
            };
            let days = days.strip_suffix('d')?.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days))?;
            Some(ObjectLock { mode, days })
        });
        parts.ok_or_else(|| {
            bad_option(OPTION, "its value is compliance or governance, then : and the days, like compliance:30d")
        })
    }

    /// Half of its time, seconds: what is needed is locked anew when so much has passed.
    pub fn half_secs(&self) -> i64 {
        i64::from(self.days) * 43_200
    }

    /// When a lock ends that begins now, to the second.
    fn until(&self) -> Timestamp {
        Timestamp::from_second(Timestamp::now().as_second() + 2 * self.half_secs()).unwrap_or(Timestamp::MAX)
    }

    /// What is sent along with every object.
    pub(crate) fn headers(&self) -> HeaderMap {
        let value = |text: String| HeaderValue::try_from(text).expect("letters, digits and colons");
        HeaderMap::from_iter([
            (HeaderName::from_static("x-amz-object-lock-mode"), value(self.mode.to_string())),
            (HeaderName::from_static("x-amz-object-lock-retain-until-date"), value(written(self.until()))),
            // What comes with the checksum that such objects must have.
            (HeaderName::from_static("x-amz-sdk-checksum-algorithm"), HeaderValue::from_static("SHA256")),
        ])
    }
}

/// Stores objects that are locked for so long from now on.
pub(crate) struct Writer {
    make: Box<Make>,
    made: Mutex<Option<(Instant, Arc<dyn ObjectStore>)>>,
}

impl Writer {
    pub(crate) fn new(make: Box<Make>) -> Writer {
        Writer { make, made: Mutex::default() }
    }

    /// The client of this hour: the end of its locks is in its settings.
    pub(crate) fn client(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((at, client)) if at.elapsed() < RENEWED_AFTER => Ok(client.clone()),
            _ => {
                let client = (self.make)()?;
                *made = Some((Instant::now(), client.clone()));
                Ok(client)
            }
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Locks objects that are there already.
#[derive(Debug)]
pub(crate) struct Locker {
    pub(crate) lock: ObjectLock,
    pub(crate) signer: AmazonS3,
    pub(crate) client: HttpClient,
    /// Where in the bucket the store begins.
    pub(crate) prefix: Path,
}

impl Locker {
    /// Puts off the end of an object's lock. One that ends later anyway stays as it is.
    pub(crate) async fn extend(&self, path: &Path) -> Result<(), Failure> {
        let path: Path = self.prefix.parts().chain(path.parts()).collect();
        let until = self.lock.until();
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{}</RetainUntilDate></Retention>",
            self.lock.mode,
            written(until)
        );
        let digest = BASE64_STANDARD.encode(Md5::digest(&body));
        let refused = match self.ask(Method::PUT, &path, body, Some(digest)).await {
            Err(refused) if !matches!(refused.kind, ErrorKind::Unreachable | ErrorKind::NotFound) => refused,
            other => return other.map(drop),
        };
        // A lock is never shortened: that is what they are for.
        let there = self.ask(Method::GET, &path, String::new(), None).await;
        match there.ok().as_deref().and_then(retention) {
            Some((mode, there)) if there >= until && (mode == self.lock.mode || mode == LockMode::Compliance) => Ok(()),
            _ => Err(refused),
        }
    }

    async fn ask(&self, method: Method, path: &Path, body: String, digest: Option<String>) -> Result<String, Failure> {
        let options = SignedUrlOptions::new().with_query([("retention", "")]);
        let url = self.signer.signed_url_opts(method.clone(), path, SIGNED_FOR, &options).await?;
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().try_into().map_err(|_| Failure::new(ErrorKind::Other, "no such address"))?;
        if let Some(digest) = digest {
            let digest = HeaderValue::try_from(digest).expect("letters and digits");
            request.headers_mut().insert("content-md5", digest);
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        let answer = self.client.execute(request).await.map_err(Failure::from)?;
        let status = answer.status();
        let said = answer.into_body().bytes().await.map_err(Failure::from)?;
        let said: String = String::from_utf8_lossy(&said).chars().take(ANSWER_LEN_MAX).collect();
        match status {
            _ if status.is_success() => Ok(said),
            // So some servers call an object that was removed: what is left of it is a mark.
            StatusCode::METHOD_NOT_ALLOWED => Err(Failure::of_status(StatusCode::NOT_FOUND.as_u16(), &said)),
            _ => Err(Failure::of_status(status.as_u16(), &said)),
        }
    }
}

/// A time as the server wants it.
fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Mode and end of a lock in what the server says of it.
fn retention(said: &str) -> Option<(LockMode, Timestamp)> {
    let inner = |tag: &str| said.split_once(&format!("<{tag}>"))?.1.split('<').next();
    let mode = match inner("Mode")? {
        "COMPLIANCE" => LockMode::Compliance,
        "GOVERNANCE" => LockMode::Governance,
        _ => return None,
    };
    Some((mode, inner("RetainUntilDate")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::store::LockMode;
    use crate::store::ObjectLock;
    use crate::store::lock::retention;
    use crate::store::lock::written;

    #[test]
    fn options_name_mode_and_days() {
        let lock = ObjectLock::parse("governance:30d").unwrap();
        assert_eq!((lock.mode, lock.days, lock.half_secs()), (LockMode::Governance, 30, 15 * 86_400));
        assert_eq!(ObjectLock::parse("compliance:36500d").unwrap().headers()["x-amz-object-lock-mode"], "COMPLIANCE");
        for bad in
            ["", "30d", "compliance", "compliance:", "compliance:30", "compliance:0d", "compliance:36501d", "legal:30d"]
        {
            assert!(ObjectLock::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ends_of_locks_are_read_and_written() {
        let until = ObjectLock::parse("governance:1d").unwrap().until();
        let said = |text: &str| {
            format!("<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{text}</RetainUntilDate></Retention>")
        };
        assert_eq!(retention(&said(&written(until))), Some((LockMode::Governance, until)));
        assert_eq!(retention(&said("1970-01-01T00:00:09.000Z")).unwrap().1.as_second(), 9);
        assert!(["<Error/>".to_owned(), said("soon"), said("")].iter().all(|text| retention(text).is_none()));
    }
}
