//! The next step, in words for the person whose laptop died.

use crate::backup;
use crate::browse::InsideError;
use crate::browse::NeverRead;
use crate::browse::SelectError;
use crate::cache;
use crate::check;
use crate::cli::error::Fault;
use crate::cli::exit::layers;
use crate::image;
use crate::image::Use;
use crate::prune;
use crate::repair;
use crate::repo;
use crate::repo::CONFIG_NAME;
use crate::restore;
use crate::store;
use crate::store::ErrorKind;
use crate::target;
use crate::target::DiskFault;
use bygone_mount::fuse::UnmountError;
use std::error::Error;

/// Hints for an error: those of its outermost layer that has some.
pub(super) fn of(error: &(dyn Error + 'static)) -> Vec<String> {
    let found = layers(error).find_map(of_layer).unwrap_or_default();
    found.iter().map(|&hint| hint.to_owned()).collect()
}

type Hints = Option<&'static [&'static str]>;

fn of_layer(error: &(dyn Error + 'static)) -> Hints {
    None.or_else(|| error.downcast_ref().and_then(of_fault))
        .or_else(|| error.downcast_ref().and_then(of_backup))
        .or_else(|| error.downcast_ref().and_then(of_restore))
        .or_else(|| error.downcast_ref().and_then(of_check))
        .or_else(|| error.downcast_ref().and_then(of_prune))
        .or_else(|| error.downcast_ref().and_then(of_repair))
        .or_else(|| error.downcast_ref().and_then(of_disk))
        .or_else(|| error.downcast_ref().and_then(of_disk_target))
        .or_else(|| error.downcast_ref().and_then(of_inside))
        .or_else(|| error.downcast_ref().and_then(of_image))
        .or_else(|| error.downcast_ref::<NeverRead>().map(|_| NEVER_READ))
        .or_else(|| error.downcast_ref().and_then(of_repo))
        .or_else(|| error.downcast_ref().and_then(of_store))
        .or_else(|| error.downcast_ref().and_then(of_cache))
        .or_else(|| error.downcast_ref().and_then(of_target))
        .or_else(|| error.downcast_ref().and_then(of_select))
        .or_else(|| error.downcast_ref().and_then(of_unmount))
}

fn of_cache(error: &cache::Error) -> Hints {
    Some(match error {
        cache::Error::NotOurs { .. } => &["name a new or empty folder with --cache-dir DIR or BYGONE_CACHE_DIR"],
        cache::Error::Foreign { .. } | cache::Error::Unsupported { .. } => {
            &["name another folder with --cache-dir DIR or BYGONE_CACHE_DIR; --no-cache goes on without one"]
        }
        cache::Error::LimitTooSmall { .. } => &["choose at least 16M, or turn the cache off with --no-cache"],
        cache::Error::Busy { .. } => &["another command fills or clears it; try again in a moment"],
        cache::Error::DiskShort { .. } => {
            &["delete something on that disk, or name a folder on another one with --cache-dir DIR"]
        }
        cache::Error::Damaged { .. } => &["it has emptied itself; try again"],
        _ => return None,
    })
}

fn of_fault(error: &Fault) -> Hints {
    Some(match error {
        Fault::NoLocation => &["name it with -r LOCATION or in the variable BYGONE_REPOSITORY, \
                                for example: bygone -r /media/disk/backup snapshots"],
        Fault::NoPassword { hints } => hints,
        Fault::TwoPasswords { .. } => &["unset one of them"],
        Fault::PasswordsDiffer => &["nothing was made; try again"],
        Fault::NoPath { .. } | Fault::Nowhere { .. } => {
            &["'bygone ls SNAPSHOT' shows what is in it; paths begin at the root of the snapshot, \
                                   as in latest:/home/ada"]
        }
        Fault::NoPart { .. } => &["name a part by its number or in full, as in latest:/disk.img!/2"],
        Fault::NotAFile { .. } => &["'bygone ls' lists folders and 'bygone restore' brings them back"],
        Fault::NotAFolder { .. } => &["name the folder that holds it; 'bygone cat' prints a file"],
        Fault::Sealed { .. } => &["--passphrase-file FILE opens LUKS; 'bygone cat' prints the bytes as they are"],
        Fault::NoDisk { .. } => {
            &["'bygone backup --image DISK' makes snapshots of disks; a disk image that lies in a snapshot is named \
                                 by its path, as in latest:/vm/disk.qcow2"]
        }
        Fault::NoDiskFile { .. } => &[
            "disks of a snapshot: 'bygone inspect --snapshot SNAPSHOT', as in --snapshot latest; a disk image that lies \
                                 in one: --snapshot latest:/vm/disk.qcow2",
        ],
        Fault::MountInRepository { .. } => &["choose a folder elsewhere, for example ~/Backups"],
        Fault::MakeFolder { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            &["--create makes missing parents, too"]
        }
        Fault::NotConfirmed => &["add --yes if nobody can be asked, or restore to another place (files: --to DIR)"],
        Fault::NoDisks { .. } => &["'bygone backup --image DISK' makes snapshots of disks"],
        Fault::NoQemu(_) => &["install qemu-utils (qemu-img), or restore with --format raw"],
        Fault::NoneLeft { .. } => &[
            "nothing was forgotten; keep more (--keep-last 1), leave it out (--host, --path, --tag), or say --allow-none-left",
        ],
        Fault::NothingForgotten | Fault::TooLate { .. } => {
            &["'bygone snapshots --forgotten' lists those that can be taken back"]
        }
        Fault::NoKey { .. } => &["'bygone key list' lists them"],
        Fault::KeysAlike { .. } => &["type more digits of the id"],
        Fault::OnlyKey => &["'bygone key add' adds another one; 'bygone key change-password' puts one in its place"],
        Fault::KnownPassword { .. } => &["nothing was changed; choose another one"],
        Fault::Background(_) => &["--foreground serves the drive without another process"],
        _ => return None,
    })
}

fn of_backup(error: &backup::Error) -> Hints {
    match error {
        backup::Error::Repo(error) => of_repo(error),
        backup::Error::NoParent { .. } => {
            Some(&["'bygone snapshots' lists them; without --parent the newest fitting one is taken"])
        }
        backup::Error::Disk(backup::DiskError::Mounted { .. }) => Some(&[
            "unmount it first, or mount it read-only",
            "--snapshot-with lvm (or btrfs, zfs, or a command) reads a snapshot of it that stands still",
            "--live backs it up as it is, as if the power had failed in the middle",
        ]),
        backup::Error::Disk(backup::DiskError::Open { .. }) => Some(&[
            "shut the machine down first, or end what has the image open",
            "--snapshot-with btrfs (or zfs, or a command) reads a snapshot of it that stands still",
            "--live backs it up as it is, as if the power had failed in the middle",
        ]),
        backup::Error::Disk(backup::DiskError::Bitmap { .. }) => Some(&[
            "'qemu-img info' lists the bitmaps of an image",
            "without --bitmap all of the disk is read",
            "one that is disabled or was not closed has to begin anew: 'qemu-img bitmap --clear --enable IMAGE NAME' \
                 (or --remove and --add), then one backup without --bitmap",
        ]),
        backup::Error::Disk(backup::DiskError::Image { source, .. }) => match of_image(source) {
            None => Some(&[AS_FILE]),
            Some(_) => Some(&[CONVERT, AS_FILE]),
        },
        backup::Error::Removed { .. } | backup::Error::Unsteady => {
            Some(&["run the same backup again, best when no prune runs: what is stored already is not stored twice"])
        }
        backup::Error::Cancelled => Some(&["run the same backup again: what was stored already is not stored twice"]),
        _ => None,
    }
}

fn of_restore(error: &restore::Error) -> Hints {
    match error {
        restore::Error::Repo(error) => of_repo(error),
        restore::Error::Target(error) => of_target(error),
        restore::Error::NotInSnapshot { .. } => Some(&["'bygone ls SNAPSHOT' shows what is in it"]),
        restore::Error::Cancelled => {
            Some(&["run the same restore again: files that are complete already are not written twice"])
        }
        _ => None,
    }
}

const AS_FILE: &str = "without --image it is backed up as a file, whatever is in it";
const CONVERT: &str = "'qemu-img convert -O qcow2 IMAGE NEW.qcow2' makes one that can be read out of most disk images; \
     what is compressed has to be unpacked first";

/// Of a disk as a whole nothing but its container can be unknown.
fn of_image(error: &image::Error) -> Hints {
    matches!(error, image::Error::Fault(image::Fault::Unsupported(_))).then_some(&[CONVERT])
}

const NEVER_READ: &[&str] = &[
    "'bygone restore --image' writes the whole disk, with zeros in these places; 'bygone inspect --snapshot' lists them",
];

fn of_inside(error: &InsideError) -> Hints {
    match error {
        InsideError::Repo(error) => of_repo(error),
        InsideError::NeverRead(_) => Some(NEVER_READ),
        _ => None,
    }
}

fn of_repair(error: &repair::Error) -> Hints {
    if let repair::Error::Repo(error) = error { of_repo(error) } else { None }
}

fn of_check(error: &check::Error) -> Hints {
    if let check::Error::Repo(error) = error { of_repo(error) } else { None }
}

fn of_prune(error: &prune::Error) -> Hints {
    match error {
        prune::Error::Repo(error) => of_repo(error),
        prune::Error::Scratch(_) => Some(&["make room there, or name a folder on another disk with --cache-dir DIR"]),
        prune::Error::LogDamaged { .. } => Some(&[
            "'bygone repair' puts records back from their second copies",
            "if they are lost for good: 'bygone prune --despite-log' gives up the snapshots that only they told of",
        ]),
        prune::Error::UnknownEvents => Some(&["run the newest version of Bygone"]),
        prune::Error::Unreadable { .. } | prune::Error::NotRescued { .. } | prune::Error::Silent { .. } => Some(&[
            "'bygone check --read-data' tells what is damaged; 'bygone backup --force' stores again what its source still has",
            "'bygone forget SNAPSHOT' gives up a snapshot that cannot be helped",
        ]),
        _ => None,
    }
}

fn of_disk(error: &restore::DiskError) -> Hints {
    Some(match error {
        restore::DiskError::NotADisk { .. } => {
            &["'bygone backup --image DISK' backs up disks; 'bygone restore SNAPSHOT:/PATH --to DIR' brings files back"]
        }
        restore::DiskError::InUse { used: Use::Mounted(_), .. } => {
            &["unmount it first, and make sure that it is the disk you mean"]
        }
        restore::DiskError::InUse { used: Use::Swap, .. } => {
            &["'swapoff' frees it; make sure that it is the disk you mean"]
        }
        restore::DiskError::InUse { used: Use::Holder(_), .. } => {
            &["close what is made of it first ('cryptsetup close', 'vgchange -an', 'mdadm --stop')"]
        }
        restore::DiskError::InUse { used: Use::Loop(_), .. } => &["'losetup -d' detaches it"],
        restore::DiskError::Exists { .. } => &["--yes writes over it; --delta --yes only where it differs"],
        restore::DiskError::TooSmall { .. } => &["choose a larger device, or a file; nothing was written"],
        restore::DiskError::Sectors { .. } => {
            &["restore it into a file: 'losetup --find --show --partscan --sector-size N FILE' shows its partitions; \
             nothing was written"]
        }
        restore::DiskError::Incomplete { .. } => {
            &["run the same command again with --delta --yes: what is right already is not written again"]
        }
        restore::DiskError::Target(fault) => return of_disk_target(fault),
        restore::DiskError::Repo(error) => return of_repo(error),
        _ => return None,
    })
}

fn of_disk_target(fault: &DiskFault) -> Hints {
    Some(match fault {
        DiskFault::NoDevice { .. } => &["'lsblk' lists the disks of this machine"],
        DiskFault::Busy { .. } => {
            &["close whatever uses it first: a mount elsewhere, a virtual machine, another restore"]
        }
        DiskFault::Open { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            &["writing to a device takes root"]
        }
        _ => return None,
    })
}

fn of_repo(error: &repo::Error) -> Hints {
    Some(match error.inner() {
        repo::Error::Store(error) => return of_store(error),
        repo::Error::NoRepository { .. } => &[
            "check the location, and that the disk is plugged in and mounted",
            "'bygone init' with the same location makes a new repository there",
        ],
        repo::Error::Exists { .. } => &[
            "it was left as it is; 'bygone backup PATH' stores into it",
            "for a second repository choose another folder or prefix",
        ],
        repo::Error::WrongPassword => {
            &["check capitals and keyboard layout; a password file may end in one line break, but not in spaces"]
        }
        repo::Error::SlotInUse { .. } => &[
            "open the repository with another password to remove this one",
            "'bygone key change-password' puts another one in its place",
        ],
        repo::Error::SamePassword => &["nothing was changed; choose another one"],
        repo::Error::OldPasswordStays { .. } => &[
            "both open the repository now; run the same command again with the old password when the slot can be removed",
        ],
        repo::Error::NoSlot { .. } => {
            &["the folder 'keys' of the repository is empty or damaged; bring it back from a copy of the repository"]
        }
        repo::Error::SlotUnreadable { .. } => &[
            "check capitals and keyboard layout",
            "if the password is right, its slot is the damaged one; bring it back from a copy of the repository",
        ],
        repo::Error::Object { object, .. } if object == CONFIG_NAME || object.starts_with("keys/") => {
            &["nothing can be read without it; bring it back from a copy of the repository"]
        }
        repo::Error::Object { .. } | repo::Error::ChunkLost { .. } => &[
            "the rest of the repository is not affected: other files and other snapshots can still be read",
            "'bygone snapshots' lists the snapshots; the same file may be whole in another one",
        ],
        repo::Error::PackFaulty { .. } => {
            &["nothing damaged was stored; test this machine's memory before the next backup"]
        }
        repo::Error::ChainCrowded { .. } => &[
            "another process uses the local state of this machine, or a copy of it: one machine should write at a time; then try again",
        ],
        repo::Error::Cache(error) => return of_cache(error),
        repo::Error::State(_) => &["BYGONE_STATE_DIR may name another folder for the local state"],
        _ => return None,
    })
}

fn of_store(error: &store::Error) -> Hints {
    let says = |words: &[&str]| {
        let said = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
        words.iter().any(|word| said.contains(word))
    };
    Some(match error.kind {
        ErrorKind::NotFound if error.name.is_empty() || error.verb == "write" => &[
            "check the location, and that the disk is plugged in and mounted",
            "buckets and containers are made with the tools of the cloud; folders by 'bygone init'",
        ],
        ErrorKind::Unreachable if error.is_unknown_host() => &[
            "check the address (the settings endpoint and region), and whether this machine is connected to the network",
        ],
        ErrorKind::Offline => &[
            "without --offline it is fetched and kept; 'bygone pin SNAPSHOT:/PATH' brings a folder as a whole beforehand",
        ],
        ErrorKind::Unreachable if says(&["(os error 5)"]) => &[
            "the disk, its cable or its file system fails: the log of the system tells more ('dmesg')",
            "'bygone check' tells what is damaged; bring the repository onto another disk while it can be read",
        ],
        ErrorKind::Unreachable => &[
            "check the network, the address and whether the disk is plugged in; nothing is lost, try again later",
            "--retry-for SECONDS says how long to keep trying",
        ],
        ErrorKind::Full => &[
            "make space at the destination and run the command again; snapshots that exist already are not affected",
            "'bygone forget' and then 'bygone prune --grace 0' make space in the repository, even on a full disk",
        ],
        ErrorKind::Denied if says(&["RequestTimeTooSkewed", "RequestExpired"]) => {
            &["the clock of this machine is wrong: set it, then run the command again"]
        }
        ErrorKind::Denied if says(&["ExpiredToken", "TokenRefreshRequired"]) => {
            &["the session token has expired: log in to the cloud again, then run the command again"]
        }
        _ if error.is_untrusted() => &[
            "if the server has a certificate of its own authority, name a file with that authority: -o ca_file=FILE (PEM)",
        ],
        ErrorKind::Denied if error.verb == "delete" => &[
            "these credentials may not delete, or something keeps the object from being removed (append-only storage, object lock); \
             run the command again with credentials that may delete",
        ],
        ErrorKind::Denied if says(&["(os error 30)"]) => {
            &["it is mounted read-only: what is in the repository can be read, but nothing can be stored or removed. \
             If that is not meant, its file system may be damaged ('dmesg')"]
        }
        ErrorKind::Denied if says(&["(os error 13)", "(os error 1)"]) => &[
            "check to whom the folder and what is in it belong: all who use a repository need the right to write there",
        ],
        ErrorKind::Denied => &["check the credentials, and who may read and write there"],
        _ => return None,
    })
}

fn of_target(error: &target::Error) -> Hints {
    if error.is_full() {
        return Some(&["make space and run the same restore again: it goes on where it stopped"]);
    }
    if error.is_read_only() {
        return Some(&["the file system is read-only; choose another folder with --to"]);
    }
    error.is_denied().then_some(&["choose a folder you may write to, or run the restore as root"])
}

fn of_select(error: &SelectError) -> Hints {
    match error {
        SelectError::Ambiguous { .. } => Some(&["type more digits of the id"]),
        SelectError::None { filtered: false } => Some(&["'bygone backup PATH' takes the first one"]),
        SelectError::Path { .. } => None,
        _ => Some(&["'bygone snapshots' lists them"]),
    }
}

fn of_unmount(error: &UnmountError) -> Hints {
    match error {
        UnmountError::NotMounted { .. } => Some(&["'bygone drives' lists what is mounted"]),
        UnmountError::Busy { .. } => Some(&[
            "'bygone drives DIR' tells which programs read from it",
            "'bygone umount --lazy' takes it out of sight at once",
        ]),
        _ => None,
    }
}
