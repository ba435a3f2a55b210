//! The log, all of it: every record opens, follows the one before it, and says the same of the past as the past itself;
//! what chains saw of each other is there.

use crate::check::Kind;
use crate::check::Result;
use crate::check::Run;
use crate::check::object;
use crate::check::object::record_of;
use crate::format::record::Event;
use crate::format::record::Record;
use crate::format::record::Seen;
use crate::id::WriterId;
use crate::repo::LogProblem;
use crate::repo::copy_name;
use crate::store;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::collections::HashMap;

/// Records read at once.
const READS_AT_ONCE: usize = 16;

type Hash = [u8; 32];

/// What is remembered of a record.
struct Link {
    hash: Hash,
    /// Hash of what it says.
    event: blake3::Hash,
}

/// All records that were read, by writer and number.
type Links = HashMap<(WriterId, u64), Link>;

fn name_of(writer: WriterId, seq: u64) -> String {
    format!("log/{writer}/{seq:010}")
}

/// Events have no bytes of their own; what the debugger shows tells them apart as well.
fn hash_of(event: &Event) -> blake3::Hash {
    blake3::hash(format!("{event:?}").as_bytes())
}

impl Run<'_> {
    /// Checks every record of every chain.
    pub(super) async fn records(&mut self) -> Result<()> {
        self.log_problems();
        let mut chains: BTreeMap<WriterId, Vec<u64>> = BTreeMap::new();
        for stored in self.repo.store().list("log").await? {
            match record_of(&stored.name) {
                Some((writer, seq)) => chains.entry(writer).or_default().push(seq),
                None => self.inventory.strange += 1,
            }
        }
        let mut links = Links::new();
        let mut seen = Vec::new();
        for (writer, mut seqs) in chains {
            seqs.sort_unstable();
            self.gaps(writer, &seqs);
            self.chain(writer, seqs, &mut links, &mut seen).await?;
        }
        for (by, Seen { writer, seq, hash }) in seen {
            let name = name_of(writer, seq);
            let by = name_of(by.0, by.1);
            let message = match links.get(&(writer, seq)) {
                Some(link) if link.hash == hash => continue,
                // Damage that was told already.
                None if self.findings.knows(&name) => continue,
                Some(_) => format!("is not the record that '{by}' saw: it was replaced"),
                // What second copies tell of is told with them.
                None if self.has_copy(&name, &hash).await => continue,
                None => format!("is gone, and '{by}' saw it: the repository was rolled back"),
            };
            self.findings.add(&format!("{name} seen"), Kind::Log, &name, message);
        }
        Ok(())
    }

    /// True if the second copy of a record is the record itself.
    async fn has_copy(&self, name: &str, hash: &Hash) -> bool {
        let copy = self.repo.store().get(&copy_name(name)).await;
        copy.is_ok_and(|bytes| blake3::hash(&bytes).as_bytes() == hash)
    }

    /// What was noticed when the log was read, and what this machine remembers.
    fn log_problems(&mut self) {
        for problem in &self.log.problems {
            let (writer, seq) = match problem {
                LogProblem::RolledBack { writer, seq, .. } | LogProblem::Replaced { writer, seq, .. } => {
                    (*writer, *seq)
                }
                // Found again, with more to tell.
                _ => continue,
            };
            let name = name_of(writer, seq);
            self.findings.add(&format!("{name} remembered"), Kind::Log, &name, problem.to_string());
        }
    }

    fn gaps(&mut self, writer: WriterId, seqs: &[u64]) {
        let mut expected = 0;
        for seq in seqs {
            if *seq > expected {
                let (name, count) = (name_of(writer, expected), seq - expected);
                let message = match count {
                    1 => "is missing from its chain".to_owned(),
                    _ => format!("is missing from its chain, and so are the {} after it", count - 1),
                };
                self.findings.add(&name, Kind::Log, &name, message);
            }
            expected = seq + 1;
        }
    }

    async fn chain(
        &mut self,
        writer: WriterId,
        seqs: Vec<u64>,
        links: &mut Links,
        seen: &mut Vec<((WriterId, u64), Seen)>,
    ) -> Result<()> {
        let store = self.repo.store().clone();
        let reads = seqs.into_iter().map(|seq| {
            let store = store.clone();
            async move { (seq, store.get(&name_of(writer, seq)).await) }
        });
        let mut reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
        let mut newest = Vec::new();
        while let Some((seq, bytes)) = reads.next().await {
            self.go_on()?;
            self.figures.records += 1;
            let read = self.read_record(writer, seq, bytes)?;
            self.firsts.insert(name_of(writer, seq), read.as_ref().map(|(_, hash)| *hash));
            let Some((record, hash)) = read else { continue };
            self.compare_past(writer, &record, links);
            newest = record.seen.iter().map(|seen| ((writer, seq), *seen)).collect();
            links.insert((writer, seq), Link { hash, event: hash_of(&record.event) });
        }
        seen.append(&mut newest);
        Ok(())
    }

    fn read_record(
        &mut self,
        writer: WriterId,
        seq: u64,
        bytes: store::Result<Bytes>,
    ) -> Result<Option<(Record, Hash)>> {
        let name = name_of(writer, seq);
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return self.unreadable(&name, error).map(|()| None),
        };
        self.done(1, bytes.len() as u64);
        match object::record(self.repo, writer, seq, &bytes) {
            Ok(record) => Ok(Some((record, *blake3::hash(&bytes).as_bytes()))),
            Err(source) => {
                self.findings.add(&name, Kind::Damaged, &name, source.to_string());
                Ok(None)
            }
        }
    }

    /// The record before it, and those it repeats.
    fn compare_past(&mut self, writer: WriterId, record: &Record, links: &Links) {
        let name = name_of(writer, record.seq);
        let before = record.seq.checked_sub(1).map(|seq| links.get(&(writer, seq)).map(|link| link.hash));
        let follows = match before {
            None => record.previous == [0; 32],
            Some(Some(hash)) => record.previous == hash,
            Some(None) => true,
        };
        if !follows {
            let message = "does not follow the record before it: one of them was replaced".to_owned();
            self.findings.add(&name, Kind::Log, &name, message);
        }
        for (seq, event) in &record.history {
            if links.get(&(writer, *seq)).is_some_and(|link| link.event != hash_of(event)) {
                let message = format!("says of record {seq} of its chain what that does not say itself");
                self.findings.add(&format!("{name} past"), Kind::Contradiction, &name, message);
            }
        }
        if let Event::Snapshot(snapshot) = &record.event
            && let Some(covered) = record.root_page.get(..snapshot.root.len as usize)
            && !record.root_page.is_empty()
            && self.repo.keys().chunk_id(crate::extent::ChunkKind::NodePage, covered) != snapshot.root.id
        {
            let message = "the page that comes with it is not the root of its snapshot".to_owned();
            self.findings.add(&format!("{name} root"), Kind::Contradiction, &name, message);
        }
    }
}
