//! A disk out of its image: container, layout, and what each part stands on.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Window;
use crate::disk::fs::Source;
use crate::disk::layout;
use crate::disk::layout::Layout;
use std::sync::Arc;

/// An image that has been looked at.
pub struct Disk {
    layout: Layout,
    /// The image, and before it the virtual disk if the image is a container.
    below: Vec<Source>,
}

impl Disk {
    /// Looks at an image.
    pub fn open(image: &Source, _passphrase: &[u8]) -> Result<Disk> {
        Ok(Disk { layout: layout::read(image)?, below: vec![image.clone()] })
    }

    /// What is on it.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How many sources there are from the virtual disk down to the image.
    pub fn depth(&self) -> usize {
        self.below.len()
    }

    /// The sources a part stands on (`None`: the virtual disk itself), each on the next, down to the image.
    pub fn layers(&self, part: Option<u32>) -> Result<Vec<Source>> {
        let disk = self.below.first().ok_or(Error::NotFound)?;
        let mut layers = Vec::new();
        if let Some(number) = part {
            let part = self.layout.parts.iter().find(|part| part.number == number).ok_or(Error::NotFound)?;
            layers.push(Arc::new(Window::new(disk.clone(), part.range.clone())) as Source);
        }
        layers.extend(self.below.iter().cloned());
        Ok(layers)
    }
}
