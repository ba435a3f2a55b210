//! `bygone restore --image`: a disk, or one partition of it, back to a device or into a file.

use crate::browse::Browse;
use crate::browse::SnapshotPath;
use crate::browse::disk_of;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::global::moved;
use crate::cli::human;
use crate::cli::inside;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::progress::Progress;
use crate::cli::qcow2;
use crate::cli::qcow2::Beside;
use crate::cli::restore::ask_for_yes;
use crate::cli::select;
use crate::cli::snapshots::short;
use crate::disk::WHOLE_NUMBERS;
use crate::format::disk::Disk;
use crate::format::disk::DiskPart;
use crate::image::Device;
use crate::image::ImageReader;
use crate::image::Part;
use crate::monitor::Monitor;
use crate::path::Show;
use crate::restore;
use crate::restore::DiskOptions;
use crate::restore::DiskSummary;
use crate::target::DiskTarget;
use crate::tree::Found;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;
use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Parts of a disk named before it is written over.
const PARTS_SHOWN: usize = 16;

/// How a disk is restored.
#[derive(Debug, clap::Args)]
pub(super) struct DiskRestoreArgs {
    /// Write a whole disk back, to the device or file TARGET, or one partition of it, as SNAPSHOT:/disk.img!/2. Everything
    /// on that device is replaced
    #[arg(long, requires = "onto", help_heading = "Disks")]
    #[arg(conflicts_with_all = ["include", "exclude", "overwrite", "delete", "numeric_ids", "no_owner", "passphrase_file"])]
    pub(super) image: bool,

    /// With --image: the device, or a file
    #[arg(value_name = "TARGET", requires = "image")]
    onto: Option<PathBuf>,

    /// Read what is on TARGET, and write (and fetch) only what differs
    #[arg(long, requires = "image", help_heading = "Disks")]
    delta: bool,

    /// What kind of file is written; by the name of TARGET if left out: qcow2 or raw
    #[arg(long, value_name = "FORMAT", value_enum, requires = "image", help_heading = "Disks")]
    format: Option<Format>,
}

/// What kind of file a disk becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The bytes of the disk, with holes where it has nothing; or a device
    Raw,
    /// For virtual machines; needs qemu-img, and space for a raw file meanwhile
    Qcow2,
}

/// The kind of file that a name stands for.
fn format_of(onto: &Path) -> Result<Format> {
    let ending = onto.extension().unwrap_or_default().to_ascii_lowercase();
    let is_device = std::fs::metadata(onto).is_ok_and(|found| !found.is_file());
    match ending.to_str() {
        _ if is_device => Ok(Format::Raw),
        Some("qcow2") => Ok(Format::Qcow2),
        // Raw bytes under such a name would be taken for something else.
        Some(other @ ("vdi" | "vhd" | "vhdx" | "vmdk")) => Err(usage(format!("disks are not written as {other}"))
            .hint("write a qcow2 and convert it with 'qemu-img convert', or say --format raw")),
        _ => Ok(Format::Raw),
    }
}

/// What other options of the command say.
pub(super) struct Wanted {
    pub(super) at: SnapshotPath,
    pub(super) yes: bool,
    pub(super) verify: bool,
    pub(super) dry_run: bool,
}

impl DiskRestoreArgs {
    pub(super) fn run(self, global: &Global, opened: &Opened, browse: &Browse, wanted: &Wanted) -> Result<Exit> {
        let onto = self.onto.as_deref().ok_or_else(|| usage("--image needs a TARGET"))?;
        let format = self.format.map_or_else(|| format_of(onto), Ok)?;
        let meant = opened.runtime.block_on(meant_by(browse, &wanted.at.path))?;
        let _replaced = if format == Format::Qcow2 { self.check_qcow2(onto, wanted)? } else { None };
        let mut overwrite = wanted.yes;
        if !overwrite && !wanted.dry_run && DiskTarget::look(onto)?.is_some_and(|there| there.is_device()) {
            confirm(opened, browse, &meant, onto)?;
            overwrite = true;
        }
        let options = DiskOptions { overwrite, delta: self.delta, verify: wanted.verify, dry_run: wanted.dry_run };
        let began = Instant::now();
        let progress = Progress::start(global, &opened.runtime, "Restoring");
        let done = match format {
            Format::Raw => restore_raw(opened, browse, &meant, onto, &options, &progress),
            Format::Qcow2 => restore_qcow2(opened, browse, &meant, onto, &options, &progress),
        };
        let problems = progress.finish();
        let summary = done?;
        let problems = problems.max(summary.problems);
        let told = Told { summary: &summary, meant: &meant, onto, format, dry_run: options.dry_run };
        if global.json {
            out::line(json::line("summary", &told.json(browse, problems, began, opened)))?;
        } else if !global.quiet {
            out::line(told.text(began))?;
            told.notes(&disk_of(meant.found.node()).unwrap_or_default());
        }
        opened.tell_requests(global);
        if problems == 0 {
            return Ok(Exit::Done);
        }
        if !global.json {
            let problems = human::plural(problems, "problem", "problems");
            out::note(format_args!("{problems}; everything else of the {} was restored", meant.noun()));
        }
        Ok(Exit::Incomplete)
    }

