//! Makes `object_store` clients for the clouds from the environment and from settings.
//!
//! Never guesses: without any credentials it says so at once instead of asking a metadata address that exists only on
//! machines of the cloud itself; on such a machine one setting (`s3.metadata_endpoint` and the like) allows it.

use crate::store::Cloud;
use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::Result;
use crate::store::StoreOptions;
use crate::store::http::Connector;
use crate::store::options::bad_option;
use object_store::BackoffConfig;
use object_store::ClientOptions;
use object_store::ObjectStore;
use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::gcp::GoogleConfigKey;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// What is known about one cloud before its client is made.
struct Given<Key> {
    /// Environment first, settings after: the later wins.
    pairs: Vec<(Key, String)>,
}

/// A client for a bucket or container. Nothing is asked of the server yet.
pub(crate) fn bucket(
    cloud: Cloud,
    bucket: &str,
    location: &str,
    options: &StoreOptions,
    connector: Connector,
) -> Result<Arc<dyn ObjectStore>> {
    let environment = if options.use_environment { environment() } else { Environment::new() };
    let made = match cloud {
        Cloud::S3 => s3(bucket, location, connector, s3_given(&environment, options)?)?,
        Cloud::Gs => {
            let given = Given::collect(&environment, "GOOGLE_", "gs.", options)?;
            gs(bucket, location, options.use_environment, connector, given)?
        }
        Cloud::Az => az(bucket, location, connector, Given::collect(&environment, "AZURE_", "az.", options)?)?,
    };
    made.map_err(|error| Error::new(ErrorKind::BadLocation, "open", "", location).because(error.to_string()))
}

type Made = object_store::Result<Arc<dyn ObjectStore>>;

type Environment = BTreeMap<String, String>;

fn environment() -> Environment {
    let readable = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(readable).filter(|(_, value)| !value.is_empty()).collect()
}

/// Where the environment and the settings meet, S3 has two traps.
fn s3_given(environment: &Environment, options: &StoreOptions) -> Result<Given<AmazonS3ConfigKey>> {
    let mut environment = environment.clone();
    let is_set = |names: &[&str]| names.iter().any(|name| options.settings.contains_key(&format!("s3.{name}")));
    // A key from the settings must not be joined with the secret or session of another key from the environment.
    if is_set(&["access_key_id", "aws_access_key_id"]) {
        environment
            .retain(|name, _| !matches!(name.as_str(), "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" | "AWS_TOKEN"));
    }
    // The client prefers the more special variable, even to a setting.
    if is_set(&["endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url"]) {
        environment.remove("AWS_ENDPOINT_URL_S3");
    }
    Given::collect(&environment, "AWS_", "s3.", options)
}

fn s3(bucket: &str, location: &str, connector: Connector, given: Given<AmazonS3ConfigKey>) -> Result<Made> {
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
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the settings s3.access_key_id and s3.secret_access_key; \
         s3.skip_signature=true for a public bucket, \
         s3.metadata_endpoint=http://169.254.169.254 for the role of an EC2 machine",
    )?;
    let endpoint = given.value("aws_endpoint_url_s3").or_else(|| given.value("aws_endpoint"));
    let mut builder = AmazonS3Builder::new()
        .with_client_options(client_options(endpoint.as_deref()))
        .with_http_connector(connector)
        .with_retry(quick_retries())
        // We delete one object at a time, and not every server knows the request for many.
        .with_disable_bulk_delete(true);
    for (key, value) in given.pairs {
        builder = builder.with_config(key, value);
    }
    Ok(builder.with_bucket_name(bucket).build().map(|store| Arc::new(store) as _))
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
    for (key, value) in given.pairs {
        builder = builder.with_config(key, value);
    }
    Ok(builder.with_bucket_name(bucket).build().map(|store| Arc::new(store) as _))
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
    Ok(builder.with_container_name(container).build().map(|store| Arc::new(store) as _))
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
            let Some(short) = name.strip_prefix(settings) else { continue };
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

    use crate::store::StoreOptions;
    use crate::store::cloud::Environment;
    use crate::store::cloud::s3_given;

    fn value(environment: &[(&str, &str)], settings: &[&str], key: &str) -> Option<String> {
        let environment: Environment = environment.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let mut options = StoreOptions::default();
        settings.iter().for_each(|text| options.set(text).unwrap());
        s3_given(&environment, &options).unwrap().value(key)
    }

    #[test]
    fn environment_counts_and_settings_win() {
        let environment =
            [("AWS_REGION", "env"), ("AWS_ENDPOINT_URL_S3", "http://env"), ("AWS_PROFILE", "x"), ("PATH", "/bin")];
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
}
