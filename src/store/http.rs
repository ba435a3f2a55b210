//! The HTTP client under `object_store`: where bytes really move, so that they can be paced, counted and missed.
//!
//! A request ends when the other side is silent for too long, however large it is and however slow the link. What a
//! server says about being asked too much is kept for all requests of its store.

use crate::store::StoreOptions;
use crate::store::UnknownHost;
use crate::store::Untrusted;
use crate::store::body::Progress;
use crate::store::body::Received;
use crate::store::body::Sent;
use crate::store::throttle::Throttle;
use crate::store::throttle::retry_after;
use crate::store::traffic::Traffic;
use async_trait::async_trait;
use object_store::ClientConfigKey;
use object_store::ClientOptions;
use object_store::client::HttpClient;
use object_store::client::HttpConnector;
use object_store::client::HttpError;
use object_store::client::HttpErrorKind;
use object_store::client::HttpRequest;
use object_store::client::HttpResponse;
use object_store::client::HttpResponseBody;
use object_store::client::HttpService;
use reqwest::StatusCode;
use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;
use reqwest::header;
use reqwest::header::HeaderMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The server asked for a longer pause than we may make.
#[derive(Debug, thiserror::Error)]
#[error("the server asks to be left alone for {secs} more seconds")]
struct Pause {
    secs: u64,
}

/// A file with certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read certificates from '{}': {said}", path.display())]
struct BadCertificates {
    path: PathBuf,
    said: String,
}

/// Makes the clients of one store.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    traffic: Arc<Traffic>,
    throttle: Arc<Throttle>,
    stall: Duration,
    connect: Duration,
    patience: Duration,
    ca_file: Option<PathBuf>,
    /// Whether `HTTPS_PROXY` and its like count.
    uses_environment: bool,
}

impl Connector {
    pub(crate) fn new(options: &StoreOptions, throttle: Arc<Throttle>) -> Connector {
        Connector {
            traffic: options.traffic.clone(),
            throttle,
            stall: Duration::from_secs(options.stall_secs_max),
            connect: Duration::from_secs(options.connect_secs_max),
            patience: Duration::from_secs(options.retry_secs_max),
            ca_file: options.ca_file.clone(),
            uses_environment: options.use_environment,
        }
    }

    /// Trusts the certificates in this file too, unless another file was named.
    pub(crate) fn trusting(mut self, ca_file: Option<PathBuf>) -> Connector {
        self.ca_file = self.ca_file.or(ca_file);
        self
    }