    /// Gives the file that will be replaced, to be kept open until it is.
    fn check_qcow2(&self, onto: &Path, wanted: &Wanted) -> Result<Option<DiskTarget>> {
        if self.delta {
            return Err(usage("--delta compares with a raw file or a device, not with a qcow2 file"));
        }
        qcow2::find()?;
        match DiskTarget::look(onto)? {
            Some(there) if there.is_device() => {
                Err(usage("a device takes the disk as it is: leave out --format qcow2"))
            }
            Some(_) if !wanted.yes && !wanted.dry_run => {
                Err(restore::DiskError::Exists { path: onto.to_owned() }.into())
            }
            Some(_) if wanted.dry_run => Ok(None),
            Some(there) => {
                // The lock on a file ends when any handle of it is closed.
                drop(there);
                Ok(Some(restore::open_unused(onto)?))
            }
            None => Ok(None),
        }
    }
}

/// What is to be written back.
struct Meant {
    found: Found,
    /// Only this part of the disk.
    part: Option<DiskPart>,
}

impl Meant {
    fn noun(&self) -> &'static str {
        if self.part.is_some() { "partition" } else { "disk" }
    }

    fn bytes(&self) -> u64 {
        self.part.as_ref().map_or(self.found.node().size(), |part| part.range.end - part.range.start)
    }
}

impl Display for Meant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let disk = Show(&self.found.node().name);
        match &self.part {
            Some(part) => write!(f, "'{}' of {disk}", Show(part.folder.as_bytes())),
            None => write!(f, "{disk}"),
        }
    }
}

/// The disk at a path of the snapshot, or the part that the path goes on to.
async fn meant_by(browse: &Browse, path: &[u8]) -> Result<Meant> {
    if browse.get(path).await?.is_some() {
        return Ok(Meant { found: disk_at(browse, path).await?, part: None });
    }
    let Some((found, name)) = inside::image_of(browse, path).await? else {
        return Ok(Meant { found: disk_at(browse, path).await?, part: None });
    };
    let image = found.path();
    let disk = disk_of(found.node()).ok_or_else(|| restore::DiskError::NotADisk { path: image.clone() })?;
    if name.is_empty() {
        return Ok(Meant { found, part: None });
    }
    if name.contains(&b'/') {
        return Err(usage("--image writes whole disks and partitions; without it, files are restored to a folder"));
    }
    let part = inside::part_named(&image, &disk, name)?;
    if part.is_volume() {
        let volume = Show(part.title().as_bytes());
        return Err(usage(format!(
            "'{volume}' is no partition but a volume made of them; --image cannot write it alone"
        ))
        .hint(
            "'bygone restore SNAPSHOT:/DISK!/VOLUME --to DIR' brings its files back, 'bygone cat' prints its bytes",
        ));
    }
    let part = Some(part.clone());
    Ok(Meant { found, part })
}

/// The disk at a path of the snapshot; if that is the root, the only one there is.
async fn disk_at(browse: &Browse, path: &[u8]) -> Result<Found> {
    let found = select::node(browse, path).await?;
    if !path.is_empty() {
        return match disk_of(found.node()) {
            Some(_) => Ok(found),
            None => Err(restore::DiskError::NotADisk { path: path.to_vec() }.into()),
        };
    }
    let disks = browse.disks().await?;
    let id = short(browse.snapshot().id);
    match &disks[..] {
        [] => Err(Fault::NoDisks { snapshot: id }.into()),
        [disk] => Ok(disk.clone()),
        several => {
            let name = |disk: &Found| format!("{id}:/{}", Show(&disk.node().name));
            let names: Vec<String> = several.iter().map(name).collect();
            Err(usage(format!("the snapshot holds several disks; name one: {}", names.join(", "))))
        }
    }
}

fn restore_raw(
    opened: &Opened,
    browse: &Browse,
    meant: &Meant,
    onto: &Path,
    options: &DiskOptions,
    monitor: &dyn Monitor,
) -> Result<DiskSummary> {
    let (node, part) = (meant.found.node(), meant.part.as_ref());
    Ok(opened.runtime.block_on(restore::restore_disk(browse, node, part, onto, options, monitor))?)
}

