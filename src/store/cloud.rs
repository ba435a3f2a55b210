//! Makes `object_store` clients for the clouds from the environment and from settings.
//!
//! Never guesses: without any credentials it says so at once instead of asking a metadata address that exists only on
//! machines of the cloud itself; on such a machine one setting (`s3.metadata_endpoint` and the like) allows it.

use crate::store::Cloud;
use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::Result;
use crate::store::StoreOptions;
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
) -> Result<Arc<dyn ObjectStore>> {
    let made = match cloud {
        Cloud::S3 => s3(bucket, location, options)?,
        Cloud::Gs => gs(bucket, location, options)?,
        Cloud::Az => az(bucket, location, options)?,
    };
    made.map_err(|error| Error::new(ErrorKind::BadLocation, "open", "", location).because(error.to_string()))
}

type Made = object_store::Result<Arc<dyn ObjectStore>>;

fn s3(bucket: &str, location: &str, options: &StoreOptions) -> Result<Made> {
    // A key from the settings must not be joined with the session of another key from the environment.
    let own_key = options.settings.keys().any(|key| key.ends_with("access_key_id"));
    let skip = |name: &str| own_key && matches!(name, "AWS_SESSION_TOKEN" | "AWS_TOKEN" | "AWS_SECRET_ACCESS_KEY");
    let mut given = Given::<AmazonS3ConfigKey>::collect("AWS_", "s3.", skip, options)?;
    // The more special variable of the environment must not win over a setting.
    if options.settings.keys().any(|key| key.contains("endpoint")) {
        let from_settings = given.value("aws_endpoint");
        given.pairs.extend(from_settings.map(|value| (AmazonS3ConfigKey::S3Endpoint, value)));
    }
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
        .with_client_options(client_options(options, endpoint.as_deref()))
        .with_retry(quick_retries());
    for (key, value) in given.pairs {
        builder = builder.with_config(key, value);
    }
    Ok(builder.with_bucket_name(bucket).build().map(|store| Arc::new(store) as _))
}

fn gs(bucket: &str, location: &str, options: &StoreOptions) -> Result<Made> {
    let given = Given::<GoogleConfigKey>::collect("GOOGLE_", "gs.", |_| false, options)?;
    if !(options.use_environment && has_google_login()) {
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
        .with_client_options(client_options(options, endpoint.as_deref()))
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

fn az(container: &str, location: &str, options: &StoreOptions) -> Result<Made> {
    let given = Given::<AzureConfigKey>::collect("AZURE_", "az.", |_| false, options)?;
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
        .with_client_options(client_options(options, endpoint.as_deref()))
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
        variables: &str,
        settings: &str,
        skip: impl Fn(&str) -> bool,
        options: &StoreOptions,
    ) -> Result<Given<Key>> {
        let mut pairs = Vec::new();
        let environment = options.use_environment.then(std::env::vars_os).into_iter().flatten();
        for (name, value) in environment {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            if name.starts_with(variables) && !value.is_empty() && !skip(name) {
                pairs.extend(name.to_ascii_lowercase().parse().ok().map(|key| (key, value.to_owned())));
            }
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

/// Unencrypted HTTP only where the endpoint asks for it. The time of a whole request is not bounded here but where
/// its size is known.
fn client_options(options: &StoreOptions, endpoint: Option<&str>) -> ClientOptions {
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(options.connect_secs_max))
        .with_timeout_disabled()
        .with_allow_http(is_plain)
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
