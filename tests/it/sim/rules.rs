//! The rules of the protocol, each of which can be left out to see whether that is noticed, and the kind of world.

/// What is kept, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// In how many of a hundred worlds two prunes share a machine.
    pub(super) shared_percent: u64,
    /// All prunes choose the same home.
    pub(super) common_home: bool,
    /// For how long a listing may show an old state. Ticks, like all times.
    pub(super) stale: u64,
    /// How old a mark has to be before its packs are swept.
    pub(super) grace: u64,
    /// Packs and unfinished snapshots younger than this are left alone; in the program never more than the grace.
    pub(super) young: u64,
    /// By how much the clock of a machine may be ahead of that of the store, or behind it.
    pub(super) skew: u64,
    /// A backup reads the log before it commits.
    pub(super) checks_before: bool,
    /// A backup reads the log after it has committed, before it says so.
    pub(super) checks_after: bool,
    /// A backup lists the packs when it checks: a sweep that is over is not in the log for ever.
    pub(super) checks_packs: bool,
    /// It does so after it has read the log.
    pub(super) log_before_packs: bool,
    /// It leaves out a listing when nobody has swept anything since the last one. No rule: it may list always, and sees old
    /// listings more often then.
    pub(super) skips_listings: bool,
    /// A backup looks whether its own snapshot is still there.
    pub(super) checks_itself: bool,
    /// A backup looks whether its parent is still wanted.
    pub(super) checks_parent: bool,
    /// A sweep record stands before anything is removed.
    pub(super) sweeps_first: bool,
    /// The log is read again between the sweep record and removing.
    pub(super) checks_after_sweep: bool,
    /// What others have swept is no home.
    pub(super) minds_other_sweeps: bool,
    /// What is needed of swept packs is copied out.
    pub(super) rescues: bool,
    /// Rescued chunks are in the index before the pack is removed.
    pub(super) indexes_rescued: bool,
    /// How often the staleness of the store passes between sweep and check.
    pub(super) waits: u64,
    /// It passes again if there is another sweep by then.
    pub(super) waits_anew: bool,
    /// Marks and sweeps are appended only to the chain that was read.
    pub(super) appends_compare: bool,
    /// Sweeps left behind by others are taken over.
    pub(super) takes_over: bool,
    /// New index objects are stored before old ones are removed.
    pub(super) index_new_first: bool,
    /// Packs are listed after the index, before lines of absent ones are dropped.
    pub(super) index_before_packs: bool,
    /// Only packs that the index names are homes.
    pub(super) homes_are_named: bool,
    /// What is in a swept pack, its own directory tells before it is removed.
    pub(super) directories_tell: bool,
    /// Of a badly used pack, only what is at home there is moved.
    pub(super) moves_homes_only: bool,
    /// Packs marked long ago by others are emptied if they are needed.
    pub(super) empties_forsaken: bool,
    /// A sweep names again the snapshots that the one before it has named.
    pub(super) sweeps_remember: bool,
    /// Checkpoints keep forgotten snapshots that can still be recalled.
    pub(super) keeps_forgotten: bool,
    /// A recall looks afterwards whether everything is still there.
    pub(super) checks_recall: bool,
    /// A reader that finds an index object gone lists again.
    pub(super) lists_again: bool,
}

impl Rules {
    /// All rules, on a store that shows what was written at once.
    pub(super) const STRONG: Rules = Rules {
        shared_percent: 30,
        common_home: true,
        stale: 0,
        grace: 60,
        young: 40,
        skew: 0,
        checks_before: true,
        checks_after: true,
        checks_packs: true,
        log_before_packs: true,
        skips_listings: true,
        checks_itself: true,
        checks_parent: true,
        sweeps_first: true,
        checks_after_sweep: true,
        minds_other_sweeps: true,
        rescues: true,
        indexes_rescued: true,
        waits: 2,
        waits_anew: true,
        appends_compare: true,
        takes_over: true,
        index_new_first: true,
        index_before_packs: true,
        homes_are_named: true,
        directories_tell: true,
        moves_homes_only: true,
        empties_forsaken: true,
        sweeps_remember: true,
        keeps_forgotten: true,
        checks_recall: true,
        lists_again: true,
    };
    /// All rules, on a store whose listings may be old.
    pub(super) const WEAK: Rules = Rules { stale: 12, ..Rules::STRONG };
}
