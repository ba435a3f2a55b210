//! What a drive shows, and to whom: a folder of a snapshot, a disk image in it, or the whole repository.

use crate::browse::Browse;
use crate::browse::OpenedDisk;
use crate::browse::SnapshotPath;
use crate::browse::disk_of;
use crate::browse::is_locked;
use crate::cli::error::CommandError;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::inside;
use crate::cli::inside::Place;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::out::OutError;
use crate::cli::snapshots::short;
use crate::cli::status;
use crate::cli::unlock::UnlockArgs;
use crate::disk::fs::NodeKind;
use crate::drive::DriveOptions;
use crate::drive::PartAt;
use crate::drive::Previews;
use crate::drive::Watch;
use crate::drive::image_drive;
use crate::drive::part_drive;
use crate::drive::repository_drive;
use crate::drive::snapshot_drive;
use crate::format::disk::Disk;
use crate::format::disk::DiskPart;
use crate::meta::Kind;
use crate::store::Location;
use bygone_mount::Drive;
use jiff::tz::TimeZone;
use serde_json::json;
use std::str::FromStr;
use std::sync::Arc;

/// How a drive shows what it shows.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Who seems to own the files: 'original', 'me' or UID:GID. Unless given, 'original' for root, 'me' for others
    #[arg(long, value_name = "OWNER")]
    owner: Option<Owner>,

    /// Memory for what was read: chunks, folders
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    memory: Option<u64>,

    /// What programs that make previews or search indexes get: all ('on'), only what is in memory or in the cache
    /// ('cached') or nothing ('off'). Unless given, 'on' for a repository in a folder, 'cached' for a cloud
    #[arg(long, value_name = "RULE", value_enum, hide_possible_values = true, conflicts_with = "status")]
    previews: Option<PreviewsRule>,

    /// Another program (or thread) that makes previews, by its name; '*' at an end stands for anything (repeatable)
    #[arg(long, value_name = "NAME", conflicts_with = "status")]
    previews_also: Vec<String>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// What programs that make previews get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PreviewsRule {
    On,
    Cached,
    Off,
}

impl From<PreviewsRule> for Previews {
    fn from(rule: PreviewsRule) -> Previews {
        match rule {
            PreviewsRule::On => Previews::On,
            PreviewsRule::Cached => Previews::Cached,
            PreviewsRule::Off => Previews::Off,
        }
    }
}

/// Who seems to own the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Original,
    Numbers(u32, u32),
}

