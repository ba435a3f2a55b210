//! Descriptor of VMDK: lines of text that name the extents.

use super::SECTOR_BYTES;
use crate::disk::Error;
use crate::disk::Result;

const WHAT: &str = "VMDK descriptor";
const EXTENT_COUNT_MAX: usize = 4096;
const NO_PARENT: &str = "ffffffff";

/// Whether a file that begins like this is a descriptor.
pub(super) fn is_descriptor(start: &[u8]) -> bool {
    // Comments and empty lines may come first in what people have edited; their number is not bounded, this is.
    let mut lines = start.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).take(8);
    lines.find(|line| !line.is_empty()).is_some_and(|line| line.eq_ignore_ascii_case(b"# Disk DescriptorFile"))
}

/// What a descriptor says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// In the order of the disk.
    pub(super) extents: Vec<Extent>,
}

/// One line about an extent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) bytes: u64,
    pub(super) kind: ExtentKind,
    /// Name of its file; empty for zeros.
    pub(super) file: String,
}

/// How an extent lies in its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ExtentKind {
    /// As it is, from a byte on.
    Flat {
        /// First byte in the file.
        offset: u64,
    },
    /// With a header and tables.
    Sparse,
    /// Nowhere.
    Zero,
}

impl Descriptor {
    pub(super) fn parse(text: &str) -> Result<Descriptor> {
        let mut extents = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some((key, value)) = assignment(line) {
                check(key, value)?;
            } else if let Some(extent) = extent(line)? {
                if extents.len() >= EXTENT_COUNT_MAX {
                    return Err(Error::damaged(WHAT, 0, "it has too many extents"));
                }
                extents.push(extent);
            }
        }
        if extents.is_empty() {
            return Err(Error::damaged(WHAT, 0, "it has no extents"));
        }
        Ok(Descriptor { extents })
    }
}

/// `key = "value"`; a line about an extent is none, even with such a sign in the name of its file.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "._".contains(c));
    is_key.then(|| (key, value.trim().trim_matches('"')))
}

fn check(key: &str, value: &str) -> Result<()> {
    if key.eq_ignore_ascii_case("parentCID") && !value.eq_ignore_ascii_case(NO_PARENT) {
        return Err(Error::unsupported("a VMDK that is a snapshot of another"));
    }
    if key.eq_ignore_ascii_case("version") && !matches!(value, "1" | "2" | "3") {
        return Err(Error::unsupported(format!("version {value:?} of VMDK descriptors")));
    }
    if key.eq_ignore_ascii_case("encryptionKeySafe") || key.eq_ignore_ascii_case("keySafe") {
        return Err(Error::unsupported("an encrypted VMDK"));
    }
    Ok(())
}

/// `ACCESS SECTORS TYPE "FILE" OFFSET`, if the line begins as one.
fn extent(line: &str) -> Result<Option<Extent>> {
    let mut words = line.splitn(4, char::is_whitespace);
    let access = words.next().unwrap_or_default();
    if !matches!(access, "RW" | "RDONLY" | "NOACCESS") {
        return Ok(None);
    }
    let damaged = |why| Error::damaged(WHAT, 0, why);
    let number = |word: &str| word.parse::<u64>().ok().and_then(|sectors| sectors.checked_mul(SECTOR_BYTES));
    let bytes = words.next().and_then(number).ok_or(damaged("an extent has no length"))?;
    let kind = words.next().ok_or(damaged("an extent has no type"))?;
    let rest = words.next().unwrap_or_default().trim();
    if kind == "ZERO" {
        return Ok(Some(Extent { bytes, kind: ExtentKind::Zero, file: String::new() }));
    }
    let (file, rest) =
        rest.strip_prefix('"').and_then(|rest| rest.rsplit_once('"')).ok_or(damaged("an extent has no file"))?;
    if access == "NOACCESS" || file.is_empty() || file == "." || file == ".." || file.contains(['/', '\\', '\0']) {
        return Err(Error::unsupported(format!("the extent {file:?} of a VMDK, which is not a file beside it")));
    }
    let kind = match kind {
        "SPARSE" => ExtentKind::Sparse,
        "FLAT" | "VMFS" => {
            let offset = if rest.trim().is_empty() { Some(0) } else { rest.split_whitespace().next().and_then(number) };
            ExtentKind::Flat { offset: offset.ok_or(damaged("an extent begins nowhere"))? }
        }
        other => return Err(Error::unsupported(format!("extents of type {other} of VMDK"))),
    };
    Ok(Some(Extent { bytes, kind, file: file.to_owned() }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn extents_with_all_that_names_may_hold() {
        let text = "# Disk DescriptorFile\nversion=1\nparentCID=FFFFFFFF\n\n\
            RW 63 FLAT \"my disk=1 \"old\".vmdk\" 128\nRDONLY 2 SPARSE \"b.vmdk\"\nRW 4 ZERO\nRW 5 VMFS \"c\"\n";
        let extents = Descriptor::parse(text).unwrap().extents;
        let kinds: Vec<_> = extents.iter().map(|extent| (extent.bytes / 512, extent.file.as_str())).collect();
        assert_eq!(kinds, [(63, "my disk=1 \"old\".vmdk"), (2, "b.vmdk"), (4, ""), (5, "c")]);
        assert_eq!(extents[0].kind, ExtentKind::Flat { offset: 128 * 512 });
        assert_eq!(extents[3].kind, ExtentKind::Flat { offset: 0 });
    }

    #[test]
    fn what_lies_elsewhere_is_refused() {
        for line in ["RW 1 FLAT \"../a\" 0", "RW 1 FLAT \"/etc/passwd\" 0", "parentCID=00000001", "RW 1 SESPARSE \"a\""]
        {
            let fault = Descriptor::parse(&format!("RW 1 ZERO\n{line}\n")).unwrap_err();
            assert!(matches!(fault, Error::Unsupported { .. }), "{line}: {fault}");
        }
        for line in ["RW x FLAT \"a\" 0", "RW 1", "RW 99999999999999999999 ZERO", "RW 1 FLAT a 0", ""] {
            let fault = Descriptor::parse(line).unwrap_err();
            assert!(matches!(fault, Error::Damaged { .. }), "{line}: {fault}");
        }
    }
}
