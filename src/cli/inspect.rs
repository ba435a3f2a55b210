//! `bygone inspect`: what is on a disk, in a file or in a snapshot.

use crate::browse::Browse;
use crate::browse::OpenedDisk;
use crate::browse::SnapshotPath;
use crate::browse::disk_of;
use crate::browse::is_use_unknown;
use crate::cli::error::CommandError;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out::Out;
use crate::cli::select;
use crate::cli::table::Align;
use crate::cli::table::Table;
use crate::cli::unlock::UnlockArgs;
use crate::format::disk::Disk;
use crate::image;
use crate::image::Device;
use crate::image::DeviceError;
use crate::image::Image;
use crate::image::ImageReader;
use crate::image::Part;
use crate::path;
use serde_json::Value;
use serde_json::json;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  bygone inspect /dev/sda
  bygone inspect vm.qcow2
  bygone inspect --snapshot latest            the disks of a snapshot
  bygone inspect --snapshot latest:/vm/disk.vhdx";

/// Show what is on a disk: partitions, file systems, names
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InspectArgs {
    /// A block device or a disk image (raw, qcow2, VDI, VHD, VHDX, VMDK)
    #[arg(value_name = "DISK", required_unless_present = "snapshot", conflicts_with = "snapshot")]
    disk: Option<PathBuf>,

    /// The disks of a snapshot, or a disk image that lies in one
    #[arg(long, value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser())]
    snapshot: Option<SnapshotPath>,

    #[command(flatten)]
    unlock: UnlockArgs,

    #[command(flatten)]
    filter: FilterArgs,
}

impl InspectArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let mut out = Out::new();
        if let Some(at) = &self.snapshot {
            let filter = self.filter.filter()?;
            let opened = Opened::new(global)?;
            let browse = opened.browse(opened.select(at, &filter)?);
            let disks = opened.runtime.block_on(disks(&browse, &at.path, &self.unlock.passphrase()?))?;
            disks.iter().try_for_each(|(name, bytes, disk)| show(name, *bytes, disk, global.json, &mut out))?;
            out.finish()?;
            opened.tell_requests(global);
            return Ok(Exit::Done);
        }
        let Some(path) = &self.disk else { return Ok(Exit::Done) };
        let device = Device::open(path).map_err(not_opened)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(Fault::Runtime)?;
        let device = runtime.block_on(image::whole(device, runtime.handle())).map_err(CommandError::from)?;
        let image: Arc<dyn Image> = Arc::new(device.clone());
        let passphrase = self.unlock.passphrase()?;
        let reader = |part| ImageReader::new(image.clone(), part, &passphrase, runtime.handle());
        let layout = runtime.block_on(reader(None).layout()).map_err(CommandError::from)?;
        let mut disk = image::describe(&layout);
        for part in disk.parts.iter_mut().filter(|part| is_use_unknown(part)) {
            // What cannot be known is not shown.
            let used = runtime.block_on(reader(Some(Part::Number(part.number))).used_bytes());
            let used = used.unwrap_or_default();
            part.fs.iter_mut().for_each(|fs| fs.used_bytes = used);
        }
        if !layout.is_contained() {
            disk.container = if device.is_device() { "device" } else { "raw" }.to_owned();
        }
        show(device.path().as_os_str().as_bytes(), layout.bytes, &disk, global.json, &mut out)?;
        out.finish()?;
        Ok(Exit::Done)
    }
}

/// What is no file here may have been meant as a snapshot.
fn not_opened(error: DeviceError) -> Fault {
    match error {
        DeviceError::Open { path, source } if source.kind() == io::ErrorKind::NotFound => Fault::NoDiskFile { path },
        other => Fault::Device(other),
    }
}

/// The disks at the top of a snapshot, or the image at a path: name, bytes and what is on it.
async fn disks(browse: &Browse, at: &[u8], passphrase: &[u8]) -> Result<Vec<(Vec<u8>, u64, Disk)>> {
    let found = select::node(browse, at).await?;
    if !found.node().is_folder() {
        let opened = OpenedDisk::open(browse, found, passphrase).await?.with_use(browse, passphrase).await;
        return Ok(vec![(at.to_vec(), opened.bytes, opened.disk)]);
    }
    let mut disks = Vec::new();
    let mut walk = browse.walk(browse.children(at).await?);
    while let Some(found) = walk.next().await? {
        if disk_of(found.node()).is_some() {
            let name = found.node().name.clone();
            let opened = OpenedDisk::open(browse, found, passphrase).await?.with_use(browse, passphrase).await;
            disks.push((name, opened.bytes, opened.disk));
        }
    }
    if disks.is_empty() { Err(Fault::NoDisk { path: at.to_vec() }.into()) } else { Ok(disks) }
}

