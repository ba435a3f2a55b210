//! What the volume's own files say about it: name, version, and whether it was closed properly.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::folder::Case;
use crate::disk::fs::ntfs::kind;
use crate::disk::fs::ntfs::link::ROOT;
use crate::disk::fs::ntfs::log_file;
use crate::disk::fs::ntfs::upcase;
use crate::disk::fs::ntfs::upcase::Upcase;
use crate::disk::fs::ntfs::utf16;
use crate::disk::fs::ntfs::volume::Volume;

const RECORD_LOG_FILE: u64 = 2;
const RECORD_VOLUME: u64 = 3;
const RECORD_UPCASE: u64 = 10;

const LABEL_BYTES_MAX: u64 = 512;
const INFORMATION_BYTES_MAX: u64 = 64;
const FLAG_DIRTY: u16 = 1;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) label: String,
    /// What is wrong, in sentences; empty if nothing is.
    pub(super) faults: Vec<String>,
}

/// Looks at the volume's own files, and reads the table of large letters.
pub(super) fn examine(volume: &mut Volume) -> Result<Health> {
    let mut health = Health::default();
    let mut fault = |text: &str| health.faults.push(text.to_owned());
    match softened(large_letters(volume))? {
        Some(table) => volume.upcase = Some(table),
        None => fault("The table of large letters ($UpCase) is damaged; looking up names is slow."),
    }
    match softened(version_and_dirt(volume))? {
        Some(true) => fault("The volume was not closed properly (it is marked as dirty)."),
        Some(false) => {}
        None => fault("The volume's information ($Volume) is damaged."),
    }
    match softened(is_log_clean(volume))? {
        Some(true) => {}
        Some(false) => fault("Changes in the journal ($LogFile) were never made; the newest ones may be missing."),
        None => fault("The journal ($LogFile) is damaged."),
    }
    match softened(is_hibernated(volume))? {
        Some(true) => fault("Windows is hibernated on this volume; what it had in memory is missing."),
        Some(false) => {}
        None => fault("The root folder is damaged."),
    }
    health.label = softened(label(volume))?.unwrap_or_default();
    Ok(health)
}

/// A damaged file of the volume is no reason not to show the others.
fn softened<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Damaged { .. } | Error::NotFound | Error::NotAFolder | Error::Encrypted) => Ok(None),
        Err(error) => Err(error),
    }
}

fn large_letters(volume: &mut Volume) -> Result<Upcase> {
    let inode = volume.inode(RECORD_UPCASE)?;
    let table = volume.value(&inode, kind::DATA, &[], upcase::UPCASE_BYTES)?.unwrap_or_default();
    match table.len() as u64 {
        upcase::UPCASE_BYTES => Ok(Upcase::new(&table)),
        _ => Err(inode.record.fields().damaged("the table of large letters is not whole")),
    }
}

/// True if the volume is dirty.
fn version_and_dirt(volume: &mut Volume) -> Result<bool> {
    let inode = volume.inode(RECORD_VOLUME)?;
    let value = volume.value(&inode, kind::VOLUME_INFORMATION, &[], INFORMATION_BYTES_MAX)?.unwrap_or_default();
    let fields = Fields::new(&value, "NTFS volume information", 0);
    let (major, minor) = (fields.u8(8)?, fields.u8(9)?);
    if !matches!(major, 1 | 3) {
        return Err(Error::unsupported(format!("NTFS version {major}.{minor}")));
    }
    Ok(fields.u16(10)? & FLAG_DIRTY != 0)
}

fn label(volume: &mut Volume) -> Result<String> {
    let inode = volume.inode(RECORD_VOLUME)?;
    let name = volume.value(&inode, kind::VOLUME_NAME, &[], LABEL_BYTES_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&utf16::to_wtf8(utf16::units(&name))).into_owned())
}

fn is_log_clean(volume: &mut Volume) -> Result<bool> {
    let inode = volume.inode(RECORD_LOG_FILE)?;
    let log = volume.find_stream(&inode, kind::DATA, &[])?.ok_or(Error::NotFound)?;
    log_file::is_clean(&volume.read_stream(&log, 0..log_file::RESTART_BYTES)?)
}

fn is_hibernated(volume: &mut Volume) -> Result<bool> {
    let root = volume.inode(ROOT)?;
    let name: Vec<u16> = "hiberfil.sys".encode_utf16().collect();
    let Some(found) = volume.find(&root, &name, Case::Any)? else { return Ok(false) };
    let file = volume.inode(found.node)?;
    let Some(content) = volume.find_stream(&file, kind::DATA, &[])? else { return Ok(false) };
    Ok(volume.read_stream(&content, 0..4)?.eq_ignore_ascii_case(b"hibr"))
}
