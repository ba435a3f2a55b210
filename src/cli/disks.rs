//! Disks as sources of a backup: which of the paths are disks, and how they are read.

use crate::backup::Changes;
use crate::backup::Disk;
use crate::cli::capture::Capture;
use crate::cli::capture::Method;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::image::Device;
use std::collections::HashSet;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;

/// How disks are backed up.
#[derive(Debug, clap::Args)]
pub(super) struct DiskArgs {
    /// The PATHs are disks or disk images (raw, qcow2, VDI, VHD, VHDX, VMDK): back up what is on them. Block devices
    /// always are
    #[arg(long, overrides_with = "image", help_heading = "Disks")]
    image: bool,

    /// Back up unused blocks, too
    #[arg(long, help_heading = "Disks")]
    all_blocks: bool,

    /// Back up a disk although it is mounted and may change meanwhile
    #[arg(long, help_heading = "Disks")]
    live: bool,

    /// Make a snapshot below the disk with 'lvm', 'btrfs' or 'zfs' and read that, so that the disk may be in use; it is
    /// removed afterwards. Or a shell COMMAND that does it: with BYGONE_DO=make it prints where to read what is at
    /// BYGONE_SOURCE, with BYGONE_DO=remove it removes BYGONE_SNAPSHOT; BYGONE_NAME is a name that nothing else has
    #[arg(long, value_name = "lvm|btrfs|zfs|COMMAND", help_heading = "Disks", conflicts_with = "live")]
    snapshot_with: Option<Method>,

    /// Read only these parts, the rest is as it was in the snapshot before: lines of OFFSET and LENGTH in bytes
    #[arg(long, value_name = "FILE", help_heading = "Disks", conflicts_with = "force")]
    changed_blocks: Option<PathBuf>,

    /// Read only what this dirty bitmap of a qcow2 image marks. It must have been begun before the snapshot before was
    /// taken
    #[arg(long, value_name = "NAME", help_heading = "Disks", conflicts_with_all = ["force", "changed_blocks"])]
    bitmap: Option<String>,
}

impl DiskArgs {
    /// True if the paths must be disks.
    pub(super) fn are_asked_for(&self) -> bool {
        let reads_differently = self.all_blocks || self.live || self.snapshot_with.is_some();
        self.image || reads_differently || self.changed_blocks.is_some() || self.bitmap.is_some()
    }
}

/// Disks to back up, and the snapshots made for that.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) disks: Vec<Disk>,
    /// Removed when dropped.
    pub(super) captures: Vec<Capture>,
}

/// The paths as disks; none if they are folders and files. `about_trees` is an option that was given for those.
pub(super) fn chosen(paths: &[PathBuf], args: &DiskArgs, about_trees: Option<&str>, as_json: bool) -> Result<Chosen> {
    let is_device = |path: &&PathBuf| std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device());
    let devices = paths.iter().filter(is_device).count();
    let mut chosen = Chosen::default();
    if devices == 0 && !args.are_asked_for() {
        return Ok(chosen);
    }
    if devices < paths.len() && !args.image {
        return Err(usage(
            "disks go into snapshots of their own: back them up apart from folders, image files with --image",
        ));
    }
    if let Some(option) = about_trees {
        let why = if args.image { "--image" } else { "the block devices that were named" };
        return Err(usage(format!("{option} is about folders: it does not go with {why}"))
            .hint("all of a disk is backed up but what its file systems call free"));
    }
    if args.changed_blocks.is_some() && paths.len() > 1 {
        return Err(usage("--changed-blocks goes with one disk"));
    }
    let listed = args.changed_blocks.as_deref().map(read_changed).transpose()?.map(Changes::Ranges);
    let changes = listed.or_else(|| args.bitmap.clone().map(Changes::Bitmap));
    let mut names = HashSet::new();
    for path in paths {
        let mut device = Device::open(path).map_err(Fault::Device)?;
        let named = device.is_device().then(|| given(path)).flatten();
        let origin = named.unwrap_or_else(|| device.path().to_owned());
        if let Some(method) = &args.snapshot_with {
            let capture = Capture::take(method, if device.is_device() { &origin } else { device.path() }, as_json)?;
            device = Device::open(capture.path()).map_err(Fault::Device)?;
            chosen.captures.push(capture);
        }
        let name = name_for(&origin, device.is_device(), &mut names);
        let (all_blocks, live, changes) = (args.all_blocks, args.live, changes.clone());
        chosen.disks.push(Disk { device, origin, name, all_blocks, live, changes });
    }
    Ok(chosen)
}

/// Where a disk is by the name it was given: `/dev/vg0/root` and `/dev/disk/by-id/...` stay what they are, while the devices behind them
/// change with every start.
fn given(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(std::fs::canonicalize(folder).ok()?.join(path.file_name()?))
}

/// `sda.img` for `/dev/sda`, `disk.img` for `disk.qcow2`; each name once.
fn name_for(path: &Path, is_device: bool, taken: &mut HashSet<Vec<u8>>) -> Vec<u8> {
    let stem = if is_device { path.file_name() } else { path.file_stem() };
    let stem = stem.map_or(&b"disk"[..], OsStrExt::as_bytes);
    let named = |number: u32| match number {
        1 => [stem, b".img"].concat(),
        _ => [stem, format!(" {number}.img").as_bytes()].concat(),
    };
    let free = (1..=u32::MAX).map(named).find(|name| !taken.contains(name));
    let name = free.unwrap_or_else(|| stem.to_vec());
    taken.insert(name.clone());
    name
}

fn read_changed(path: &Path) -> Result<Vec<Range<u64>>> {
    let text = std::fs::read_to_string(path).map_err(|source| Fault::Read { path: path.to_owned(), source })?;
    let number = |word: &str| match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    };
    let range = |line: &str| {
        let (offset, len) = line.split_once(char::is_whitespace)?;
        let offset = number(offset)?;
        Some(offset..offset.checked_add(number(len.trim())?)?)
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let fault = |line: &str| usage(format!("'{line}' in {} is not an OFFSET and a LENGTH in bytes", path.display()));
    lines.map(|line| range(line).ok_or_else(|| fault(line))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_disks() {
        let mut taken = HashSet::new();
        let mut name =
            |path: &str| String::from_utf8(name_for(Path::new(path), path.starts_with("/dev/"), &mut taken)).unwrap();
        assert_eq!(name("/dev/sda"), "sda.img");
        assert_eq!(name("/vm/disk.qcow2"), "disk.img");
        assert_eq!(name("/other/disk.vhdx"), "disk 2.img");
    }

    #[test]
    fn lists_of_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# from the bitmap\n0 4096\n\n0x10000  0x200\n").unwrap();
        assert_eq!(read_changed(file.path()).unwrap(), [0..4096, 65536..66048]);
        for bad in ["5", "a b", "18446744073709551615 2"] {
            std::fs::write(file.path(), bad).unwrap();
            assert!(read_changed(file.path()).is_err(), "{bad}");
        }
    }
}