impl Owner {
    fn me() -> Owner {
        Owner::Numbers(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Owner, String> {
        match text {
            "original" => Ok(Owner::Original),
            "me" => Ok(Owner::me()),
            _ => {
                let numbers = text.split_once(':').and_then(|(u, g)| Some((u.parse().ok()?, g.parse().ok()?)));
                let fault = || format!("'{text}' is not 'original', 'me' or two numbers like 1000:1000");
                numbers.map(|(uid, gid)| Owner::Numbers(uid, gid)).ok_or_else(fault)
            }
        }
    }
}

impl ShowArgs {
    /// Who reads is watched from here on.
    pub(super) fn watch(&self, location: &Location) -> Arc<Watch> {
        let previews = match (self.previews, location) {
            (Some(rule), _) => rule.into(),
            (None, Location::Folder(_)) => Previews::On,
            (None, _) => Previews::Cached,
        };
        Watch::new(previews, &self.previews_also)
    }

    /// The drive of a folder or image in a snapshot, or of all snapshots.
    pub(super) fn drive(
        &self,
        opened: &Opened,
        at: Option<&SnapshotPath>,
        filter: &FilterArgs,
        watch: Arc<Watch>,
    ) -> Result<Shown> {
        let mut chunks = opened.chunks_options();
        if let Some(bytes) = self.memory {
            chunks.memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        let chunks = opened.chunks(&chunks);
        let is_root = rustix::process::geteuid().is_root();
        let owner = match self.owner.unwrap_or_else(|| if is_root { Owner::Original } else { Owner::me() }) {
            Owner::Original => None,
            Owner::Numbers(uid, gid) => Some((uid, gid)),
        };
        let location = &opened.location;
        let options = DriveOptions {
            owner,
            time_zone: TimeZone::system(),
            watch,
            passphrase: self.unlock.passphrase()?,
            store: Some(opened.counted.clone()),
            ..DriveOptions::default()
        };
        let Some(at) = at else {
            let options = DriveOptions { name: "Backups".to_owned(), ..options };
            let _within = opened.runtime.enter();
            return Ok(Shown {
                drive: repository_drive(&chunks, &opened.log, options),
                source: format!("bygone:{location}"),
                what: format!("The repository {location}"),
                notes: Vec::new(),
                snapshot: None,
            });
        };
        let snapshot = opened.select(at, &filter.filter()?)?;
        let browse = Browse::open(&chunks, &opened.log, snapshot);
        let id = short(snapshot.id);
        let name = format!("{} {}", snapshot.host, human::time_for_name(snapshot.time));
        let options = DriveOptions { name, ..options };
        let drive = opened.runtime.block_on(drive_of(&browse, &at.path, options))?;
        let path = if at.path.is_empty() { String::new() } else { format!(":/{}", crate::path::Show(&at.path)) };
        Ok(Shown {
            drive,
            source: format!("bygone:{location} {id}{path}"),
            what: format!("Snapshot {id}{path} of {}, {}", snapshot.host, human::time(snapshot.time)),
            notes: opened.runtime.block_on(notes_of(&browse, &at.path)),
            snapshot: Some(snapshot.into()),
        })
    }
}

/// What people should know about the disks of a snapshot, as far as it can be told.
async fn notes_of(browse: &Browse, path: &[u8]) -> Vec<String> {
    let disks = if path.is_empty() { browse.disks().await.unwrap_or_default() } else { Vec::new() };
    let mut notes = Vec::new();
    for part in disks.iter().filter_map(|found| disk_of(found.node())).flat_map(|disk| disk.parts) {
        notes.extend(part.notes.iter().map(|note| format!("{}: {note}", part.title())));
    }
    notes
}

/// A folder of a snapshot, or a disk image in it.
async fn drive_of(browse: &Browse, path: &[u8], options: DriveOptions) -> Result<Arc<dyn Drive>> {
    let not_a_folder = || CommandError::from(Fault::NotAFolder { path: path.to_vec() });
    match inside::find(browse, path, &options.passphrase).await? {
        Place::Node(found) if found.node().is_folder() => {
            let disks = if path.is_empty() { unlocked(browse, &options.passphrase).await? } else { Vec::new() };
            snapshot_drive(browse.clone(), path, &disks, options).await?.ok_or_else(not_a_folder)
        }
        Place::Node(found) if found.node().kind == Kind::File => {
            let disk = OpenedDisk::open(browse, *found, &options.passphrase).await?;
            check_unlocked(std::slice::from_ref(&disk), &options.passphrase)?;
            check_opened(path, &disk.disk)?;
            drive_of_disk(browse, disk, options).await
        }
        Place::Disk(disk) => drive_of_disk(browse, *disk, options).await,
        Place::Inside(inside, id, node) if node.kind == NodeKind::Folder => {
            let about = inside.ask(async |reader| reader.about().await).await?.1;
            let snapshot = browse.snapshot().id;
            Ok(part_drive(PartAt { snapshot, path, inside, id, folder: &node, bytes: about.bytes }, options))
        }
        Place::Raw(_, part) if is_locked(&part) && !options.passphrase.is_empty() => {
            Err(inside::wrong_passphrase(&part).into())
        }
        Place::Raw(_, part) => Err(Fault::Sealed {
            path: path.to_vec(),
            kind: if part.kind.is_empty() { "something unknown".to_owned() } else { part.kind.clone() },
        }
        .into()),
        _ => Err(not_a_folder()),
    }
}

async fn drive_of_disk(browse: &Browse, disk: OpenedDisk, options: DriveOptions) -> Result<Arc<dyn Drive>> {
    check_unlocked(std::slice::from_ref(&disk), &options.passphrase)?;
    let disk = disk.with_roots(browse, &options.passphrase).await;
    Ok(image_drive(browse, &disk, options))
}

/// The disks of a snapshot of disks, opened with a passphrase; none without one.
async fn unlocked(browse: &Browse, passphrase: &[u8]) -> Result<Vec<OpenedDisk>> {
    let mut disks = Vec::new();
    if passphrase.is_empty() {
        return Ok(disks);
    }
    for found in browse.disks().await? {
        disks.push(OpenedDisk::open(browse, found, passphrase).await?);
    }
    check_unlocked(&disks, passphrase)?;
    let mut looked = Vec::new();
    for disk in disks {
        looked.push(disk.with_roots(browse, passphrase).await);
    }
    Ok(looked)
}

/// Fails if something is encrypted and the passphrase opens nothing.
fn check_unlocked(disks: &[OpenedDisk], passphrase: &[u8]) -> Result<()> {
    if passphrase.is_empty() || disks.iter().any(OpenedDisk::is_unlocked) {
        return Ok(());
    }
    match disks.iter().find_map(OpenedDisk::locked) {
        Some(part) => Err(inside::wrong_passphrase(part).into()),
        None => Ok(()),
    }
}

/// Fails if nothing on a disk can be shown.
fn check_opened(path: &[u8], disk: &Disk) -> Result<()> {
    // A file that is no disk is one part of no kind.
    match &disk.parts[..] {
        [only @ DiskPart { number: 0, fs: None, .. }] => Err(match only.kind.as_str() {
            "" => Fault::NotAFolder { path: path.to_vec() },
            kind => Fault::Sealed { path: path.to_vec(), kind: kind.to_owned() },
        }
        .into()),
        _ => Ok(()),
    }
}

/// A drive, and what to call it.
pub(super) struct Shown {
    pub(super) drive: Arc<dyn Drive>,
    /// For the table of mounts.
    pub(super) source: String,
    /// For people.
    what: String,
    /// About its disks, in sentences.
    notes: Vec<String>,
    pub(super) snapshot: Option<status::Shown>,
}

impl Shown {
    /// Tells what is open, and where.
    pub(super) fn tell(&self, global: &Global, place: &str) -> std::result::Result<(), OutError> {
        if global.json {
            let body = json!({
                "mount_point": place,
                "what": self.what,
                "notes": self.notes,
                "snapshot": self.snapshot.as_ref().map(|snapshot| &snapshot.id),
                "pid": std::process::id(),
            });
            return out::line(json::line("mounted", &body));
        }
        if global.quiet {
            return Ok(());
        }
        out::line(format_args!(
            "{} is open at {place}.\nClose it with: bygone umount {}",
            crate::path::Show(self.what.as_bytes()),
            human::shell(place)
        ))?;
        self.notes.iter().for_each(|note| out::note(crate::path::Show(note.as_bytes())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        assert_eq!("original".parse(), Ok(Owner::Original));
        assert_eq!("1000:7".parse(), Ok(Owner::Numbers(1000, 7)));
        assert_eq!("me".parse(), Ok(Owner::me()));
        for bad in ["", "ada", "1000", "1000:", "-1:0", "1:2:3"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad}");
        }
    }
}
