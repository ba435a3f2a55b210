//! Links and special nodes of a target, and what is left to do when everything is in place.
//! Always: metadata goes on the very inode that was made, before it gets its name. Never: a node is opened for that.

use crate::meta::Kind;
use crate::meta::Meta;
use crate::path::join;
use crate::path::split;
use crate::target::Error;
use crate::target::FileId;
use crate::target::Folder;
use crate::target::Later;
use crate::target::Missed;
use crate::target::Placed;
use crate::target::Shared;
use crate::target::What;
use crate::target::metadata;
use crate::target::os;
use crate::target::os::Handle;
use crate::target::os_meta::Inode;
use crate::target::part::Part;
use crate::target::walk::kind_name;
use std::io;
use std::sync::Arc;

pub(super) fn hard_link(
    shared: &Shared,
    existing: &[u8],
    id: FileId,
    folder: &Arc<Folder>,
    name: &[u8],
) -> Result<(), Error> {
    let path = join(&folder.path, name);
    let (parent, last) = split(existing);
    let Some(from) = shared.look(parent)? else {
        return Err(Error::changed(existing));
    };
    if id_of(&from, last).is_none_or(|found| found != id) {
        return Err(Error::changed(existing));
    }
    let linked = |name: &[u8]| os::link(&from, last, &folder.handle, name);
    // Someone may exchange the file between the look and the link, so the link is looked at too.
    let is_right = |name: &[u8]| id_of(&folder.handle, name) == Some(id);
    match linked(name) {
        Ok(()) if is_right(name) => Ok(()),
        Ok(()) => {
            os::unlink(&folder.handle, name).map_err(Error::io("remove", &path))?;
            Err(Error::changed(existing))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if is_right(name) {
                return Ok(());
            }
            let (part, ()) = Part::create(shared, folder, linked).map_err(Error::io("link", &path))?;
            if !is_right(part.name()) {
                return Err(Error::changed(existing));
            }
            part.place(name)
        }
        Err(error) => Err(Error::io("link", &path)(error)),
    }
}

fn id_of(at: &Handle, name: &[u8]) -> Option<FileId> {
    os::stat(at, name).ok().filter(|found| found.kind != Kind::Folder).map(|found| found.id)
}

pub(super) fn symlink(
    shared: &Shared,
    folder: &Arc<Folder>,
    name: &[u8],
    target: &[u8],
    meta: &Meta,
) -> Result<Placed, Error> {
    let made = Part::create(shared, folder, |part| os::symlink(&folder.handle, part, target));
    let (part, ()) = made.map_err(Error::io("create", &join(&folder.path, name)))?;
    complete(shared, folder, part, name, &Kind::Symlink(Vec::new()), meta)
}

pub(super) fn special(
    shared: &Shared,
    folder: &Arc<Folder>,
    name: &[u8],
    kind: &Kind,
    meta: &Meta,
) -> Result<Placed, Error> {
    let path = join(&folder.path, name);
    if matches!(kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. }) && !shared.options.privileged {
        return Err(Error::Unprivileged { path, kind: kind_name(kind) });
    }
    let made = Part::create(shared, folder, |part| os::make_node(&folder.handle, part, kind));
    let (part, ()) = made.map_err(Error::io("create", &path))?;
    complete(shared, folder, part, name, kind, meta)
}

/// Holds on to what was just made, makes sure that it is that, sets its metadata and gives it its name.
fn complete(
    shared: &Shared,
    folder: &Folder,
    part: Part,
    name: &[u8],
    kind: &Kind,
    meta: &Meta,
) -> Result<Placed, Error> {
    let path = join(&folder.path, name);
    let pinned = os::pin(&folder.handle, part.name()).map_err(Error::io("open", &path))?;
    let found = os::stat_handle(&pinned).map_err(Error::io("look at", &path))?;
    // A second name would be one that leads elsewhere.
    if found.kind != *kind || found.links != 1 {
        return Err(Error::changed(&path));
    }
    let is_link = matches!(kind, Kind::Symlink(_));
    let missed = metadata::apply(shared, &Inode::pinned(&pinned), meta, is_link);
    part.place(name)?;
    Ok(Placed { id: found.id, missed })
}

pub(super) fn refresh(
    shared: &Shared,
    folder: &Folder,
    name: &[u8],
    id: FileId,
    meta: &Meta,
) -> Result<Vec<Missed>, Error> {
    let path = join(&folder.path, name);
    let pinned = os::pin(&folder.handle, name).map_err(Error::io("open", &path))?;
    let found = os::stat_handle(&pinned).map_err(Error::io("look at", &path))?;
    if found.id != id || found.links != 1 || found.kind == Kind::Folder {
        return Err(Error::changed(&path));
    }
    let is_link = matches!(found.kind, Kind::Symlink(_));
    Ok(metadata::apply(shared, &Inode::pinned(&pinned), meta, is_link))
}

pub(super) fn settle(shared: &Shared) -> Vec<(Vec<u8>, Missed)> {
    let mut missed = Vec::new();
    let later = std::mem::take(&mut *shared.flags_later.lock().expect("no panic while holding the lock"));
    for Later { path, id, flags } in later {
        match reopen_file(shared, &path, id) {
            Ok(file) => {
                let fault = metadata::apply_flags(shared, &Inode::open(&file), flags);
                missed.extend(fault.map(|fault| (path, fault)));
            }
            Err(error) => missed.push((path, Missed::failed(What::Flags, io::Error::other(error)))),
        }
    }
    let loosened = std::mem::take(&mut *shared.loosened.lock().expect("no panic while holding the lock"));
    // Deepest first: a parent's old permissions may close the way to its children.
    for (path, before) in loosened.into_iter().rev() {
        let given_back = shared.look(&path).map_err(io::Error::other).and_then(|found| match found {
            Some(handle) if os::stat_handle(&handle)?.id == before.id => Inode::pinned(&handle).set_mode(before.mode),
            _ => Ok(()),
        });
        if let Err(error) = given_back {
            missed.push((path, Missed::failed(What::Mode, error)));
        }
    }
    missed
}

fn reopen_file(shared: &Shared, path: &[u8], id: FileId) -> Result<Handle, Error> {
    let (parent, name) = split(path);
    let at = shared.look(parent)?.ok_or_else(|| Error::changed(path))?;
    if id_of(&at, name) != Some(id) {
        return Err(Error::changed(path));
    }
    let file = os::open_file(&at, name).map_err(Error::io("open", path))?;
    let found = os::stat_handle(&file).map_err(Error::io("look at", path))?;
    if found.id == id { Ok(file) } else { Err(Error::changed(path)) }
}
