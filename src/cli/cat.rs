//! `bygone cat`: the bytes of one file.

use crate::browse::Browse;
use crate::browse::Inside;
use crate::browse::SnapshotPath;
use crate::browse::Unreadable;
use crate::cli::error::CommandError;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::inside;
use crate::cli::inside::Place;
use crate::cli::open::Opened;
use crate::cli::out::Out;
use crate::cli::out::OutError;
use crate::cli::select;
use crate::cli::unlock::UnlockArgs;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::meta::Kind;
use crate::meta::Node;
use std::ops::Range;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

const EXAMPLES: &str = "Examples:
  bygone cat latest:/home/ada/letter.txt
  bygone cat 1a2b3c4d:/shop.sql | psql shop
  bygone cat 'latest:/vm/disk.qcow2!/2/etc/fstab'    a file inside a disk image";

/// Bytes read at once out of a disk image.
const READ_BYTES: usize = 1 << 20;

/// Print a file of a snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, alias = "dump")]
pub(super) struct CatArgs {
    /// Which snapshot, and which file in it
    #[arg(value_name = "SNAPSHOT:/PATH", value_parser = select::parser())]
    at: SnapshotPath,

    #[command(flatten)]
    unlock: UnlockArgs,

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
            let passphrase = self.unlock.passphrase()?;
            match inside::find(&browse, &self.at.path, &passphrase).await? {
                Place::Node(found) if found.node().kind == Kind::File => print(&browse, found.node(), &mut out).await,
                Place::Inside(inside, id, node) if node.kind == NodeKind::File => {
                    print_inside(&inside, id, &mut out).await
                }
                Place::Raw(disk, part) => {
                    // What is encrypted is printed as it is, but a volume may lie within it.
                    let passphrase = if part.is_volume() { &passphrase[..] } else { &[] };
                    print_raw(&disk.part(&browse, &part, passphrase), &part.range, &mut out).await
                }
                _ => Err(CommandError::from(Fault::NotAFile { path: self.at.path.clone() })),
            }
        })?;
        out.finish()?;
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

async fn print(browse: &Browse, node: &Node, out: &mut Out) -> Result<()> {
    let mut written = 0;
    let (len, unreadable) = (node.content.len(), Unreadable::of(node));
    let mut data = browse.data(&node.content);
    while let Some((offset, bytes)) = data.next().await? {
        unreadable.check(&(written..offset.saturating_add(bytes.len() as u64)))?;
        fill(out, offset.saturating_sub(written))?;
        out.bytes(&bytes)?;
        written = offset + bytes.len() as u64;
    }
    unreadable.check(&(written..len))?;
    Ok(fill(out, len.saturating_sub(written))?)
}

async fn print_inside(inside: &Inside, file: NodeId, out: &mut Out) -> Result<()> {
    let mut at = 0;
    loop {
        let bytes = inside.read(file, at, READ_BYTES).await?;
        if bytes.is_empty() {
            return Ok(());
        }
        out.bytes(&bytes)?;
        at += bytes.len() as u64;
    }
}

async fn print_raw(inside: &Inside, range: &Range<u64>, out: &mut Out) -> Result<()> {
    let mut at = 0;
    loop {
        let bytes = inside.read_raw(range, at, READ_BYTES).await?;
        if bytes.is_empty() {
            return Ok(());
        }
        out.bytes(&bytes)?;
        at += bytes.len() as u64;
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