    /// What `object_store` would make of its options, as far as they make sense here.
    fn client(&self, options: &ClientOptions) -> Result<reqwest::Client, Box<dyn Error + Send + Sync>> {
        let value = |key| options.get_config_value(&key);
        let is_set = |key| value(key).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        let agent = value(ClientConfigKey::UserAgent);
        let mut certificates = Vec::new();
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .user_agent(agent.unwrap_or_else(|| concat!("bygone/", env!("CARGO_PKG_VERSION")).to_owned()))
            .connect_timeout(self.connect)
            .https_only(!is_set(ClientConfigKey::AllowHttp))
            .tls_danger_accept_invalid_certs(is_set(ClientConfigKey::AllowInvalidCertificates))
            .dns_resolver(Arc::new(AnyAddress));
        // The system sees what we cannot: that nobody acknowledges what it sends.
        #[cfg(target_os = "linux")]
        {
            builder = builder.tcp_user_timeout(self.stall);
        }
        if !self.uses_environment {
            builder = builder.no_proxy();
        }
        if let Some(url) = value(ClientConfigKey::ProxyUrl) {
            let excluded = value(ClientConfigKey::ProxyExcludes).unwrap_or_default();
            builder = builder.proxy(reqwest::Proxy::all(url)?.no_proxy(reqwest::NoProxy::from_string(&excluded)));
            if let Some(pem) = value(ClientConfigKey::ProxyCaCertificate) {
                certificates.push(reqwest::Certificate::from_pem(pem.as_bytes())?);
            }
        }
        if let Some(path) = &self.ca_file {
            let bad = |said: String| BadCertificates { path: path.clone(), said };
            let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
            let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| bad(error.to_string()))?;
            if found.is_empty() {
                return Err(bad("there are none".to_owned()).into());
            }
            certificates.extend(found);
        }
        builder = match is_set(ClientConfigKey::NoSystemCertificates) {
            true => builder.tls_certs_only(certificates),
            false => builder.tls_certs_merge(certificates),
        };
        Ok(builder.build()?)
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = self.client(options);
        let client = client.map_err(|source| object_store::Error::Generic { store: "HTTP", source })?;
        Ok(HttpClient::new(Service { client, link: self.clone(), rate: AtomicU64::new(0) }))
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    link: Connector,
    /// What the last upload of some size got through, bytes per second; 0 = none yet.
    rate: AtomicU64,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Connector { traffic, throttle, stall, patience, .. } = &self.link;
        if let Err(left) = throttle.turn(*patience).await {
            return Err(HttpError::new(HttpErrorKind::Unknown, Pause { secs: left.as_secs().max(1) }));
        }
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        traffic.requests.add(1);
        traffic.bytes_up.add(head_bytes(&parts.headers) + url.len() as u64);
        let host = parts.uri.host().unwrap_or_default().to_owned();
        let length = body.content_length() as u64;
        let progress = Arc::new(Progress::new(*stall, length, self.rate.load(Ordering::Relaxed)));
        let body = match length {
            0 => reqwest::Body::from(""),
            _ => reqwest::Body::wrap(Sent::new(body, traffic.clone(), progress.clone())),
        };
        let request = self.client.request(parts.method, url).headers(parts.headers).body(body);
        let answer = tokio::select! {
            biased;
            answer = request.send() => answer.map_err(|error| failed(error, host)),
            // Not to be repeated at once: it took long enough.
            stalled = progress.stalled() => Err(HttpError::new(HttpErrorKind::Unknown, stalled)),
        };
        let answer = answer.inspect_err(|_| traffic.retries.add(1))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        if let Some(rate) = progress.rate().filter(|_| status.is_success()) {
            self.rate.store(rate, Ordering::Relaxed);
        }
        traffic.bytes_down.add(head_bytes(&headers));
        self.link.judge(status, &headers);
        let body = Received::new(answer.into(), traffic.clone(), *stall);
        let mut response = HttpResponse::new(HttpResponseBody::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

impl Connector {
    /// Takes note of what a status says about the state of the server.
    fn judge(&self, status: StatusCode, headers: &HeaderMap) {
        let is_throttled = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let is_unknown = matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED);
        if status == StatusCode::REQUEST_TIMEOUT || is_throttled || (status.is_server_error() && !is_unknown) {
            self.traffic.retries.add(1);
        }
        if is_throttled {
            let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
            let pause = text(header::RETRY_AFTER).and_then(|value| retry_after(value, text(header::DATE)));
            tracing::info!(
                status = status.as_u16(),
                pause_secs = pause.map(|p| p.as_secs()),
                "Storage is asked too much"
            );
            self.throttle.asked(pause);
            self.traffic.throttled.add(1);
        }
    }
}

/// What a head takes, about.
fn head_bytes(headers: &HeaderMap) -> u64 {
    const FIRST_LINE_BYTES: usize = 20;
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    (FIRST_LINE_BYTES + lines.sum::<usize>()) as u64
}

/// Sorts what the client says. Every request of ours may be repeated without harm.
fn failed(error: reqwest::Error, host: String) -> HttpError {
    // An address may hold a signature.
    let error = error.without_url();
    if error.is_dns() {
        let layers = std::iter::successors(error.source(), |&layer| layer.source());
        let said = layers.last().map_or_else(|| error.to_string(), ToString::to_string);
        return HttpError::new(HttpErrorKind::Unknown, UnknownHost { host, said });
    }
    if let Some(said) = distrust(&error) {
        return HttpError::new(HttpErrorKind::Unknown, Untrusted { host, said });
    }
    let kind = match () {
        () if error.is_builder() => HttpErrorKind::Unknown,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () => HttpErrorKind::Request,
    };
    HttpError::new(kind, error)
}

/// What is wrong with the certificate, if that is what it was. The verifier speaks only in words.
fn distrust(error: &reqwest::Error) -> Option<String> {
    let layers = std::iter::successors(error.source(), |&layer| layer.source());
    let said =
        layers.filter_map(|layer| Some(layer.to_string().split_once("invalid peer certificate: ")?.1.to_owned()));
    said.last().map(|said| match said.as_str() {
        "UnknownIssuer" => "who issued it is not known here".to_owned(),
        "BadSignature" => "its signature is not that of the issuer known here".to_owned(),
        _ => said,
    })
}

/// Begins with any of a server's addresses, so that many connections are spread over them.
struct AnyAddress;

impl Resolve for AnyAddress {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let mut addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let first = getrandom::u32().unwrap_or(0) as usize % addresses.len().max(1);
            addresses.rotate_left(first);
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
