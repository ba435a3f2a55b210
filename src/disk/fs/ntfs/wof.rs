//! Files packed by the Windows overlay filter ("CompactOS"): the content is in a stream, chunk by chunk.
//!
//! Layout of the reparse data: [MS-FSCC] 2.1.2 and Windows' `wofapi.h`.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::reparse::Special;

const PROVIDER_WIM: u32 = 1;
const PROVIDER_FILE: u32 = 2;
const VERSION: u32 = 1;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// In chunks of this many bytes.
    Xpress(u64),
    /// In chunks of 32 KiB.
    Lzx,
}

/// What the data of the filter's reparse point say.
pub(super) fn provider(data: &Fields<'_>) -> Result<Special> {
    let opaque = |name: String| Ok(Special::Opaque(name));
    match (data.u32(0)?, data.u32(4)?) {
        (VERSION, PROVIDER_WIM) => opaque("a file inside a WIM image".to_owned()),
        (VERSION, PROVIDER_FILE) if data.u32(8)? == VERSION => match data.u32(12)? {
            0 => Ok(Special::Packed(Algorithm::Xpress(4 << 10))),
            1 => Ok(Special::Packed(Algorithm::Lzx)),
            2 => Ok(Special::Packed(Algorithm::Xpress(8 << 10))),
            3 => Ok(Special::Packed(Algorithm::Xpress(16 << 10))),
            method => opaque(format!("WOF compression method {method}")),
        },
        (version, provider) => opaque(format!("WOF provider {provider} of version {version}")),
    }
}
