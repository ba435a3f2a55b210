//! Profiles of the AWS tools: the keys, the region and the address that lie in `~/.aws/credentials` and `~/.aws/config`.
//!
//! Reads files and nothing else: a profile that needs a program or a browser to sign in is refused with the command that
//! brings its keys. No value is ever repeated in an error.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// No such file is longer.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Variables by name; what the profile is looked for with.
pub(crate) type Environment = BTreeMap<String, String>;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error("cannot read '{}'", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("line {line} of '{}' is neither [profile] nor name = value", path.display())]
    Line { path: PathBuf, line: usize },
    #[error("there is no profile '{name}' in '{}' or '{}'", credentials.display(), config.display())]
    Missing { name: String, credentials: PathBuf, config: PathBuf },
    #[error("the profile '{name}' has an access key without a secret one")]
    NoSecret { name: String },
    #[error(
        "the profile '{name}' gets its keys {how}, which Bygone does not do; \
         'aws configure export-credentials --profile {name} --format env' prints variables to set instead"
    )]
    SignsIn { name: String, how: &'static str },
}

/// What one profile says.
#[derive(Debug)]
pub(crate) struct Profile {
    name: String,
    credentials: Section,
    config: Section,
    /// The `[services]` it refers to.
    services: Section,
}

type Section = BTreeMap<String, String>;
type Sections = BTreeMap<String, Section>;

impl Profile {
    /// The profile of that name; without one that of `AWS_PROFILE`, or the default, which need not be there.
    pub(crate) fn find(environment: &Environment, name: Option<&str>) -> Result<Option<Profile>, ProfileError> {
        let home = environment.get(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
        let place = |variable: &str, below: &str| {
            let named = environment.get(variable).map(|path| from_home(path, home));
            named.or_else(|| Some(Path::new(home?).join(".aws").join(below)))
        };
        let named = name.or_else(|| environment.get("AWS_PROFILE").map(String::as_str));
        let places = (place("AWS_SHARED_CREDENTIALS_FILE", "credentials"), place("AWS_CONFIG_FILE", "config"));
        let (Some(credentials_at), Some(config_at)) = places else { return Ok(None) };
        let mut credentials = read(&credentials_at)?;
        let mut config = read(&config_at)?;
        let name = named.unwrap_or("default").to_owned();
        let in_config = config.remove(&format!("profile {name}"));
        let in_config = in_config.or_else(|| if name == "default" { config.remove("default") } else { None });
        let in_credentials = credentials.remove(&name);
        if in_config.is_none() && in_credentials.is_none() {
            return match named {
                Some(_) => Err(ProfileError::Missing { name, credentials: credentials_at, config: config_at }),
                None => Ok(None),
            };
        }
        let in_config = in_config.unwrap_or_default();
        let services = in_config.get("services").and_then(|services| config.remove(&format!("services {services}")));
        Ok(Some(Profile {
            name,
            credentials: in_credentials.unwrap_or_default(),
            config: in_config,
            services: services.unwrap_or_default(),
        }))
    }

    /// Its keys, as the variables that would say the same; empty if it has none.
    pub(crate) fn keys(&self) -> Result<Environment, ProfileError> {
        let signs_in = |how| Err(ProfileError::SignsIn { name: self.name.clone(), how });
        // Even beside keys, which then are those of whoever takes the role.
        if self.value("role_arn").is_some() {
            return signs_in("by taking a role");
        }
        let section = [&self.credentials, &self.config].into_iter().find(|s| s.contains_key("aws_access_key_id"));
        let Some(section) = section else {
            return match () {
                () if self.value("sso_session").or_else(|| self.value("sso_start_url")).is_some() => {
                    signs_in("from a single sign-on (SSO)")
                }
                () if self.value("credential_process").is_some() => signs_in("from a program (credential_process)"),
                () if self.value("login_session").is_some() => signs_in("from a login in a browser"),
                () => Ok(Environment::new()),
            };
        };
        if !section.contains_key("aws_secret_access_key") {
            return Err(ProfileError::NoSecret { name: self.name.clone() });
        }
        let names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
        let given = names.iter().filter_map(|name| Some((name.to_ascii_uppercase(), section.get(*name)?.clone())));
        Ok(given.collect())
    }

    /// What else it says, as the variables that would say the same.
    pub(crate) fn settings(&self) -> Environment {
        let endpoint = self.services.get("s3.endpoint_url").or_else(|| self.value("endpoint_url"));
        let is_virtual = self.value("s3.addressing_style").is_some_and(|style| style == "virtual");
        let all = [
            ("AWS_REGION", self.value("region").cloned()),
            ("AWS_ENDPOINT_URL", endpoint.cloned()),
            ("AWS_CA_BUNDLE", self.value("ca_bundle").cloned()),
            ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", is_virtual.then(|| "true".to_owned())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn value(&self, key: &str) -> Option<&String> {
        self.credentials.get(key).or_else(|| self.config.get(key))
    }
}

/// `~/x` as the shell would have it: the AWS tools read it so, too.
fn from_home(path: &str, home: Option<&String>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => Path::new(home).join(below),
        _ => path.into(),
    }
}

/// The sections of a file; a missing file has none.
fn read(path: &Path) -> Result<Sections, ProfileError> {
    let unreadable = |source| ProfileError::Unreadable { path: path.to_owned(), source };
    let len = match std::fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Sections::new());
        }
        metadata => metadata.map_err(unreadable)?.len(),
    };
    if len > FILE_BYTES_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    parse(&String::from_utf8_lossy(&bytes)).map_err(|line| ProfileError::Line { path: path.to_owned(), line })
}

