//! Files that were moved or renamed: what was removed in one place and added in another with the same content.

use crate::cli::diff::Line;
use crate::cli::diff::Side;
use crate::id::ChunkId;
use crate::path;
use std::collections::HashMap;
use std::collections::HashSet;

/// Removed files of one content that are looked at for each added one: a thousand equal files must not take a million
/// comparisons.
const LOOKED_AT_MAX: usize = 16;

/// Makes one line of each pair, where the new path stands. Of several candidates the same inode counts most, then the
/// same name.
pub(super) fn pair(lines: Vec<Line>) -> Vec<Line> {
    let mut removed: HashMap<ChunkId, Vec<&Side>> = HashMap::new();
    for line in &lines {
        if let Line::Removed(side) = line
            && let Some(content) = side.content
        {
            removed.entry(content).or_default().push(side);
        }
    }
    let mut moved: HashMap<&[u8], Side> = HashMap::new();
    let mut gone: HashSet<Vec<u8>> = HashSet::new();
    for line in &lines {
        let Line::Added(side) = line else { continue };
        let Some(candidates) = side.content.and_then(|content| removed.get_mut(&content)) else { continue };
        let likeness = |old: &Side| {
            (old.inode == side.inode && old.inode != 0, path::split(&old.path).1 == path::split(&side.path).1)
        };
        let near = candidates.iter().take(LOOKED_AT_MAX).enumerate().filter(|(_, old)| old.kind == side.kind);
        // The first of the best: names in their order go to names in their order.
        let best = near.rev().max_by_key(|(_, old)| likeness(old)).map(|(at, _)| at);
        if let Some(at) = best {
            let old = candidates.remove(at);
            gone.insert(old.path.clone());
            moved.insert(&side.path, old.clone());
        }
    }
    let moved: HashMap<Vec<u8>, Side> = moved.into_iter().map(|(new, old)| (new.to_vec(), old)).collect();
    let told = lines.into_iter().filter_map(|line| match line {
        Line::Removed(side) if gone.contains(&side.path) => None,
        Line::Added(side) => Some(match moved.get(&side.path) {
            Some(old) => Line::Moved(old.clone(), side),
            None => Line::Added(side),
        }),
        other => Some(other),
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(path: &str, content: u8, inode: u64) -> Side {
        let content = (content != 0).then_some(ChunkId([content; 32]));
        Side { path: path.into(), kind: "file", size: 1, content, inode }
    }

    #[test]
    fn the_likeliest_pairs_are_found() {
        let lines = vec![
            Line::Removed(side("a/one", 1, 10)),
            Line::Removed(side("a/two", 1, 11)),
            Line::Removed(side("a/other", 2, 12)),
            Line::Removed(side("a/empty", 0, 13)),
            Line::Added(side("b/two", 1, 20)),
            Line::Added(side("b/x", 1, 10)),
            Line::Added(side("b/y", 1, 21)),
            Line::Added(side("b/empty", 0, 13)),
            Line::Added(side("b/new", 3, 12)),
        ];
        let expected = [
            Line::Removed(side("a/other", 2, 12)),
            Line::Removed(side("a/empty", 0, 13)),
            Line::Moved(side("a/two", 1, 11), side("b/two", 1, 20)),
            Line::Moved(side("a/one", 1, 10), side("b/x", 1, 10)),
            Line::Added(side("b/y", 1, 21)),
            Line::Added(side("b/empty", 0, 13)),
            Line::Added(side("b/new", 3, 12)),
        ];
        assert_eq!(pair(lines), expected);
    }
}
