//! Searching trees and going through them.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::btrfs::key::Key;
use crate::disk::fs::btrfs::node::Node;
use crate::disk::fs::btrfs::node::Pointer;
use crate::disk::fs::btrfs::volume::Volume;
use std::sync::Arc;

/// A place in a tree, on an item or behind the last.
pub(super) struct Cursor {
    /// From the root to a leaf.
    path: Vec<Step>,
}

struct Step {
    node: Arc<Node>,
    index: usize,
    /// All keys of the node are before it.
    end: Option<Key>,
}

/// An item; it keeps its node.
pub(super) struct Item {
    pub(super) key: Key,
    node: Arc<Node>,
    index: usize,
}

impl Item {
    /// Its bytes, which are a `what`.
    pub(super) fn fields(&self, what: &'static str) -> Result<Fields<'_>> {
        self.node.item(self.index, what)
    }
}

impl Cursor {
    /// On the first item that is not before `key`.
    pub(super) fn seek(volume: &mut Volume, root: Pointer, key: &Key) -> Result<Cursor> {
        let mut cursor = Cursor::near(volume, root, key)?;
        if cursor.item()?.is_some_and(|item| item.key < *key) {
            cursor.advance(volume)?;
        }
        Ok(cursor)
    }

    /// On the last item that is not after `key`, or the first of all.
    pub(super) fn near(volume: &mut Volume, root: Pointer, key: &Key) -> Result<Cursor> {
        let mut cursor = Cursor { path: Vec::new() };
        let (mut pointer, mut end) = (root, None);
        loop {
            let node = volume.node(&pointer)?;
            node.check(&pointer, end.as_ref())?;
            let index = node.partition(|other| other <= key)?.saturating_sub(1);
            cursor.path.push(Step { node, index, end });
            let Some((below, below_end)) = cursor.below()? else { return Ok(cursor) };
            (pointer, end) = (below, below_end);
        }
    }

    /// The pointer the last step stands on, and where its keys end; `None` in a leaf.
    fn below(&self) -> Result<Option<(Pointer, Option<Key>)>> {
        let Some(Step { node, index, end }) = self.path.last().filter(|step| !step.node.is_leaf()) else {
            return Ok(None);
        };
        let next = index.saturating_add(1);
        let end = if next < node.len() { Some(node.key(next)?) } else { *end };
        Ok(Some((node.pointer(*index)?, end)))
    }

    /// The item it stands on.
    pub(super) fn item(&self) -> Result<Option<Item>> {
        match self.path.last() {
            Some(Step { node, index, .. }) if *index < node.len() => {
                Ok(Some(Item { key: node.key(*index)?, node: node.clone(), index: *index }))
            }
            _ => Ok(None),
        }
    }

    /// To the next item.
    pub(super) fn advance(&mut self, volume: &mut Volume) -> Result<()> {
        while let Some(step) = self.path.last_mut() {
            step.index = step.index.saturating_add(1);
            if step.index < step.node.len() {
                break;
            }
            self.path.pop();
        }
        while let Some((pointer, end)) = self.below()? {
            let node = volume.node(&pointer)?;
            node.check(&pointer, end.as_ref())?;
            self.path.push(Step { node, index: 0, end });
        }
        Ok(())
    }

    /// The item it stands on if it is of this object and kind; then it goes on to the next.
    pub(super) fn take(&mut self, volume: &mut Volume, objectid: u64, kind: u8) -> Result<Option<Item>> {
        let item = self.item()?.filter(|item| item.key.is(objectid, kind));
        if item.is_some() {
            self.advance(volume)?;
        }
        Ok(item)
    }
}

/// The item of exactly this key.
pub(super) fn find(volume: &mut Volume, root: Pointer, key: &Key) -> Result<Option<Item>> {
    Ok(Cursor::near(volume, root, key)?.item()?.filter(|item| item.key == *key))
}