fn restore_qcow2(
    opened: &Opened,
    browse: &Browse,
    meant: &Meant,
    onto: &Path,
    options: &DiskOptions,
    monitor: &dyn Monitor,
) -> Result<DiskSummary> {
    let raw = Beside::new(onto, "raw")?;
    let summary = restore_raw(opened, browse, meant, raw.path(), options, monitor)?;
    if !options.dry_run {
        qcow2::convert(raw.path(), onto, options.verify, monitor)?;
    }
    Ok(summary)
}

/// Asks before a device is written over, and tells what is on it.
fn confirm(opened: &Opened, browse: &Browse, meant: &Meant, onto: &Path) -> Result<()> {
    let device = Device::open(onto).map_err(Fault::Device)?;
    let snapshot = browse.snapshot();
    let parts = opened.runtime.block_on(parts_of(&device, opened));
    ask_for_yes(|| {
        out::note(format_args!(
            "The {} {meant} of snapshot {} ({}), {}, will replace everything on {}:",
            meant.noun(),
            short(snapshot.id),
            human::time(snapshot.time),
            human::size(meant.bytes()),
            device.path().display(),
        ));
        let more = parts.len().saturating_sub(PARTS_SHOWN);
        for part in parts.iter().take(PARTS_SHOWN) {
            out::note(format_args!("  {part}"));
        }
        if more > 0 {
            out::note(format_args!("  and {}", human::plural(more as u64, "more part", "more parts")));
        }
    })
}

/// What is on a device now, in words.
async fn parts_of(device: &Device, opened: &Opened) -> Vec<String> {
    let reader = ImageReader::new(Arc::new(device.clone()), Some(Part::Disk), &[], opened.runtime.handle());
    let Ok(layout) = reader.layout().await else { return vec!["something that cannot be read".to_owned()] };
    let once = layout.parts.iter().filter(|part| part.number < WHOLE_NUMBERS);
    let told = once.map(|part| match part.range.end.saturating_sub(part.range.start) {
        // A volume lies in partitions.
        0 => part.title.clone(),
        bytes => format!("{}, {}", part.title, human::size(bytes)),
    });
    told.collect()
}

/// A summary, to be told.
struct Told<'a> {
    summary: &'a DiskSummary,
    meant: &'a Meant,
    onto: &'a Path,
    format: Format,
    dry_run: bool,
}

impl Told<'_> {
    fn text(&self, began: Instant) -> String {
        let summary = self.summary;
        let mut text = format!(
            "{} {} to {}: {}, {} of data written",
            if self.dry_run { "Would restore" } else { "Restored" },
            self.meant,
            self.onto.display(),
            human::size(summary.bytes),
            human::size(summary.bytes_written),
        );
        if summary.bytes_same > 0 {
            text += &format!(", {} there already", human::size(summary.bytes_same));
        }
        if summary.bytes_zeroed > 0 {
            text += &format!(", {} cleared", human::size(summary.bytes_zeroed));
        }
        text += &format!(" in {}", human::duration(began.elapsed()));
        if summary.verified {
            text += "; read back and found equal";
        }
        text
    }

    /// What people should know about their new disk.
    fn notes(&self, disk: &Disk) {
        if disk.live {
            out::note("It was in use while it was backed up: let its file systems be checked before they are mounted");
        }
        if self.summary.bytes_behind == 0 {
            return;
        }
        out::note(format_args!(
            "The device is {} larger than the {}; what is behind was not touched",
            human::size(self.summary.bytes_behind),
            self.meant.noun()
        ));
        if disk.table == "GPT" && self.meant.part.is_none() {
            out::note(format_args!(
                "The backup of its partition table belongs to the end: 'sgdisk --move-second-header {}' moves it there",
                human::shell(&self.onto.to_string_lossy())
            ));
        }
    }

    fn json(&self, browse: &Browse, problems: u64, began: Instant, opened: &Opened) -> Value {
        let summary = self.summary;
        let ranges = |ranges: &[Range<u64>]| -> Vec<[u64; 2]> { ranges.iter().map(|r| [r.start, r.end]).collect() };
        json!({
            "command": "restore",
            "dry_run": self.dry_run,
            "snapshot": browse.snapshot().id.to_string(),
            "disk": String::from_utf8_lossy(&self.meant.found.node().name),
            "part": self.meant.part.as_ref().map(|part| part.number),
            "target": self.onto.to_string_lossy(),
            "format": if self.format == Format::Raw { "raw" } else { "qcow2" },
            "bytes": summary.bytes,
            "bytes_data": summary.bytes_data,
            "bytes_written": summary.bytes_written,
            "bytes_zeroed": summary.bytes_zeroed,
            "bytes_same": summary.bytes_same,
            "bytes_behind": summary.bytes_behind,
            "verified": summary.verified,
            "unreadable": ranges(&summary.unreadable),
            "lost": ranges(&summary.lost),
            "differs": ranges(&summary.differs),
            "problems": problems,
            "millis": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "store": json::totals(&opened.counted.totals(), &moved()),
        })
    }
}
