//! Makes `object_store` clients for the clouds from the environment and from settings.
//!
//! Never guesses: without any credentials it says so at once instead of asking a metadata address that exists only on
//! machines of the cloud itself; on such a machine one setting (`s3.metadata_endpoint` and the like) allows it.

use crate::store::Cloud;
use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::ObjectLock;
use crate::store::Result;
use crate::store::StoreOptions;
use crate::store::http::Connector;
use crate::store::options::bad_option;
use crate::store::profile::Environment;
use crate::store::profile::Profile;
use crate::store::profile::ProfileError;
use object_store::BackoffConfig;
use object_store::ClientOptions;
use object_store::ObjectStore;
use object_store::RetryConfig;
use object_store::StaticCredentialProvider;
use object_store::aws::AmazonS3;
use object_store::aws::AmazonS3Builder;
use object_store::aws::AmazonS3ConfigKey;
use object_store::aws::Checksum;
use object_store::azure::AzureConfigKey;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::HttpClient;
use object_store::client::HttpConnector;
use object_store::gcp::GcpCredential;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::gcp::GoogleConfigKey;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The setting that names a profile of the AWS tools.
const PROFILE: &str = "s3.profile";

/// Variables that say who we are.
const S3_LOGINS: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
];

/// What is known about one cloud before its client is made.
struct Given<Key> {
    /// Environment first, settings after: the later wins.
    pairs: Vec<(Key, String)>,
}

/// What a bucket or container is used through.
pub(crate) struct Clients {
    pub(crate) bucket: Arc<dyn ObjectStore>,
    /// If what is stored is to be locked.
    pub(crate) locking: Option<Locking>,
}

/// Clients that lock.
pub(crate) struct Locking {
    pub(crate) lock: ObjectLock,
    /// Says with every object how it is locked, until when counted from the time it is made.
    pub(crate) writer: Box<Make>,
    /// Signs requests that `object_store` does not know, for `http` to send.
    pub(crate) signer: AmazonS3,
    pub(crate) http: HttpClient,
}

/// Makes a client.
pub(crate) type Make = dyn Fn() -> object_store::Result<Arc<dyn ObjectStore>> + Send + Sync;

/// Clients for a bucket or container. Nothing is asked of the server yet.
pub(crate) fn clients(
    cloud: Cloud,
    bucket: &str,
    location: &str,
    options: &StoreOptions,
    connector: Connector,
) -> Result<Clients> {
    let environment = if options.use_environment { environment() } else { Environment::new() };
    let made = match cloud {
        Cloud::S3 => {
            let environment = s3_environment(&environment, location, options)?;
            let connector = connector.trusting(environment.get("AWS_CA_BUNDLE").map(PathBuf::from));
            let given = Given::collect(&environment, "AWS_", "s3.", options)?;
            s3(bucket, location, connector, given, options.object_lock)?
        }
        Cloud::Gs => {
            let given = Given::collect(&environment, "GOOGLE_", "gs.", options)?;
            gs(bucket, location, options.use_environment, connector, given)?
        }
        Cloud::Az => az(bucket, location, connector, Given::collect(&environment, "AZURE_", "az.", options)?)?,
    };
    made.map_err(|error| Error::new(ErrorKind::BadLocation, "open", "", location).because(error.to_string()))
}

type Made = object_store::Result<Clients>;

fn without_locks(bucket: impl ObjectStore) -> Clients {
    Clients { bucket: Arc::new(bucket), locking: None }
}

fn environment() -> Environment {
    let readable = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(readable).filter(|(_, value)| !value.is_empty()).collect()
}

/// What the variables say about S3, and below them a profile of the AWS tools, as far as the settings let it count.
fn s3_environment(environment: &Environment, location: &str, options: &StoreOptions) -> Result<Environment> {
    let mut environment = environment.clone();
    let is_set = |names: &[&str]| names.iter().any(|name| options.settings.contains_key(&format!("s3.{name}")));
    let has_own_key = is_set(&["access_key_id", "aws_access_key_id"]);
    // Keys from one place must not be joined with the secret or session of another.
    if has_own_key {
        environment
            .retain(|name, _| !matches!(name.as_str(), "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" | "AWS_TOKEN"));
    }
    let profile = options.settings.get(PROFILE).map(String::as_str);
    if profile.is_some() {
        environment.retain(|name, _| !S3_LOGINS.contains(&name.as_str()));
    }
    let has_login = has_own_key
        || is_set(&["metadata_endpoint", "aws_metadata_endpoint"])
        || ["s3.skip_signature", "s3.aws_skip_signature"].iter().any(|k| options.settings.get(*k).is_some_and(is_true))
        || environment.get("AWS_SKIP_SIGNATURE").is_some_and(is_true)
        || S3_LOGINS.iter().any(|name| environment.contains_key(*name));
    let bad = |error: ProfileError| Error::new(ErrorKind::Denied, "open", "", location).because(error);
    match Profile::find(&environment, profile) {
        Ok(None) => {}
        // Then it was wanted for its keys only.
        Err(_) if has_login && profile.is_none() => {}
        Err(error) => return Err(bad(error)),
        Ok(Some(profile)) => {
            if !has_login {
                environment.extend(profile.keys().map_err(bad)?);
            }
            add_settings(&mut environment, profile.settings());
        }
    }
    // The client prefers the more special variable, even to a setting.
    if is_set(&["endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url"]) {
        environment.remove("AWS_ENDPOINT_URL_S3");
    }
    Ok(environment)
}

