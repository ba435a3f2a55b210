//! Opening encrypted partitions of disk images.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use std::path::PathBuf;

/// The passphrase of encrypted partitions.
#[derive(Debug, clap::Args)]
pub(super) struct UnlockArgs {
    /// Opens encrypted partitions (LUKS) of a disk: the first line of this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl UnlockArgs {
    /// The passphrase, empty if there is none.
    pub(super) fn passphrase(&self) -> Result<Vec<u8>> {
        let Some(path) = &self.passphrase_file else { return Ok(Vec::new()) };
        let mut text = std::fs::read(path).map_err(|source| Fault::Read { path: path.clone(), source })?;
        let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        text.truncate(end);
        Ok(text)
    }
}
