//! `bygone init`: a new repository.

use crate::chunker::Sizes;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::from::FromArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::met;
use crate::cli::open;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::password;
use crate::crypto::password::Cost;
use crate::repo::CONFIG_NAME;
use crate::repo::Error;
use crate::repo::InitOptions;
use crate::repo::Repo;
use crate::store;
use crate::store::ErrorKind;
use crate::store::StoreOptions;
use serde_json::json;

const EXAMPLES: &str = "Examples:
  bygone -r /media/disk/backup init
  bygone -r s3://my-bucket/laptop -o s3.endpoint=https://s3.example.org init
  BYGONE_PASSWORD_FILE=~/.backup-password bygone -r /srv/backup init
  bygone -r s3://my-bucket/copy init --from /srv/backup     for copies of snapshots

A lost password is a lost backup: nobody can open the repository without it. Write it down and keep \
it in a place that does not burn together with this machine.";

/// Make a new repository
///
/// The folder is made if it is missing; buckets and containers must be there. Everything stored later is encrypted
/// with a key that only the password opens.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// Average size of the chunks that files are cut into, a power of two; for experts
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size, hide_short_help = true)]
    chunk_size: Option<u64>,

    /// Share the chunks with this repository: same content has the same names in both, so that copies between the two move
    /// only what is missing. They have the same key inside: who has a password of one can read the other, if they get at
    /// its storage
    #[arg(long, value_name = "LOCATION", conflicts_with = "chunk_size")]
    from: Option<String>,

    #[command(flatten)]
    opening: FromArgs,
}

impl InitArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let location = global.location()?;
        let options = StoreOptions { create: true, ..global.store_options()? };
        let sizes = self.sizes()?;
        let counted = open::counted(global, &location, &options)?;
        let runtime = open::runtime()?;
        // Before anybody thinks of a password.
        match runtime.block_on(store::Store::head(&*counted, CONFIG_NAME)) {
            Ok(_) => return Err(Error::Exists { location: location.to_string() }.into()),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let other = self.other(global)?;
        let given = password::read_new(global)?;
        let repo = runtime.block_on(async {
            let probed = store::probe(&*counted).await?;
            let now_secs = human::now().secs;
            let options = InitOptions { sizes, cost: Cost::DEFAULT, create_only: probed.create_only, now_secs };
            match &other {
                Some(other) => Repo::init_beside(counted.clone(), &given.password(), &options, &other.repo).await,
                None => Repo::init(counted.clone(), &given.password(), &options).await,
            }
        })?;
        met::made(&location, repo.config().repository);
        let id = repo.config().repository.to_string();
        let create_only = repo.config().create_only;
        if global.json {
            let from = other.as_ref().map(|other| other.repo.config().repository.to_string());
            let body =
                json!({ "id": id, "location": location.to_string(), "create_only": create_only, "shares_with": from });
            out::line(json::line("repository", &body))?;
        } else if !global.quiet {
            out::line(format_args!("Made repository {id} at {location}."))?;
            out::line("Keep the password safe: a lost password is a lost backup.")?;
            out::line(format_args!("Next: bygone -r {} backup PATH", human::shell(&location.to_string())))?;
        }
        open::tell_requests(global, &location, &counted.totals());
        Ok(Exit::Done)
    }

    /// The repository to share with.
    fn other(&self, global: &Global) -> Result<Option<Opened>> {
        self.from.as_ref().map(|from| self.opening.open(from, global)).transpose()
    }

    fn sizes(&self) -> Result<Sizes> {
        let Some(avg) = self.chunk_size else { return Ok(Sizes::DEFAULT) };
        let sizes = u32::try_from(avg).ok().map(|avg| Sizes { min: avg / 4, avg, max: avg.saturating_mul(4) });
        sizes
            .filter(|sizes| sizes.is_valid() && sizes.avg.is_power_of_two())
            .ok_or_else(|| usage("--chunk-size must be a power of two between 256 bytes and 4 MiB"))
    }
}
