//! Transactions: operations of many records put together again into items, each of some regions.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 10 "Journaling Log": log operations, log items.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use std::collections::BTreeMap;

const WHAT: &str = "XFS log operation";
const OPERATION_BYTES: usize = 12;
const CLIENT_TRANSACTION: u8 = 0x69;
/// In an operation: the log is its own client, and says that this is an unmount.
const CLIENT_LOG: u8 = 0xaa;

const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUE: u8 = 0x04;
const WAS_CONTINUED: u8 = 0x08;
const END: u8 = 0x10;
pub(super) const UNMOUNT: u8 = 0x20;

/// Bytes before the first item, and how they begin ("TRAN", in the order of the machine).
const TRANSACTION_BYTES: usize = 16;
const TRANSACTION_MAGIC: u32 = 0x5452_414e;
/// Most bytes of transactions that are not committed yet.
const OPEN_BYTES_MAX: usize = 128 << 20;

/// Something that is changed: what kind, and regions of bytes.
#[derive(Default)]
pub(super) struct Item {
    wanted: usize,
    pub(super) regions: Vec<Vec<u8>>,
}

impl Item {
    /// One of its regions.
    pub(super) fn region(&self, number: usize) -> Result<Fields<'_>> {
        let region = self.regions.get(number).ok_or(Error::damaged("XFS log item", 0, "a region is missing"))?;
        Ok(Fields::new(region, "XFS log item", 0))
    }
}

#[derive(Default)]
struct Transaction {
    header: Vec<u8>,
    items: Vec<Item>,
}

impl Transaction {
    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.header.len() < TRANSACTION_BYTES {
            self.header.extend_from_slice(bytes);
            let fields = Fields::new(&self.header, "XFS log transaction", 0);
            let is_known = fields.u32(0)? == TRANSACTION_MAGIC && fields.len() <= TRANSACTION_BYTES;
            return is_known.then_some(()).ok_or_else(|| fields.damaged("its header is wrong"));
        }
        let is_whole = self.items.last().is_none_or(|item| item.regions.len() >= item.wanted);
        if is_whole {
            let wanted = Fields::new(bytes, "XFS log item", 0);
            let wanted = usize::from(wanted.u16(2)?);
            if wanted == 0 {
                return Err(Error::damaged("XFS log item", 0, "it has no regions"));
            }
            self.items.push(Item { wanted, regions: Vec::new() });
        }
        if let Some(item) = self.items.last_mut() {
            item.regions.push(bytes.to_vec());
        }
        Ok(())
    }

    fn add_to_last(&mut self, bytes: &[u8]) -> Result<()> {
        match self.items.last_mut().and_then(|item| item.regions.last_mut()) {
            Some(region) => region.extend_from_slice(bytes),
            None if self.header.len() < TRANSACTION_BYTES => return self.add(bytes),
            None => return Err(Error::damaged(WHAT, 0, "it goes on with nothing")),
        }
        Ok(())
    }
}

/// Whether an operation says that the file system was unmounted.
pub(super) fn is_unmount(data: &[u8]) -> Result<bool> {
    let operation = Fields::new(data, WHAT, 0);
    Ok(operation.u8(8)? == CLIENT_LOG && operation.u8(9)? & UNMOUNT != 0)
}

/// Transactions that are not committed yet, by number.
#[derive(Default)]
pub(super) struct Open {
    transactions: BTreeMap<u32, Transaction>,
    bytes: usize,
}

impl Open {
    /// Takes the operations of a record, and calls `commit` with the items of each transaction that ends there.
    pub(super) fn record(
        &mut self,
        data: &[u8],
        operations: u32,
        commit: &mut dyn FnMut(Vec<Item>) -> Result<()>,
    ) -> Result<()> {
        let fields = Fields::new(data, WHAT, 0);
        let mut at = 0usize;
        for _ in 0..operations {
            let head = fields.part(at, OPERATION_BYTES, WHAT)?;
            let (id, len, client) = (head.be32(0)?, head.be32(4)? as usize, head.u8(8)?);
            let flags = head.u8(9)? & !END;
            let bytes = fields.bytes(at + OPERATION_BYTES, len)?;
            at += OPERATION_BYTES + len;
            match client {
                CLIENT_LOG => continue,
                CLIENT_TRANSACTION => {}
                _ => return Err(head.damaged("its client is unknown")),
            }
            if flags & START != 0 {
                self.transactions.insert(id, Transaction::default());
            }
            // What began before the tail is in place.
            let Some(transaction) = self.transactions.get_mut(&id) else {
                continue;
            };
            self.bytes += bytes.len();
            if self.bytes > OPEN_BYTES_MAX {
                return Err(Error::unsupported("XFS log with transactions of more than 128 MiB"));
            }
            if flags & COMMIT != 0 {
                let items = self.transactions.remove(&id).unwrap_or_default().items;
                let bytes = items.iter().flat_map(|item| &item.regions).map(Vec::len).sum();
                self.bytes = self.bytes.saturating_sub(bytes);
                commit(items)?;
            } else if flags & WAS_CONTINUED != 0 {
                transaction.add_to_last(bytes)?;
            } else if flags & !(START | CONTINUE) == 0 {
                transaction.add(bytes)?;
            } else {
                return Err(head.damaged("its flags are unknown"));
            }
        }
        Ok(())
    }
}