fn show(name: &[u8], bytes: u64, disk: &Disk, as_json: bool, out: &mut Out) -> Result<()> {
    if as_json {
        out.text(json::line("disk", &disk_json(name, bytes, disk)))?;
        return Ok(out.bytes(b"\n")?);
    }
    let table = if disk.table.is_empty() { "no partition table" } else { &disk.table };
    let sectors = human::count(u64::from(disk.sector_bytes));
    let head = format!(
        "{}: {}, {}, {table}, sectors of {sectors} bytes\n",
        path::Show(name),
        disk.container,
        human::size(bytes)
    );
    out.text(head)?;
    out.text(parts(disk))?;
    for part in &disk.parts {
        for note in &part.notes {
            out.text(format_args!("{}: {}\n", path::Show(part.title().as_bytes()), path::Show(note.as_bytes())))?;
        }
    }
    for range in &disk.unreadable {
        out.text(format_args!("Bytes {} to {} could not be read when it was backed up.\n", range.start, range.end))?;
    }
    Ok(())
}

fn parts(disk: &Disk) -> Table {
    let mut table = Table::new(&[
        ("NR", Align::Right),
        ("START", Align::Right),
        ("SIZE", Align::Right),
        ("USED", Align::Right),
        ("KIND", Align::Left),
        ("NAME", Align::Left),
        ("TYPE", Align::Left),
        ("UUID", Align::Left),
    ]);
    for part in &disk.parts {
        let fs = part.fs.as_ref();
        let name = fs.map(|fs| fs.label.as_str()).filter(|label| !label.is_empty()).unwrap_or(&part.name);
        let size = part.range.end - part.range.start;
        table.row([
            part.number.to_string(),
            if size > 0 { human::size(part.range.start) } else { String::new() },
            if size > 0 { human::size(size) } else { String::new() },
            fs.and_then(|fs| fs.used_bytes).map(human::size).unwrap_or_default(),
            if part.kind.is_empty() { "?".to_owned() } else { part.kind.clone() },
            path::Show(name.as_bytes()).to_string(),
            part.type_name.clone(),
            path::Show(fs.map_or(part.uuid.as_str(), |fs| fs.uuid.as_str()).as_bytes()).to_string(),
        ]);
    }
    table
}

/// A disk for programs.
pub(super) fn disk_json(name: &[u8], bytes: u64, disk: &Disk) -> Value {
    let mut map = serde_json::Map::new();
    json::put_bytes(&mut map, "name", name);
    json::put_bytes(&mut map, "path", &disk.path);
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("bytes", bytes.into());
    put("container", disk.container.clone().into());
    put("sector_bytes", disk.sector_bytes.into());
    put("table", disk.table.clone().into());
    put("uuid", disk.uuid.clone().into());
    put("live", disk.live.into());
    put("all_blocks", disk.all_blocks.into());
    put("blake3", disk.checksum.map_or(Value::Null, |sum| json::hex(&sum).into()));
    put("unreadable", disk.unreadable.iter().map(|range| json!([range.start, range.end])).collect());
    let part = |part: &crate::format::disk::DiskPart| {
        let fs = part.fs.as_ref();
        json!({
            "number": part.number,
            "start": part.range.start,
            "bytes": part.range.end - part.range.start,
            "folder": part.folder,
            "type": part.type_name,
            "name": part.name,
            "part_uuid": part.uuid,
            "kind": part.kind,
            "label": fs.map(|fs| &fs.label),
            "uuid": fs.map(|fs| &fs.uuid),
            "used_bytes": fs.and_then(|fs| fs.used_bytes),
            "opens": fs.is_some(),
            "notes": part.notes,
        })
    };
    put("parts", disk.parts.iter().map(part).collect());
    Value::Object(map)
}