/// Adds what a profile says, where no variable says anything else.
fn add_settings(environment: &mut Environment, settings: Environment) {
    const SAY_THE_SAME: [&[&str]; 2] =
        [&["AWS_REGION", "AWS_DEFAULT_REGION"], &["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"]];
    let ignores_endpoint = environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(is_true);
    for (name, value) in settings {
        let same = SAY_THE_SAME.iter().find(|names| names.contains(&name.as_str()));
        let is_said = same.unwrap_or(&&[][..]).iter().any(|name| environment.contains_key(*name));
        if !(is_said || environment.contains_key(&name) || (name == "AWS_ENDPOINT_URL" && ignores_endpoint)) {
            environment.insert(name, value);
        }
    }
}

/// The address of the bucket itself, for a server that wants the bucket in the name of the host: `https://s3.example.org`
/// is `https://bucket.s3.example.org`.
fn address_of_bucket(endpoint: &str, bucket: &str) -> Option<String> {
    let mut url = url::Url::parse(endpoint).ok()?;
    let host = url.domain().filter(|host| !host.starts_with(&format!("{bucket}.")))?;
    let host = format!("{bucket}.{host}");
    url.set_host(Some(&host)).ok()?;
    Some(url.as_str().trim_end_matches('/').to_owned())
}

fn s3(
    bucket: &str,
    location: &str,
    connector: Connector,
    mut given: Given<AmazonS3ConfigKey>,
    lock: Option<ObjectLock>,
) -> Result<Made> {
    given.require(
        location,
        &[
            "aws_access_key_id",
            "aws_web_identity_token_file",
            "aws_container_credentials_relative_uri",
            "aws_container_credentials_full_uri",
            "aws_metadata_endpoint",
            "aws_skip_signature",
        ],
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the settings s3.access_key_id and s3.secret_access_key, \
         or name a profile of the AWS tools in AWS_PROFILE or s3.profile; \
         s3.skip_signature=true for a public bucket, \
         s3.metadata_endpoint=http://169.254.169.254 for the role of an EC2 machine",
    )?;
    let endpoint = given.value("aws_endpoint_url_s3").or_else(|| given.value("aws_endpoint"));
    let is_virtual = given.value("aws_virtual_hosted_style_request").as_ref().is_some_and(is_true);
    if let Some(address) = endpoint.as_ref().filter(|_| is_virtual).and_then(|url| address_of_bucket(url, bucket)) {
        given.pairs.push((AmazonS3ConfigKey::S3Endpoint, address));
    }
    let http = client_options(endpoint.as_deref());
    let mut builder = AmazonS3Builder::new()
        .with_client_options(http.clone())
        .with_http_connector(connector.clone())
        .with_retry(quick_retries())
        // We delete one object at a time, and not every server knows the request for many.
        .with_disable_bulk_delete(true);
    for (key, value) in given.pairs {
        builder = builder.with_config(key, value);
    }
    let builder = builder.with_bucket_name(bucket);
    let Some(lock) = lock else { return Ok(builder.build().map(without_locks)) };
    let make = || {
        let (signer, sender) = (builder.clone().build()?, connector.connect(&http)?);
        let bucket = Arc::new(builder.clone().build()?);
        let writer = move || {
            let http = http.clone().with_default_headers(lock.headers());
            // An object that is to be locked must come with a checksum.
            let writer = builder.clone().with_client_options(http).with_checksum_algorithm(Checksum::SHA256);
            Ok(Arc::new(writer.build()?) as _)
        };
        Ok(Clients { bucket, locking: Some(Locking { lock, writer: Box::new(writer), signer, http: sender }) })
    };
    Ok(make())
}

