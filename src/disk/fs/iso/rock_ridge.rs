//! Rock Ridge: names, modes, owners, times, links and devices as Unix has them. (Rock Ridge Interchange Protocol,
//! RRIP 1.12, 4.1.)

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::iso::date;
use crate::disk::fs::iso::system_use;
use crate::disk::fs::iso::zisofs::Zisofs;
use crate::meta::Time;

/// Bytes of a name and of a link's target; Linux has no longer ones.
const NAME_BYTES_MAX: usize = 255;
const TARGET_BYTES_MAX: usize = 4096;

/// Flags of names and of parts of a link.
const GOES_ON: u8 = 1;
const CURRENT: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;

/// What the entries of one record say.
#[derive(Debug, Default)]
pub(crate) struct RockRidge {
    /// Mode with the kind, links, user, group.
    pub(crate) posix: Option<(u32, u32, u32, u32)>,
    pub(crate) device: Option<(u32, u32)>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) target: Option<Vec<u8>>,
    pub(crate) mtime: Option<Time>,
    pub(crate) ctime: Option<Time>,
    pub(crate) btime: Option<Time>,
    /// The folder that belongs here lies at this block, because its own depth was too great.
    pub(crate) child: Option<u32>,
    /// The folder stands here only because of that.
    pub(crate) is_relocated: bool,
    pub(crate) zisofs: Option<Zisofs>,
    /// The content is not there as it is.
    pub(crate) is_sparse: bool,
    /// The name goes on in an entry that was not read.
    name_goes_on: bool,
}

/// What CD-ROM XA keeps before it, in bytes.
const XA_BYTES: usize = 14;

/// Where Rock Ridge begins in each record, if the root's first record has it: `area` is what that one has for system use.
pub(crate) fn skipped(source: &Source, area: &[u8], at: u64) -> Result<Option<usize>> {
    let rest = [0, XA_BYTES].into_iter().find_map(|before| Some((before, area.get(before..)?)).filter(is_marked));
    let Some((before, area)) = rest else { return Ok(None) };
    let (mut skipped, mut is_there) = (0, false);
    system_use::each(source, area, at + before as u64, &mut |signature, entry| {
        match &signature {
            b"SP" => skipped = usize::from(entry.u8(6)?),
            b"PX" | b"RR" => is_there = true,
            _ => {}
        }
        Ok(())
    })?;
    Ok(is_there.then_some(skipped))
}

fn is_marked((_, area): &(usize, &[u8])) -> bool {
    area.starts_with(b"SP\x07\x01\xBE\xEF")
}

impl RockRidge {
    /// Reads the entries in `area`, which begins at byte `at`.
    pub(crate) fn read(source: &Source, area: &[u8], at: u64) -> Result<RockRidge> {
        let mut found = RockRidge::default();
        found.gather(source, area, at)?;
        Ok(found)
    }

    /// As [`RockRidge::read`], but what is damaged behind a name does no harm to it: there is no other way to find out
    /// that a file is there.
    pub(crate) fn read_name(source: &Source, area: &[u8], at: u64) -> Result<RockRidge> {
        let mut found = RockRidge::default();
        match found.gather(source, area, at) {
            Err(Error::Damaged { .. } | Error::Unsupported { .. }) if found.name.is_some() && !found.name_goes_on => {}
            other => other?,
        }
        Ok(found)
    }

    fn gather(&mut self, source: &Source, area: &[u8], at: u64) -> Result<()> {
        let mut target = Target::default();
        system_use::each(source, area, at, &mut |signature, entry| {
            match &signature {
                b"PX" => self.posix = Some((entry.u32(4)?, entry.u32(12)?, entry.u32(20)?, entry.u32(28)?)),
                b"PN" => self.device = Some(device(entry.u32(4)?, entry.u32(12)?)),
                b"NM" => self.add_name(&entry)?,
                b"SL" => target.add(&entry)?,
                b"TF" => self.add_times(&entry)?,
                b"CL" => self.child = Some(entry.u32(4)?),
                b"RE" => self.is_relocated = true,
                b"SF" => self.is_sparse = true,
                b"ZF" => self.zisofs = Some(Zisofs::read(&entry)?),
                _ => {}
            }
            Ok(())
        })?;
        self.target = target.is_there.then_some(target.path);
        Ok(())
    }

    fn add_name(&mut self, entry: &Fields) -> Result<()> {
        let (flags, part) = (entry.u8(4)?, entry.rest(5)?);
        if flags & (CURRENT | PARENT) != 0 {
            return Ok(());
        }
        let name = self.name.get_or_insert_default();
        if !self.name_goes_on {
            name.clear();
        }
        name.extend_from_slice(part);
        if name.len() > NAME_BYTES_MAX {
            return Err(entry.damaged("its name is too long"));
        }
        self.name_goes_on = flags & GOES_ON != 0;
        Ok(())
    }

    /// Up to seven times, each there if its bit is set, in short or long form. There are writers that cut off the end of
    /// the last one: that one is not known, the rest is.
    fn add_times(&mut self, entry: &Fields) -> Result<()> {
        let flags = entry.u8(4)?;
        let mut at = 5;
        for bit in (0..7).filter(|bit| flags & 1 << bit != 0) {
            let time = if flags & 0x80 != 0 {
                at += date::LONG_BYTES;
                entry.array(at - date::LONG_BYTES).ok().and_then(|raw| date::long(&raw))
            } else {
                at += date::SHORT_BYTES;
                entry.array(at - date::SHORT_BYTES).ok().and_then(|raw| date::short(&raw))
            };
            match bit {
                0 => self.btime = time,
                1 => self.mtime = time,
                3 => self.ctime = time,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Either two numbers, or one that holds both in 8 bits each.
fn device(high: u32, low: u32) -> (u32, u32) {
    if high == 0 && low > 0xFF { (low >> 8, low & 0xFF) } else { (high, low) }
}

/// A link's target while its parts are read.
#[derive(Debug, Default)]
struct Target {
    is_there: bool,
    path: Vec<u8>,
    /// The last part is not whole.
    goes_on: bool,
}

impl Target {
    fn add(&mut self, entry: &Fields) -> Result<()> {
        self.is_there = true;
        let mut at = 5;
        while at < entry.len() {
            let (flags, len) = (entry.u8(at)?, usize::from(entry.u8(at + 1)?));
            let part = entry.bytes(at + 2, len)?;
            at += 2 + len;
            if !self.goes_on && !self.path.is_empty() && !self.path.ends_with(b"/") {
                self.path.push(b'/');
            }
            match flags & !GOES_ON {
                0 => self.path.extend_from_slice(part),
                CURRENT => self.path.push(b'.'),
                PARENT => self.path.extend_from_slice(b".."),
                ROOT => self.path.push(b'/'),
                _ => return Err(Error::unsupported("a Rock Ridge link to a volume or host")),
            }
            self.goes_on = flags & GOES_ON != 0;
            if self.path.len() > TARGET_BYTES_MAX {
                return Err(entry.damaged("its target is too long"));
            }
        }
        Ok(())
    }
}

impl RockRidge {
    /// The content is where it seems to be.
    pub(crate) fn check_content(&self) -> Result<()> {
        if self.is_sparse {
            return Err(Error::unsupported("a sparse file of Rock Ridge"));
        }
        Ok(())
    }
}