/// Sections of `name = value`. Lines that are set in belong to the line above: `s3 =` and below it `endpoint_url = x`
/// is `s3.endpoint_url`. The error is the number of the line.
fn parse(text: &str) -> Result<Sections, usize> {
    let mut sections = Sections::new();
    let mut section: Option<String> = None;
    let mut above = String::new();
    for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1..) {
        let is_set_in = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[').filter(|_| !is_set_in) {
            let (name, _) = rest.split_once(']').ok_or(number)?;
            let name = name.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            section = Some(name);
            above.clear();
            continue;
        }
        let into = section.as_ref().and_then(|name| sections.get_mut(name)).ok_or(number)?;
        let Some((key, value)) = line.split_once('=') else {
            // The rest of a longer value, none of which is of use here.
            if is_set_in && !above.is_empty() {
                continue;
            }
            return Err(number);
        };
        let value = [" #", " ;", "\t#", "\t;"].iter().fold(value, |value, mark| value.split(mark).next().unwrap_or(""));
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let key = if is_set_in && !above.is_empty() {
            format!("{above}.{key}")
        } else {
            above.clone_from(&key);
            key
        };
        // An empty value is no value.
        if !value.is_empty() {
            into.insert(key, value.to_owned());
        }
    }
    Ok(sections)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::store::profile::Environment;
    use crate::store::profile::Profile;
    use crate::store::profile::ProfileError;
    use crate::store::profile::parse;
    use std::fs;
    use tempfile::TempDir;

    const CREDENTIALS: &str = "\u{feff}# mine\n[default]\nAWS_Access_Key_Id = home # old\naws_secret_access_key=a=b/c\n\n\
        [work]\r\naws_access_key_id=office\r\naws_secret_access_key = x\r\naws_session_token = t\r\n\
        [half]\naws_access_key_id = h\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\n[profile work]\nregion=us-west-2\nservices = near\nca_bundle = /ca\n\
        s3 =\n  addressing_style = virtual\n  max_queue_size = 3\n[services near]\ns3 = \n\tendpoint_url = http://near\n\
        [profile \"two  words\"]\nendpoint_url = http://two\n[profile signed]\nsso_session = us\n[profile legacy]\nsso_start_url = x\n\
        [profile role]\nrole_arn = r\naws_access_key_id = r\naws_secret_access_key = s\n[profile program]\ncredential_process = /bin/x\n";

    fn home() -> (TempDir, Environment) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        let environment = [("HOME".to_owned(), home.path().to_str().unwrap().to_owned())].into();
        (home, environment)
    }

    fn pairs(environment: &Environment) -> Vec<(&str, &str)> {
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn profiles_are_found_and_read() {
        let (_home, mut environment) = home();
        let default = Profile::find(&environment, None).unwrap().unwrap();
        assert_eq!(
            pairs(&default.keys().unwrap()),
            [("AWS_ACCESS_KEY_ID", "home"), ("AWS_SECRET_ACCESS_KEY", "a=b/c")]
        );
        assert_eq!(pairs(&default.settings()), [("AWS_REGION", "eu-west-1")]);
        environment.insert("AWS_PROFILE".to_owned(), "work".to_owned());
        let work = Profile::find(&environment, None).unwrap().unwrap();
        let keys = [("AWS_ACCESS_KEY_ID", "office"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_SESSION_TOKEN", "t")];
        assert_eq!(pairs(&work.keys().unwrap()), keys);
        let settings = [
            ("AWS_CA_BUNDLE", "/ca"),
            ("AWS_ENDPOINT_URL", "http://near"),
            ("AWS_REGION", "us-west-2"),
            ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ];
        assert_eq!(pairs(&work.settings()), settings);
        let two = Profile::find(&environment, Some("two words")).unwrap().unwrap();
        assert_eq!(pairs(&two.settings()), [("AWS_ENDPOINT_URL", "http://two")]);
        assert!(two.keys().unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let (home, mut environment) = home();
        for (name, word) in [("signed", "SSO"), ("legacy", "SSO"), ("role", "role"), ("program", "program")] {
            let profile = Profile::find(&environment, Some(name)).unwrap().unwrap();
            let told = profile.keys().unwrap_err().to_string();
            assert!(told.contains(name) && told.contains(word) && told.contains("export-credentials"), "{told}");
        }
        let half = Profile::find(&environment, Some("half")).unwrap().unwrap();
        assert!(matches!(half.keys(), Err(ProfileError::NoSecret { .. })));
        let missing = Profile::find(&environment, Some("nobody")).unwrap_err().to_string();
        assert!(missing.contains("'nobody'") && missing.contains(".aws/credentials"), "{missing}");
        // The default need not be there, nor the files.
        environment.insert("AWS_SHARED_CREDENTIALS_FILE".to_owned(), "~/elsewhere".to_owned());
        environment.insert("AWS_CONFIG_FILE".to_owned(), "/nowhere/config".to_owned());
        assert!(Profile::find(&environment, None).unwrap().is_none());
        fs::write(home.path().join("elsewhere"), "[default]\nhunter2\n").unwrap();
        let broken = Profile::find(&environment, None).unwrap_err().to_string();
        assert!(broken.contains("line 2") && !broken.contains("hunter2"), "{broken}");
        environment.insert("AWS_SHARED_CREDENTIALS_FILE".to_owned(), home.path().to_str().unwrap().to_owned());
        assert!(matches!(Profile::find(&environment, None), Err(ProfileError::Unreadable { .. })));
        assert!(Profile::find(&Environment::new(), None).unwrap().is_none());
    }

    #[test]
    fn nonsense_has_a_line_number() {
        for (text, line) in [("x", 1), ("a=b", 1), ("[a]\nb=c\n\nd", 4), ("[a", 1), ("[a]\n  b", 2)] {
            assert_eq!(parse(text).unwrap_err(), line, "{text}");
        }
        assert_eq!(parse("[a]\nb = c\n  d\ne =\n[b]\n").unwrap()["a"], [("b".to_owned(), "c".to_owned())].into());
    }
}