fn gs(
    bucket: &str,
    location: &str,
    use_environment: bool,
    connector: Connector,
    given: Given<GoogleConfigKey>,
) -> Result<Made> {
    if !(use_environment && has_google_login()) {
        given.require(
            location,
            &[
                "google_service_account",
                "google_service_account_key",
                "google_application_credentials",
                "google_bearer_token",
                "google_skip_signature",
            ],
            "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account, or the setting \
             gs.service_account; gs.skip_signature=true for a public bucket",
        )?;
    }
    let endpoint = given.value("google_base_url");
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_client_options(client_options(endpoint.as_deref()))
        .with_http_connector(connector)
        .with_retry(quick_retries());
    // Who may not sign must not ask for a token either, which the client does before it writes.
    if given.value("google_skip_signature").is_some_and(is_true) {
        let nobody = GcpCredential { bearer: String::new() };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
    }
    for (key, value) in given.pairs {
        builder = builder.with_config(key, value);
    }
    Ok(builder.with_bucket_name(bucket).build().map(without_locks))
}

/// Whether `gcloud auth application-default login` was done on this machine.
fn has_google_login() -> bool {
    let home = if cfg!(windows) { "APPDATA" } else { "HOME" };
    let below = if cfg!(windows) { "gcloud" } else { ".config/gcloud" };
    std::env::var_os(home)
        .is_some_and(|home| PathBuf::from(home).join(below).join("application_default_credentials.json").exists())
}

fn az(container: &str, location: &str, connector: Connector, given: Given<AzureConfigKey>) -> Result<Made> {
    given.require(
        location,
        &[
            "azure_storage_account_key",
            "azure_storage_sas_key",
            "azure_storage_token",
            "azure_storage_client_secret",
            "azure_federated_token_file",
            "azure_msi_endpoint",
            "azure_msi_resource_id",
            "azure_object_id",
            "azure_use_azure_cli",
            "azure_credential_type",
            "azure_storage_use_emulator",
            "azure_skip_signature",
        ],
        "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or the settings az.account_name and \
         az.account_key or az.sas_token; az.credential_type=managed_identity on a machine of Azure",
    )?;
    let endpoint = given.value("azure_storage_endpoint");
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(client_options(endpoint.as_deref()))
        .with_http_connector(connector)
        .with_retry(quick_retries());
    for (key, value) in given.pairs {
        builder = builder.with_config(key, value);
    }
    Ok(builder.with_container_name(container).build().map(without_locks))
}

impl<Key: FromStr + AsRef<str>> Given<Key> {
    /// Everything the environment and the settings say about one cloud. An unknown variable is somebody else's; an
    /// unknown setting is a mistake.
    fn collect(
        environment: &Environment,
        variables: &str,
        settings: &str,
        options: &StoreOptions,
    ) -> Result<Given<Key>> {
        let mut pairs = Vec::new();
        for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(variables)) {
            pairs.extend(name.to_ascii_lowercase().parse().ok().map(|key| (key, value.clone())));
        }
        for (name, value) in &options.settings {
            let Some(short) = name.strip_prefix(settings).filter(|_| name != PROFILE) else { continue };
            let key = short.parse().map_err(|_| bad_option(name, "this kind of storage has no such setting"))?;
            pairs.push((key, value.clone()));
        }
        Ok(Given { pairs })
    }

    /// The value that wins, by the canonical name of its key.
    fn value(&self, key: &str) -> Option<String> {
        self.pairs.iter().rev().find(|(k, _)| k.as_ref() == key).map(|(_, value)| value.clone())
    }

    /// At least one way to prove who we are.
    fn require(&self, location: &str, any_of: &[&str], hint: &'static str) -> Result<()> {
        if self.pairs.iter().any(|(key, value)| any_of.contains(&key.as_ref()) && value != "false") {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Denied, "open", "", location)
            .because(format!("no credentials are configured: {hint}")))
    }
}

fn is_true(value: impl AsRef<str>) -> bool {
    ["1", "true", "on", "yes", "y"].iter().any(|yes| value.as_ref().eq_ignore_ascii_case(yes))
}

/// Unencrypted HTTP only where the endpoint asks for it. How long things may take is the connector's business.
fn client_options(endpoint: Option<&str>) -> ClientOptions {
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new().with_allow_http(is_plain)
}

