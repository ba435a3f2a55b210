//! How backups, prunes and people work on one repository at the same time without locks and without losing anything:
//! the protocol, and its decisions as pure functions. `tests/it/sim` plays it in thousands of worlds, and once more
//! without each of its rules.
//!
//! # Words
//! All that is decided stands in the log. A pack that is there is [`Free`](words::Standing::Free),
//! [`Marked`](words::Standing::Marked) or [`Swept`](words::Standing::Swept). **Swept is final**: from the moment the sweep record
//! stands, nobody counts on the pack, and no record takes that back; whatever turns out to be needed of it is copied out before it is
//! removed. A mark is a wish: a needed pack is let go again. Marks and sweeps also name forgotten snapshots, by the same kind of
//! id: once a sweep has named a snapshot, it cannot be recalled.
//!
//! A pack in which a check found damage is [`Damaged`](words::Standing::Damaged) until it is found whole: it stays, like a free one, but is the
//! last place to look for a chunk, so that a backup stores what it holds again and a prune takes any other copy of it.
//!
//! The last mark of a chain takes the place of its earlier marks, the last sweep that of its earlier sweeps. So a list never
//! grows for ever, and dropping a pack from the mark frees it.
//!
//! # A backup
//! 1. Read the log, then list packs and index. Build on free packs only.
//! 2. Store packs, then the index objects that name them.
//! 3. **Check before**: read the log (the one to which the record is going to be appended), *then* list the packs: [`footing::footing`] with [`footing::When::Before`]. For each chunk that lost its
//!    pack: another free pack that an index object names; else store it again, from the source if that is
//!    unchanged, else copied out of the old pack if it is still there; then 2. Neither: the backup fails, without a record.
//! 4. Append the snapshot record.
//! 5. **Check after**: the same with [`footing::When::After`]. Chunks that lost their pack are stored again, under the same record:
//!    a chunk is found by its id, wherever it lies. If that cannot be done: forget the snapshot, and fail.
//!    If the snapshot itself was forgotten meanwhile and a sweep has named it: a new record with a new id, from 3 on.
//! 6. Only now say that the snapshot is done.
//!
//! *When the packs need not be listed.* The listing tells which packs were removed since the last look. Whoever removes a pack has written a sweep
//! record first that names it, and the last sweep of a chain stays in the log. So if no chain has another last sweep than at the last look
//! ([`words::Words::sweeps_are_those_of`]), then no pack was removed that stood in the listing of that look and was free or marked by its log, or that was stored
//! since: the listing would show them all. The first look is 1, which lists the packs after the log. A log that has records missing or unreadable must
//! have no new record at all: the sweep could be the one that cannot be read. And if in 5 the chains end where they ended in 3, but for the
//! backup's own record, one listing of the log has told everything. So a backup that nobody disturbs pays one request for both looks.
//!
//! What it shares with its parent is not looked at while no sweep has named the parent: all prunes hold a snapshot, forgotten or not,
//! until then. An unfinished snapshot is no parent in this sense, and neither is one that its backup never acknowledged: what comes from these is
//! looked at chunk by chunk. (So a machine remembers that a backup of its own stands between 4 and 6.)
//!
//! # A prune
//! One step after the other; [`prune::next`] says where the last one of this chain stopped. It may stop anywhere.
//! 1. *Decide*: read the log, then list packs and index. Is the mark ripe? Then [`prune::to_sweep`], with the
//!    [`homes`](homes::homes) of what is [held](words::Words::held): wanted snapshots and those forgotten after the mark.
//! 2. *Sweep*: append the sweep record, **only if the chain is still the one that was read**.
//! 3. *Wait* twice the time for which the store may show old listings: not at all on the usual ones. If 4 finds another last sweep of this
//!    chain, that of a second prune on this machine, wait once more.
//! 4. *Check*: read the log again, then list packs and index again; homes of what is held **now**, where packs swept by anybody are no home.
//!    Copy out what is to be [rescued](homes::Homes::rescue), and name it in the index. If such a pack is gone, somebody else was faster: check again.
//! 5. *Remove* the packs ([`prune::to_remove`]).
//! 6. *Index*: list it, read it, **then** list the packs. Store one object in place of many: lines of packs that are listed, and of packs
//!    that no index object names (their directories tell). Then remove the old ones. A reader that finds one gone lists again.
//! 7. *Mark*: read the log, list packs and index; find badly used packs and, once they are many, small ones, and move what is at home
//!    there ([`homes::each_home`]) to new packs, named in the index; append [`prune::to_mark`], only if the chain is still the one that
//!    was read. With nothing open, a prune begins with 6.
//!
//! One mark at a time: while it ripens, nothing new is marked; so garbage goes after twice the grace period at the latest.
//! The age of a mark is the age of its record by the clock of the store. An unfinished snapshot counts as wanted while it
//! is young, and packs that are young are not marked: so that a killed run can be resumed and a running one need not store twice.
//!
//! Homes come from the index only: what no index object names nobody could find, and no unnamed pack is marked (6 names it first).
//! But what is in packs that 5 is going to remove and that no index object names, **their own directories tell** in 4: the index may be
//! damaged, or seen half way through somebody else's 6.
//!
//! A prune whose machine never comes back: its marks and sweeps stay. Swept packs are in the next mark of others
//! ([`prune::to_mark`] does so); packs it has marked and that are needed are emptied like badly used ones when
//! the mark is much older than the grace period. So no pack stays marked for ever.
//!
//! # Forgetting and recalling
//! `forget` appends a record, `undo-forget` appends one and then **reads the log again**: if a sweep names the snapshot, or the
//! log does not know it any more, it was too late: forget it again and say so. No pack has to be looked at.
//! Undo works until a sweep, so for at least the grace period after the first prune that follows the forget.
//!
//! Forgets and recalls of one snapshot are counted, chain by chain: the n-th forget of a chain is turn 2n - 1, its n-th recall turn 2n, and
//! the highest turn of all chains is the truth. So a recall wins over all forgets that it knew and over those that did
//! not know it, a forget wins over the recalls it knew, no clock is asked, and the order of chains does not matter.
//! [`words::Words::forgets_missing`] says how often the word has to be appended: once, unless people on several machines keep changing their minds.
//!
//! A checkpoint repeats a forgotten snapshot until a sweep has named it ([`chain::still_true`]), and a sweep names a snapshot as long as the log
//! knows it: whoever recalls it finds it, or finds why not.
//!
//! # Why nothing is lost
//! *A backup against a prune*: one writes its snapshot and then looks for sweeps, the other writes its sweep and then looks for snapshots.
//! Whoever writes second sees the other: the backup stores again what was swept, or the prune rescues what is needed. Both may happen; that
//! costs a second copy, which a later prune clears away. Recalls are commits in the same sense.
//!
//! *Two prunes*: take the pack with a needed chunk that was swept last. Whoever removes it has read the log after that sweep,
//! so all other packs with this chunk were swept or gone: it has copied the chunk out. And as all choose the same
//! home, they do not rescue for each other again and again.
//!
//! *Log first, packs second*: a pack that is not in the log's sweeps any more is not in the listing either, if that comes later.
//!
//! # What must be true of the store
//! | | guaranteed |
//! |---|---|
//! | listings show all that was written and removed before (S3, GCS, Azure, MinIO, R2, local folders) | everything, with any clocks, any grace (even 0), processes that sleep for any time between any two requests |
//! | listings may be older, by at most D | the same, if prunes wait 2 D after the sweep record, D between a listing and a sweep that drops packs from the one before, D between listing the index and the packs, and if checkpoints drop no snapshot before its sweep is 2 D old. Backups need not wait |
//! | listings may be older without limit | nothing |
//!
//! A second record under one number must be refused, or a machine have one chain and one lock for it.
//! The grace period serves people (`undo-forget`), drives that still show a forgotten snapshot, and one more case: a record that stands but was not
//! yet acknowledged, because the backup died between 4 and 6. It is whole at once if less than the grace period
//! (less 2 D) has passed since the check before; else it may have holes, which the next backup of the same source fills.

pub mod chain;
pub mod footing;
pub mod homes;
pub mod keep;
pub mod prune;
pub mod words;
