//! `bygone cat`: the bytes of one file.

use crate::browse::SnapshotPath;
use crate::cli::error::CommandError;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::open::Opened;
use crate::cli::out::Out;
use crate::cli::out::OutError;
use crate::cli::select;
use crate::meta::Kind;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

const EXAMPLES: &str = "Examples:
  bygone cat latest:/home/ada/letter.txt
  bygone cat 1a2b3c4d:/shop.sql | psql shop";

/// Print a file of a snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, alias = "dump")]
pub(super) struct CatArgs {
    /// Which snapshot, and which file in it
    #[arg(value_name = "SNAPSHOT:/PATH", value_parser = select::parser())]
    at: SnapshotPath,

    #[command(flatten)]
    filter: FilterArgs,
}

impl CatArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let browse = opened.browse(opened.select(&self.at, &filter)?);
        let mut out = Out::new();
        opened.runtime.block_on(async {
            let found = select::node(&browse, &self.at.path).await?;
            if found.node().kind != Kind::File {
                return Err(CommandError::from(Fault::NotAFile { path: self.at.path.clone() }));
            }
            let content = &found.node().content;
            let mut written = 0;
            let mut data = browse.data(content);
            while let Some((offset, bytes)) = data.next().await? {
                fill(&mut out, offset.saturating_sub(written))?;
                out.bytes(&bytes)?;
                written = offset + bytes.len() as u64;
            }
            fill(&mut out, content.len().saturating_sub(written))?;
            Ok(())
        })?;
        out.finish()?;
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

/// A hole is zeros to whoever reads.
fn fill(out: &mut Out, mut count: u64) -> std::result::Result<(), OutError> {
    while count > 0 {
        let part = count.min(ZEROS.len() as u64) as usize;
        out.bytes(&ZEROS[..part])?;
        count -= part as u64;
    }
    Ok(())
}
