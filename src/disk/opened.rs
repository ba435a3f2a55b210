//! A disk out of its image: container, layout, and what each part stands on.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Window;
use crate::disk::container;
use crate::disk::container::Neighbour;
use crate::disk::fs::Source;
use crate::disk::layout;
use crate::disk::layout::Layout;
use crate::disk::layout::Look;
use crate::disk::layout::Part;
use crate::disk::table;
use crate::disk::volume::luks;
use crate::disk::volume::lvm;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Logical volumes have numbers from here on, in the order of their names.
pub const VOLUME_NUMBERS: u32 = 10_000;
/// A part of which a plain mount shows not all has this number more where all of it is shown.
pub const WHOLE_NUMBERS: u32 = 100_000;

/// An image, opened as far as its container.
pub struct Disk {
    /// The virtual disk, and below it the image if that is a container.
    below: Vec<Source>,
    container: String,
    notes: Vec<String>,
    /// Its dirty bitmaps, if the container may hold some.
    bitmaps: Option<container::Bitmaps>,
    passphrase: Vec<u8>,
}

/// What a part stands on, down to the image.
type Layers = Vec<Source>;

impl Disk {
    /// Opens an image. `further`: names and lengths of the files that follow the image itself, those of
    /// [`container::further_files`]. `is_raw` says that it is the disk itself: a guest can write into its disk what looks
    /// like a container, so that is asked only of files that may be one.
    pub fn open(image: &Source, further: &[(String, u64)], is_raw: bool, passphrase: &[u8]) -> Result<Disk> {
        let behind = further.iter().fold(0u64, |sum, (_, len)| sum.saturating_add(*len));
        let own = image.len().saturating_sub(behind);
        let files = further.iter().scan(own, |at, (name, len)| {
            let start = *at;
            *at = start.saturating_add(*len);
            Some((name.as_str(), start..*at))
        });
        let files: HashMap<&str, Range<u64>> = files.collect();
        let neighbour = |name: &str| match files.get(name) {
            Some(range) => Ok(Arc::new(Window::new(image.clone(), range.clone())) as Source),
            None => Err(Error::unsupported(format!(
                "a disk in several files (if '{name}' is the only other one, it is the disk)"
            ))),
        };
        let itself: Source = match further {
            [] => image.clone(),
            _ => Arc::new(Window::new(image.clone(), 0..own)),
        };
        let found = if is_raw { None } else { container::open(itself, &neighbour)? };
        let is_in_place = |n: &Neighbour| files.get(n.name.as_str()).is_some_and(|range| range.start == n.start);
        if found.as_ref().is_some_and(|found| !found.neighbours.iter().all(is_in_place)) {
            return Err(Error::damaged("disk in several files", 0, "they are others than it said before"));
        }
        let passphrase = passphrase.to_vec();
        Ok(match found {
            None => Disk {
                below: vec![image.clone()],
                container: String::new(),
                notes: Vec::new(),
                bitmaps: None,
                passphrase,
            },
            Some(found) => Disk {
                below: vec![found.disk, image.clone()],
                container: found.kind.to_owned(),
                notes: found.notes,
                bitmaps: found.bitmaps,
                passphrase,
            },
        })
    }

    fn disk(&self) -> Result<&Source> {
        self.below.first().ok_or(Error::NotFound)
    }

    /// What is on it: every file system that is to be looked into is opened.
    pub fn layout(&self, look: Look) -> Result<Layout> {
        let disk = self.disk()?;
        let mut layout = layout::read(disk, look)?;
        layout.container.clone_from(&self.container);
        layout.notes.extend_from_slice(&self.notes);
        for part in layout.parts.iter_mut().filter(|part| look.includes(part.number)) {
            match self.unlocked(&part.range) {
                Ok(layers) if layers.len() > self.below.len() + 1 => {
                    layers.first().into_iter().for_each(|source| layout::look_inside(source, part));
                }
                Ok(_) => {}
                Err(fault) => part.error = Some(fault.to_string()),
            }
        }
        if look != Look::All {
            return Ok(layout);
        }
        let ranges: Vec<Range<u64>> = layout.parts.iter().map(|part| part.range.clone()).collect();
        for (number, volume) in (VOLUME_NUMBERS..WHOLE_NUMBERS).zip(self.volumes(&ranges)?) {
            let title = volume.name.replace('/', "-");
            let mut part = Part { number, title: title.clone(), name: volume.name, ..Part::default() };
            match volume.content.map(|source| vec![source]) {
                Ok(layers) => {
                    layers.first().into_iter().for_each(|source| layout::look_inside(source, &mut part));
                    match self.opened(layers) {
                        Ok(layers) if layers.len() > 1 => {
                            layers.first().into_iter().for_each(|source| layout::look_inside(source, &mut part));
                        }
                        Ok(_) => {}
                        Err(fault) => part.error = Some(fault.to_string()),
                    }
                }
                Err(fault) => part.error = Some(fault.to_string()),
            }
            layout::retitle(&mut part, &title);
            layout.parts.push(part);
        }
        let wholes: Vec<Part> = layout.parts.iter().filter_map(layout::whole).collect();
        layout.parts.extend(wholes);
        Ok(layout)
    }

