//! Disk images, read by a process of their own.
//!
//! What is on a disk is found out by parsers ([`crate::disk`]) that face bytes nobody vouches for. They run in another
//! process, which has no keys, no files, no network and little memory: it gets every byte it looks at through a pipe,
//! from whoever asks, and answers through another. If it dies or takes too long, the question fails, the process is
//! replaced by a new one, and nothing else happens.
//!
//! Content of files hardly ever goes that way: the answer to "what is in this file" is where it lies in the image
//! ([`crate::disk::Run`]).
//!
//! Always true: the other process is believed no more than the image. What it answers is bounded, and an answer that
//! makes no sense is an error.

mod describe;
mod device;
mod locks;
mod process;
mod reader;
mod sandbox;
mod serve;
mod uses;
mod wire;

pub use describe::describe;
pub use device::Device;
pub use device::DeviceError;
pub use process::PROGRAM_FLAG;
pub use reader::Bytes;
pub use reader::Error;
pub use reader::Image;
pub use reader::ImageReader;
pub use reader::Result;
pub use serve::serve;
pub use uses::Use;
pub use uses::used_by;
pub use wire::Fault;
pub use wire::Listed;
pub use wire::Part;

use std::sync::Arc;
use tokio::runtime::Handle;

/// The image with the further files that it says it lies in. They must lie beside it.
pub async fn whole(device: Device, runtime: &Handle) -> Result<Device> {
    if device.is_device() {
        return Ok(device);
    }
    let names = ImageReader::new(Arc::new(device.clone()), None, &[], runtime).further().await?;
    Ok(device.with_further(&names)?)
}