/// A second and a third try at once, inside a listing of many pages or a download that broke off; patience is
/// `Retrying`'s.
fn quick_retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(60),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::monitor::chain;
    use crate::store::ErrorKind;
    use crate::store::StoreOptions;
    use crate::store::cloud::AmazonS3ConfigKey;
    use crate::store::cloud::Given;
    use crate::store::cloud::address_of_bucket;
    use crate::store::cloud::s3_environment;
    use crate::store::profile::Environment;
    use std::fs;

    fn given(environment: &[(&str, &str)], settings: &[&str]) -> crate::store::Result<Given<AmazonS3ConfigKey>> {
        let environment: Environment = environment.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let mut options = StoreOptions::default();
        settings.iter().for_each(|text| options.set(text).unwrap());
        let environment = s3_environment(&environment, "s3://b", &options)?;
        Given::collect(&environment, "AWS_", "s3.", &options)
    }

    fn value(environment: &[(&str, &str)], settings: &[&str], key: &str) -> Option<String> {
        given(environment, settings).unwrap().value(key)
    }

    #[test]
    fn environment_counts_and_settings_win() {
        let environment =
            [("AWS_REGION", "env"), ("AWS_ENDPOINT_URL_S3", "http://env"), ("AWS_UNHEARD", "x"), ("PATH", "/bin")];
        assert_eq!(value(&environment, &[], "aws_region").unwrap(), "env");
        assert_eq!(value(&environment, &["s3.region=set"], "aws_region").unwrap(), "set");
        assert_eq!(value(&environment, &["gs.bucket=other"], "aws_bucket"), None);
        assert_eq!(value(&environment, &["s3.endpoint=http://set"], "aws_endpoint_url_s3"), None);
        assert_eq!(value(&environment, &["s3.region=set"], "aws_endpoint_url_s3").unwrap(), "http://env");
    }

    #[test]
    fn credentials_are_not_mixed() {
        let environment =
            [("AWS_ACCESS_KEY_ID", "env"), ("AWS_SECRET_ACCESS_KEY", "env"), ("AWS_SESSION_TOKEN", "env")];
        assert_eq!(value(&environment, &[], "aws_session_token").unwrap(), "env");
        let settings = ["s3.access_key_id=set", "s3.secret_access_key=set"];
        assert_eq!(value(&environment, &settings, "aws_session_token"), None);
        assert_eq!(value(&environment, &settings, "aws_secret_access_key").unwrap(), "set");
    }

    #[test]
    fn a_profile_says_what_nobody_else_says() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        let profiles = "[default]\naws_access_key_id=home\naws_secret_access_key=s1\nregion=r1\n\
            [work]\naws_access_key_id=office\naws_secret_access_key=s2\naws_session_token=t2\nendpoint_url=http://p\n";
        fs::write(home.path().join(".aws/credentials"), profiles).unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        let work = ("AWS_PROFILE", "work");
        let env_key = [("AWS_ACCESS_KEY_ID", "env"), ("AWS_SECRET_ACCESS_KEY", "env")];
        let keys = |environment: &[(&str, &str)], settings: &[&str]| {
            let given = given(environment, settings).unwrap();
            ["aws_access_key_id", "aws_session_token", "aws_region", "aws_endpoint"]
                .map(|key| given.value(key).unwrap_or_default())
        };
        assert_eq!(keys(&[home], &[]), ["home", "", "r1", ""]);
        assert_eq!(keys(&[home, work], &[]), ["office", "t2", "", "http://p"]);
        // Variables win over a profile that a variable names, but not over one that a setting names.
        assert_eq!(keys(&[home, work, env_key[0], env_key[1]], &[]), ["env", "", "", "http://p"]);
        assert_eq!(keys(&[home, env_key[0], env_key[1]], &["s3.profile=work"]), ["office", "t2", "", "http://p"]);
        assert_eq!(keys(&[home, ("AWS_DEFAULT_REGION", "env")], &[]), ["home", "", "", ""]);
        assert_eq!(keys(&[home], &["s3.region=set"]), ["home", "", "set", ""]);
        assert_eq!(keys(&[home, work, ("AWS_ENDPOINT_URL_S3", "http://env")], &[])[3], "");
        assert_eq!(keys(&[home, work, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")], &[])[3], "");
        // Keys of the settings are not joined with the session of a profile.
        let own = ["s3.access_key_id=set", "s3.secret_access_key=set", "s3.endpoint=http://set"];
        assert_eq!(keys(&[home, work], &own), ["set", "", "", "http://set"]);
        assert_eq!(keys(&[home], &["s3.skip_signature=true"])[0], "");
        // A profile that is not there matters only to those who need it.
        let nobody = ("AWS_PROFILE", "nobody");
        assert_eq!(keys(&[home, nobody, env_key[0], env_key[1]], &[])[0], "env");
        for (environment, settings) in [(&[home, nobody][..], &[][..]), (&[home, env_key[0]], &["s3.profile=nobody"])] {
            let error = given(environment, settings).err().unwrap();
            assert_eq!(error.kind, ErrorKind::Denied);
            assert!(chain(&error).contains("no profile 'nobody'"), "{}", chain(&error));
        }
    }

    #[test]
    fn buckets_have_addresses_of_their_own() {
        let cases = [
            ("https://s3.example.org", Some("https://b.s3.example.org")),
            ("http://s3.example.org:9000/", Some("http://b.s3.example.org:9000")),
            ("https://b.s3.example.org", None),
            ("http://127.0.0.1:9000", None),
            ("nonsense", None),
        ];
        for (endpoint, expected) in cases {
            assert_eq!(address_of_bucket(endpoint, "b").as_deref(), expected, "{endpoint}");
        }
    }
}