    /// What the dirty bitmap of this name marks as written. Fails if there is none, or if it may lack writes.
    pub fn dirty(&self, name: &str) -> Result<Vec<Range<u64>>> {
        let Some(bitmaps) = &self.bitmaps else { return Err(Error::unsupported("dirty bitmaps in this container")) };
        let found = bitmaps.read()?.into_iter().find(|bitmap| bitmap.name == name).ok_or(Error::NotFound)?;
        let why = match (found.is_consistent, found.is_recording) {
            (true, true) => return Ok(found.ranges),
            (false, _) => "it was not closed",
            (true, false) => "it is disabled",
        };
        Err(Error::Bitmap { name: found.name, why })
    }

    /// How many sources there are from the virtual disk down to the image.
    pub fn depth(&self) -> usize {
        self.below.len()
    }

    /// The sources a part stands on (`None`: the virtual disk itself), each on the next, down to the image. Nothing but
    /// the partition table is read, and what the part is wrapped in.
    pub fn layers(&self, part: Option<u32>) -> Result<Layers> {
        let Some(number) = part else { return Ok(self.below.clone()) };
        let number = number.checked_sub(WHOLE_NUMBERS).unwrap_or(number);
        let disk = self.disk()?;
        let partitions = table::read(disk)?.partitions;
        if number >= VOLUME_NUMBERS {
            let mut ranges: Vec<Range<u64>> = partitions.into_iter().map(|partition| partition.range).collect();
            if ranges.is_empty() {
                ranges.push(0..disk.len());
            }
            let index = (number - VOLUME_NUMBERS) as usize;
            let volume = self.volumes(&ranges)?.into_iter().nth(index).ok_or(Error::NotFound)?;
            let mut layers = self.opened(vec![volume.content?])?;
            match volume.below {
                Some(pv) => layers.extend(self.physical(&ranges).into_iter().nth(pv).ok_or(Error::NotFound)?),
                None => layers.extend(self.below.iter().cloned()),
            }
            return Ok(layers);
        }
        let found = partitions.into_iter().find(|partition| partition.number == number).map(|found| found.range);
        let range = found.or((number == 0).then(|| 0..disk.len())).ok_or(Error::NotFound)?;
        self.unlocked(&range)
    }

    /// A range of the disk, and above it what is in it if that is encrypted and there is a passphrase.
    fn unlocked(&self, range: &Range<u64>) -> Result<Layers> {
        let mut layers: Layers = vec![Arc::new(Window::new(self.disk()?.clone(), range.clone()))];
        layers.extend(self.below.iter().cloned());
        self.opened(layers)
    }

    /// The same layers, and above them what is in the first if that is encrypted and there is a passphrase.
    fn opened(&self, mut layers: Layers) -> Result<Layers> {
        if let Some(first) = layers.first().filter(|_| !self.passphrase.is_empty())
            && luks::is_luks(first)?
        {
            layers.insert(0, luks::unlock(first.clone(), &self.passphrase)?);
        }
        Ok(layers)
    }

    /// What the physical volumes among these ranges stand on.
    fn physical(&self, ranges: &[Range<u64>]) -> Vec<Layers> {
        let layers = ranges.iter().filter_map(|range| self.unlocked(range).ok());
        layers.filter(|layers| layers.first().is_some_and(|pv| lvm::is_lvm(pv).unwrap_or(false))).collect()
    }

    fn volumes(&self, ranges: &[Range<u64>]) -> Result<Vec<lvm::LogicalVolume>> {
        let physical: Vec<Source> = self.physical(ranges).iter().filter_map(|layers| layers.first().cloned()).collect();
        if physical.is_empty() { Ok(Vec::new()) } else { lvm::volumes(&physical) }
    }
}
