//! Shows a small drive in memory at a folder until it is unmounted: `cargo run --example show -- FOLDER [--allow-other]`.
//!
//! Says `mounted` on standard output once it can be used. The tests start it as another user, and kill it.

use bygone_mount::drive::ROOT;
use bygone_mount::fuse;
use bygone_mount::memory::MemoryBuilder;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let at = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: show FOLDER")?);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut drive = MemoryBuilder::new();
    drive.file(ROOT, "hello", "Hello from the drive\n");
    let allow_other = std::env::args().any(|argument| argument == "--allow-other");
    let options = fuse::MountOptions { fs_name: "bygone-show".to_owned(), allow_other, ..Default::default() };
    let session = fuse::mount(Arc::new(drive.build()), &at, &options, runtime.handle().clone())?;
    writeln!(std::io::stdout(), "mounted")?;
    session.wait()?;
    Ok(())
}
