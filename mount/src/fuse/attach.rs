//! Asks the system for a mount and gets the file descriptor through which the kernel speaks.
//!
//! Root mounts by itself, everybody else through `fusermount3`. This is done here and not by `fuser`, because its
//! session (0.18) unmounts by path when it ends even though it is unmounted already, and so takes away whatever was
//! mounted at the same folder in the meantime.

use crate::fuse::SUBTYPE;
use crate::fuse::error::MountError;
use crate::fuse::table;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// What every drive is mounted with, as the helper spells it.
const OPTIONS: &str = "ro,nosuid,nodev,noatime,default_permissions";
/// The same as flags; `default_permissions` is a word of FUSE.
const FLAGS: MountFlags =
    MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV).union(MountFlags::NOATIME);
/// Through the descriptor named here the helper hands over the mount.
const HELPER_SOCKET: &str = "_FUSE_COMMFD";

/// Mounts at a checked folder. `device` is `/dev/fuse`, opened.
pub(crate) fn attach(device: File, point: &Path, name: &str, allow_other: bool) -> Result<OwnedFd, MountError> {
    let failed = |source| MountError::Io { path: point.to_owned(), source };
    match by_ourselves(&device, point, name, allow_other).map_err(failed)? {
        true => Ok(device.into()),
        false => by_helper(point, name, allow_other),
    }
}

/// False if only the helper may.
fn by_ourselves(device: &File, point: &Path, name: &str, allow_other: bool) -> io::Result<bool> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions{}",
        device.as_raw_fd(),
        uid.as_raw(),
        gid.as_raw(),
        if allow_other { ",allow_other" } else { "" },
    );
    let options = CString::new(options)?;
    match rustix::mount::mount(name, point, format!("fuse.{SUBTYPE}"), FLAGS, options.as_c_str()) {
        Ok(()) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn by_helper(point: &Path, name: &str, allow_other: bool) -> Result<OwnedFd, MountError> {
    let failed = |source| MountError::Io { path: point.to_owned(), source };
    let helper = table::helper().ok_or(MountError::NoHelper)?;
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let allow_other = if allow_other { ",allow_other" } else { "" };
    let mut command = Command::new(helper);
    command.arg("-o").arg(format!("{OPTIONS}{allow_other},fsname={name},subtype={SUBTYPE}")).arg("--").arg(point);
    // As its standard input the socket reaches this child alone, whatever else is started at the same time.
    command.env(HELPER_SOCKET, "0").stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(failed)?;
    // Our copy of the helper's end must go, or a helper that fails would never be noticed.
    drop(command);
    let received = receive(&ours);
    let output = child.wait_with_output().map_err(failed)?;
    let message = String::from_utf8_lossy(&output.stderr);
    match received.map_err(failed)? {
        Some(device) => Ok(device),
        None if message.contains("user_allow_other") => Err(MountError::AllowOtherRefused),
        None => Err(failed(io::Error::other(message.trim().to_owned()))),
    }
}

/// The descriptor sent over a socket; `None` if the other end closed without one.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}
