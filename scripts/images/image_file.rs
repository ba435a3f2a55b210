//! A file of this machine as a disk: what the programs in this folder look at.

use bygone::disk::BlockSource;
use bygone::disk::Error;
use bygone::disk::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) struct ImageFile(File, u64);

impl ImageFile {
    pub(crate) fn open(path: &Path) -> Result<ImageFile> {
        let fault = |source| Error::Read { at: 0, source };
        let file = File::open(path).map_err(fault)?;
        let len = file.metadata().map_err(fault)?.len();
        Ok(ImageFile(file, len))
    }
}

impl BlockSource for ImageFile {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_exact_at(buf, offset).map_err(|source| Error::Read { at: offset, source })
    }
}
