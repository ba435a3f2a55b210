//! The rules of the protocol, each of which can be left out to see whether that is noticed, and the kind of world.

/// What is kept, and where.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// For how long a listing may show an old state. Ticks, like all times.
    pub stale: u64,
    /// How old a mark has to be before its packs are swept.
    pub grace: u64,
    /// A backup reads the log before it commits.
    pub checks_before: bool,
    /// A backup reads the log after it has committed, before it says so.
    pub checks_after: bool,
    /// A backup lists the packs when it checks: a sweep that is over is not in the log for ever.
    pub checks_packs: bool,
    /// It does so after it has read the log.
    pub log_before_packs: bool,
    /// A backup looks whether its parent is still wanted.
    pub checks_parent: bool,
    /// A sweep record stands before anything is removed.
    pub sweeps_first: bool,
    /// The log is read again between the sweep record and removing.
    pub checks_after_sweep: bool,
    /// What others have swept is no home.
    pub minds_other_sweeps: bool,
    /// What is needed of swept packs is copied out.
    pub rescues: bool,
    /// Rescued chunks are in the index before the pack is removed.
    pub indexes_rescued: bool,
    /// How often the staleness of the store passes between sweep and check.
    pub waits: u64,
    /// Marks and sweeps are appended only to the chain that was read.
    pub appends_compare: bool,
    /// Sweeps left behind by others are taken over.
    pub takes_over: bool,
    /// New index objects are stored before old ones are removed.
    pub index_new_first: bool,
    /// Packs are listed after the index, before lines of absent ones are dropped.
    pub index_before_packs: bool,
    /// Only packs that the index names are homes.
    pub homes_are_named: bool,
    /// Of a badly used pack, only what is at home there is moved.
    pub moves_homes_only: bool,
    /// Packs marked long ago by others are emptied if they are needed.
    pub empties_forsaken: bool,
    /// A sweep names again the snapshots that the one before it has named.
    pub sweeps_remember: bool,
    /// Checkpoints keep forgotten snapshots that can still be recalled.
    pub keeps_forgotten: bool,
    /// A recall looks afterwards whether everything is still there.
    pub checks_recall: bool,
    /// A reader that finds an index object gone lists again.
    pub lists_again: bool,
}

impl Rules {
    /// All rules, on a store that shows what was written at once.
    pub const STRONG: Rules = Rules {
        stale: 0,
        grace: 60,
        checks_before: true,
        checks_after: true,
        checks_packs: true,
        log_before_packs: true,
        checks_parent: true,
        sweeps_first: true,
        checks_after_sweep: true,
        minds_other_sweeps: true,
        rescues: true,
        indexes_rescued: true,
        waits: 2,
        appends_compare: true,
        takes_over: true,
        index_new_first: true,
        index_before_packs: true,
        homes_are_named: true,
        moves_homes_only: true,
        empties_forsaken: true,
        sweeps_remember: true,
        keeps_forgotten: true,
        checks_recall: true,
        lists_again: true,
    };
    /// All rules, on a store whose listings may be old.
    pub const WEAK: Rules = Rules { stale: 12, ..Rules::STRONG };
}
