//! The names in one folder, in little memory: one run of bytes and 16 bytes for each name.
//! A folder of a million files is held this way while its nodes are looked at a few hundred at a time.

use crate::source::stat::Type;
use crate::source::why;
use std::ffi::CStr;

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is backed up.
    Keep,
    /// A rule leaves it out.
    Rule,
    /// The caller wants it left out by path.
    Skip,
}

impl Fate {
    /// The reason, if it is left out.
    pub(super) fn why(self) -> Option<&'static str> {
        match self {
            Fate::Keep => None,
            Fate::Rule => Some(why::RULE),
            Fate::Skip => Some(why::SKIP),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    len: u16,
    kind: Option<Type>,
    fate: Fate,
}

/// Names with their types, sorted once all are there.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Each name and a NUL behind it.
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Names {
    /// Adds a name; what the system gives is never so long that it would be cut.
    pub(super) fn push(&mut self, name: &[u8], kind: Option<Type>) {
        let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.spans.push(Span { start: self.bytes.len(), len, kind, fate: Fate::Keep });
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }

    /// Forgets all names and keeps the memory, unless it is much.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        if self.bytes.capacity() > 1 << 20 {
            *self = Names::default();
        }
    }

    /// Puts the names in order of their bytes.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |span: &Span| &bytes[span.start..span.start + usize::from(span.len)];
        self.spans.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// A name by its place.
    pub(super) fn get(&self, at: usize) -> &[u8] {
        let span = &self.spans[at];
        &self.bytes[span.start..span.start + usize::from(span.len)]
    }

    /// The same for the system. A name holds no NUL: it came from the system or was checked.
    pub(super) fn get_c(&self, at: usize) -> &CStr {
        let span = &self.spans[at];
        let with_nul = &self.bytes[span.start..=span.start + usize::from(span.len)];
        CStr::from_bytes_until_nul(with_nul).expect("push put a NUL behind the name")
    }

    /// Type of a name as far as known.
    pub(super) fn kind(&self, at: usize) -> Option<Type> {
        self.spans[at].kind
    }

    /// Notes a type learnt later.
    pub(super) fn set_kind(&mut self, at: usize, kind: Type) {
        self.spans[at].kind = Some(kind);
    }

    /// What becomes of a name.
    pub(super) fn fate(&self, at: usize) -> Fate {
        self.spans[at].fate
    }

    /// Leaves a name out.
    pub(super) fn leave_out(&mut self, at: usize, fate: Fate) {
        self.spans[at].fate = fate;
    }

    /// Place of a name, once sorted.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let bytes = &self.bytes;
        let by_name = |span: &Span| bytes[span.start..span.start + usize::from(span.len)].cmp(name);
        self.spans.binary_search_by(by_name).ok()
    }
}
