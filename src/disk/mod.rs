//! What is on a disk: partitions, volumes, file systems and the files in them, out of nothing but bytes.
//!
//! ```text
//! BlockSource ── container (qcow2, VDI, VHD, VHDX, VMDK) ── table (GPT, MBR) ── volume (LVM, LUKS) ── fs (ext, NTFS, …)
//!      the file or device        the virtual disk          partitions        block devices        nodes and runs
//! ```
//! Everything above the first bytes is a [`BlockSource`] again, down to a file system, which is a [`FileSystem`](fs::FileSystem).
//!
//! # Two rules
//! **No content of files passes through here unless it must.** A source and a file system answer *where* bytes lie
//! ([`Run`]); whoever asks fetches them. Only what is compressed, encrypted or packed into metadata is handed out as bytes.
//!
//! **The bytes are hostile.** Every decoder is total: nothing is indexed or added without a check, nothing is allocated
//! after a length that was only read, every walk has a bound, and one precise [`Error`] names each broken rule. These
//! parsers run in a process of their own all the same (`crate::image`).
//!
//! What a format cannot tell is `None`, never invented. A feature that is not understood is [`Error::Unsupported`],
//! never a guess: wrong content without an error is the one thing that must not happen.

pub mod container;
mod crc32;
mod error;
mod fields;
pub mod free;
pub mod fs;
mod guid;
pub mod layout;
pub mod magic;
mod opened;
mod source;
pub mod table;
pub mod volume;

pub use error::Error;
pub use error::Result;
pub use fields::Fields;
pub use opened::Disk;
pub use opened::VOLUME_NUMBERS;
pub use opened::WHOLE_NUMBERS;
pub use source::BlockSource;
pub use source::Cached;
pub use source::RUNS_BYTES_MAX;
pub use source::Run;
pub use source::Window;
pub use source::read_runs;
