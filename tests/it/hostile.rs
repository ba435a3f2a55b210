//! Repositories made by somebody who has the password and means harm: every page, chunk, pack, index and record is
//! properly sealed, and says what no writer says. Nothing may crash, hang, fill the memory or leave the target of a
//! restore; a check names what readers refuse.

use crate::check::checked;
use crate::forge::Forge;
use crate::forge::Pack;
use crate::house::noise;
use crate::house::open_store;
use crate::truth::DEADLINE;
use crate::truth::read_snapshot;
use bygone::browse::Browse;
use bygone::check;
use bygone::check::Data;
use bygone::check::Options;
use bygone::extent::ChunkKind;
use bygone::extent::ChunkRef;
use bygone::extent::Extent;
use bygone::format::chunk;
use bygone::format::chunk::Packed;
use bygone::format::extents::ExtentChild;
use bygone::format::extents::ExtentPage;
use bygone::format::extents::NOWHERE;
use bygone::format::index::Index;
use bygone::format::index::IndexedPack;
use bygone::format::page::Child;
use bygone::format::page::Key;
use bygone::format::page::NodePage;
use bygone::format::page::Run;
use bygone::format::record::Event;
use bygone::format::record::Record;
use bygone::format::record::Seen;
use bygone::format::record::Snapshot;
use bygone::format::sealed::ObjectType;
use bygone::format::wire::Write;
use bygone::id::ChunkId;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::id::WriterId;
use bygone::meta::Content;
use bygone::meta::Kind;
use bygone::meta::Meta;
use bygone::meta::Node;
use bygone::meta::Xattr;
use bygone::monitor::Collect;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Log;
use bygone::restore;
use bygone::state::State;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// Hostile repositories that are tried, at least.
const CASES_MIN: usize = 60;
/// Memory of the program, however hostile the repository.
const MEMORY_KIB_MAX: u64 = 512 << 10;

fn node(name: &[u8], kind: Kind, content: Content) -> Node {
    let meta = Meta { mode: 0o755, links: 1, ..Meta::default() };
    Node { name: name.to_vec(), kind, meta, content }
}

fn file(name: &[u8], content: Content) -> Node {
    node(name, Kind::File, content)
}

fn inline(name: &[u8]) -> Node {
    file(name, Content::Inline(b"evil".to_vec()))
}

fn folder(name: &[u8]) -> Node {
    node(name, Kind::Folder, Content::Empty)
}

fn run(parent: &[u8], nodes: Vec<Node>) -> Run {
    Run { parent: parent.to_vec(), nodes }
}

/// A leaf with the root folder and these nodes in it, and runs behind it.
fn leaf(nodes: Vec<Node>, more: Vec<Run>) -> NodePage {
    NodePage::Leaf([vec![run(b"", [vec![folder(b"")], nodes].concat())], more].concat())
}

fn meta(change: impl FnOnce(&mut Meta)) -> Node {
    let mut node = inline(b"strange");
    change(&mut node.meta);
    node
}

/// What is expected of a hostile repository.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A check names a problem.
    Named,
    /// Strange, but right: nothing to name, only nothing to crash of.
    Fine,
    /// The same, and so much of it that nobody reads it all.
    Endless,
}

type Case = (String, Expect, Box<dyn Fn(&mut Forge)>);

fn case(name: impl Into<String>, expect: Expect, forge: impl Fn(&mut Forge) + 'static) -> Case {
    (name.into(), expect, Box::new(forge))
}

/// A leaf that no reader takes, under a root that describes it as it is.
fn bad_leaf(name: impl Into<String>, page: impl Fn() -> NodePage + 'static) -> Case {
    case(name, Expect::Named, move |forge| {
        let root = forge.above(&[page()]);
        forge.commit(root);
    })
}

fn names() -> Vec<Case> {
    let mut all = Vec::new();
    let long = vec![b'x'; 1025];
    let bad: [&[u8]; 9] = [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"/etc/passwd", b"../../evil", &long];
    for (i, bad) in bad.into_iter().enumerate() {
        let bad = bad.to_vec();
        all.push(bad_leaf(format!("name {i}"), move || leaf(vec![inline(&bad)], vec![])));
    }
    let long = vec![vec![b'x'; 40]; 900].join(&b'/');
    let bad: [&[u8]; 9] = [b"/", b"/tmp", b"a/", b"a//b", b"..", b"a/../b", b".", b"a\0", &long];
    for (i, bad) in bad.into_iter().enumerate() {
        let bad = bad.to_vec();
        all.push(bad_leaf(format!("parent {i}"), move || leaf(vec![], vec![run(&bad, vec![inline(b"evil")])])));
    }
    all.push(bad_leaf("a name twice", || leaf(vec![inline(b"a"), inline(b"a")], vec![])));
    all.push(bad_leaf("names that go back", || leaf(vec![inline(b"b"), inline(b"a")], vec![])));
    let twice = || vec![run(b"d", vec![inline(b"a")]), run(b"d", vec![inline(b"b")])];
    all.push(bad_leaf("a folder twice", move || leaf(vec![folder(b"d")], twice())));
    let back = || vec![run(b"e", vec![inline(b"a")]), run(b"d", vec![inline(b"b")])];
    all.push(bad_leaf("folders that go back", move || leaf(vec![folder(b"d"), folder(b"e")], back())));
    all.push(bad_leaf("a run of nothing", || leaf(vec![], vec![run(b"d", vec![])])));
    all.push(case("a page of nothing", Expect::Named, |forge| {
        let mut child = forge.child(&NodePage::Leaf(vec![]));
        child.nodes = 1;
        let root = forge.root_of(vec![child]);
        forge.commit(root);
    }));
    all.push(bad_leaf("a root that is a file", || NodePage::Leaf(vec![run(b"", vec![inline(b"")])])));
    all.push(bad_leaf("a root behind others", || leaf(vec![], vec![run(b"d", vec![folder(b"")])])));
    all.push(bad_leaf("no root", || NodePage::Leaf(vec![run(b"", vec![inline(b"evil")])])));
    all
}

/// Makes a node that should not be.
type MakeNode = Box<dyn Fn() -> Node>;

fn metadata() -> Vec<Case> {
    let wide = |len| Xattr { name: b"user.x".to_vec(), value: vec![0; len] };
    let nodes: Vec<(&str, MakeNode)> = vec![
        ("inline content too long", Box::new(|| file(b"x", Content::Inline(vec![0; 5000])))),
        ("a target too long", Box::new(|| node(b"x", Kind::Symlink(vec![b'x'; 70_000]), Content::Empty))),
        ("an attribute too long", Box::new(move || meta(|m| m.xattrs = vec![wide(2 << 20)]))),
        ("an attribute twice", Box::new(move || meta(|m| m.xattrs = vec![wide(1), wide(1)]))),
        ("a mode beyond all", Box::new(|| meta(|m| m.mode = 0o70_000))),
        ("nanoseconds beyond all", Box::new(|| meta(|m| m.mtime.nanos = 2_000_000_000))),
        ("a link group of nobody", Box::new(|| meta(|m| m.link_group = Some(0)))),
    ];
    nodes.into_iter().map(|(name, node)| bad_leaf(name, move || leaf(vec![node()], vec![]))).collect()
}

/// Changes what the root page says of its two leaves.
fn lie(name: &str, change: impl Fn(&mut Vec<Child>) + 'static) -> Case {
    change_children(name, Expect::Named, change)
}

fn change_children(name: &str, expect: Expect, change: impl Fn(&mut Vec<Child>) + 'static) -> Case {
    case(name, expect, move |forge| {
        let first = forge.child(&leaf(vec![folder(b"a"), folder(b"b")], vec![run(b"a", vec![inline(b"1")])]));
        let second = forge.child(&NodePage::Leaf(vec![run(b"b", vec![inline(b"2")])]));
        let mut children = vec![first, second];
        change(&mut children);
        let root = forge.root_of(children);
        forge.commit(root);
    })
}

fn inner_pages() -> Vec<Case> {
    let mut all = vec![
        lie("a sum of sizes too small", |c| c[1].bytes = 0),
        lie("a sum of sizes beyond all", |c| c[1].bytes = u64::MAX),
        lie("a count too small", |c| c[0].nodes = 1),
        lie("a count too large", |c| c[0].nodes = 1 << 20),
        lie("a count of nothing", |c| c[0].nodes = 0),
        lie("a count beyond all", |c| c[0].nodes = (1 << 48) + 1),
        lie("a first key that is another", |c| c[1].first.name = b"1".to_vec()),
        lie("children that go back", |c| c.swap(0, 1)),
        lie("a child twice", |c| c[1] = c[0].clone()),
        lie("a child twice under two names", |c| c[1].page = c[0].page),
        lie("no children", Vec::clear),
        change_children("a child that is elsewhere", Expect::Fine, |c| c[1].page.hint = NOWHERE),
        change_children("a child behind the end", Expect::Fine, |c| c[1].page.hint.offset = 1 << 30),
        lie("a child longer than it is", |c| c[1].page.len += 1),
        lie("a child shorter than it is", |c| c[1].page.len -= 1),
        lie("a child of another id", |c| c[1].page.id = ChunkId([1; 32])),
        lie("a first key that leads out", |c| c[1].first.parent = b"../..".to_vec()),
    ];
    all.push(case("leaves that overlap", Expect::Named, |forge| {
        let first = leaf(vec![inline(b"a"), inline(b"z")], vec![]);
        let root = forge.above(&[first, NodePage::Leaf(vec![run(b"", vec![inline(b"m")])])]);
        forge.commit(root);
    }));
    for level in [0, 5, 12] {
        all.push(case(format!("a snapshot of level {level}"), Expect::Named, move |forge| {
            let root = forge.above(&[leaf(vec![inline(b"a")], vec![])]);
            forge.level = level;
            forge.commit(root);
        }));
    }
    all.push(case("an inner page of level 200", Expect::Named, |forge| {
        let child = forge.child(&leaf(vec![], vec![]));
        let root = forge.page(&NodePage::Inner(200, vec![child]));
        forge.nodes = 1;
        forge.commit(root);
    }));
    all.push(case("levels that do not descend", Expect::Named, |forge| {
        let child = forge.child(&leaf(vec![], vec![]));
        let inner = forge.child(&NodePage::Inner(1, vec![child]));
        let root = forge.root_of(vec![inner]);
        forge.commit(root);
    }));
    for (what, nodes, bytes) in [("nodes", 77, 4), ("bytes", 2, 77), ("more nodes than there can be", u64::MAX, 4)] {
        all.push(case(format!("a snapshot with other {what}"), Expect::Named, move |forge| {
            let root = forge.above(&[leaf(vec![inline(b"a")], vec![])]);
            (forge.nodes, forge.bytes) = (nodes, bytes);
            forge.commit(root);
        }));
    }
    all.push(case("a root that is content", Expect::Named, |forge| {
        let chunk = forge.chunk(b"content");
        forge.nodes = 1;
        forge.commit(chunk);
    }));
    for (i, hints) in [&b""[..], b"\0\0", b"\x01", &[0xff; 40]].into_iter().enumerate() {
        all.push(case(format!("hints that are none {i}"), Expect::Named, move |forge| {
            let chunk = forge.chunk(&noise(1, 100));
            let page = leaf(vec![file(b"x", Content::Chunk(chunk))], vec![]);
            let page_ref = forge.raw_page(ChunkKind::NodePage, &page.encode().hashed, hints);
            let child = Child { first: Key::default(), page: page_ref, nodes: page.nodes(), bytes: page.bytes() };
            let root = forge.root_of(vec![child]);
            forge.commit(root);
        }));
    }
    all
}

/// A file with this content, as the forge makes it.
fn content(name: &str, expect: Expect, make: impl Fn(&mut Forge) -> Content + 'static) -> Case {
    case(name, expect, move |forge| {
        let made = make(forge);
        let root = forge.above(&[leaf(vec![file(b"x", made)], vec![])]);
        forge.commit(root);
    })
}

fn tree(forge: &mut Forge, page: &ExtentPage, len: u64) -> Content {
    Content::Extents { root: forge.extents(page), len, data: 0 }
}

fn contents() -> Vec<Case> {
    use Expect::Named;
    vec![
        content("an extent of nothing", Named, |f| tree(f, &ExtentPage::Leaf(vec![Extent::Hole(0)]), 0)),
        content("extents of nothing", Named, |f| tree(f, &ExtentPage::Leaf(vec![]), 0)),
        content("extents of another length", Named, |f| tree(f, &ExtentPage::Leaf(vec![Extent::Hole(5)]), 6)),
        content("holes side by side", Named, |f| tree(f, &ExtentPage::Leaf(vec![Extent::Hole(5); 2]), 10)),
        content("a hole beyond all", Named, |f| {
            tree(f, &ExtentPage::Leaf(vec![Extent::Hole(1 << 62), Extent::Hole(9)]), 9)
        }),
        content("extents of level 13", Named, |f| {
            let page = f.extents(&ExtentPage::Leaf(vec![Extent::Hole(5)]));
            tree(f, &ExtentPage::Inner(13, vec![ExtentChild { len: 5, page }]), 5)
        }),
        content("levels of extents that do not descend", Named, |f| {
            let page = f.extents(&ExtentPage::Leaf(vec![Extent::Hole(5)]));
            tree(f, &ExtentPage::Inner(2, vec![ExtentChild { len: 5, page }]), 5)
        }),
        content("a page of extents that is shorter", Named, |f| {
            let page = f.extents(&ExtentPage::Leaf(vec![Extent::Hole(5)]));
            tree(f, &ExtentPage::Inner(1, vec![ExtentChild { len: 6, page }]), 6)
        }),
        content("extents that are nodes", Named, |f| Content::Extents {
            root: f.page(&leaf(vec![], vec![])),
            len: 5,
            data: 0,
        }),
        content("a chunk that is nowhere", Named, |f| {
            Content::Chunk(ChunkRef { hint: NOWHERE, id: ChunkId([4; 32]), ..f.chunk(b"gone") })
        }),
        content("a chunk behind the end", Named, |f| {
            let mut chunk = f.chunk(b"far away");
            chunk.hint.offset = u32::MAX;
            chunk.id = ChunkId([3; 32]);
            Content::Chunk(chunk)
        }),
        content("a chunk of another id", Named, |f| {
            let mut encoded = Vec::new();
            chunk::encode(b"not what it says", 1, &mut encoded).unwrap();
            Content::Chunk(f.raw_chunk(16, &encoded))
        }),
        content("a chunk that says it is 4 GiB", Named, |f| {
            Content::Chunk(f.raw_chunk(16, &[0, 255, 255, 255, 255, 1]))
        }),
        content("a chunk of an unknown codec", Named, |f| Content::Chunk(f.raw_chunk(1, &[7, 1, 0, 0, 0, 1]))),
        content("a chunk of no bytes at all", Named, |f| Content::Chunk(f.raw_chunk(1, &[]))),
        content("a chunk that is no zstd", Named, |f| Content::Chunk(f.raw_chunk(9, &[1, 9, 0, 0, 0, 1, 2, 3, 4]))),
        content("a chunk that bursts", Named, |f| {
            let mut encoded = Vec::new();
            chunk::encode(&vec![0; 16 << 20], 1, &mut encoded).unwrap();
            // Declared as one byte.
            encoded[1..5].copy_from_slice(&1u32.to_le_bytes());
            Content::Chunk(f.raw_chunk(1, &encoded))
        }),
        content("a file of 2^50 bytes out of one chunk", Expect::Endless, |f| {
            let chunk = f.chunk(b"x");
            let mut page = ExtentPage::Leaf(vec![Extent::Data(chunk); 1024]);
            for level in 1..5 {
                let child = ExtentChild { len: page.len(), page: f.extents(&page) };
                page = ExtentPage::Inner(level, vec![child; 1024]);
            }
            let len = page.len();
            tree(f, &page, len)
        }),
    ]
}

/// Stores one good file, with a pack or index made otherwise.
fn packs() -> Vec<Case> {
    let data = |name: &str, directory: fn(&Pack) -> Vec<u8>| {
        case(name, Expect::Named, move |forge| {
            let chunk = forge.chunk(&noise(3, 5000));
            let root = forge.above(&[leaf(vec![file(b"x", Content::Chunk(chunk))], vec![])]);
            let pack = std::mem::replace(&mut forge.data, Pack::new(ObjectType::DataPack));
            let packs = vec![forge.store_pack(&pack, &directory(&pack))];
            forge.store_index(&Index { packs, chunks: pack.lines }.encode());
            forge.commit(root);
        })
    };
    let index = |name: &str, payload: fn(&mut Index) -> Vec<u8>| {
        case(name, Expect::Named, move |forge| {
            let chunk = forge.chunk(&noise(3, 5000));
            let root = forge.above(&[leaf(vec![file(b"x", Content::Chunk(chunk))], vec![])]);
            let pack = std::mem::replace(&mut forge.data, Pack::new(ObjectType::DataPack));
            let packs = vec![forge.store_pack(&pack, &chunk::encode_directory(&pack.lines))];
            forge.store_index(&payload(&mut Index { packs, chunks: pack.lines }));
            forge.commit(root);
        })
    };
    vec![
        data("a directory that is none", |_| vec![0xff; 100]),
        data("no directory", |_| Vec::new()),
        data("a directory of billions", |_| {
            let mut out = Vec::new();
            out.put_varint(1 << 40);
            out
        }),
        data("the same bytes over and over", |pack| chunk::encode_directory(&vec![pack.lines[0]; 10_000])),
        data("a line beyond the payload", |pack| {
            let mut line = pack.lines[0];
            line.chunk.hint.offset = u32::MAX;
            chunk::encode_directory(&[line])
        }),
        data("pages among contents", |pack| {
            chunk::encode_directory(&[Packed { kind: ChunkKind::NodePage, ..pack.lines[0] }])
        }),
        index("an index that is none", |_| vec![0xff; 100]),
        index("an index of billions", |_| {
            let mut out = Vec::new();
            out.put_varint(0);
            out.put_varint(1 << 50);
            out
        }),
        index("an index with other places", |index| {
            index.chunks[0].chunk.hint.offset = 7;
            index.encode()
        }),
        index("an index with another length", |index| {
            index.packs[0].len += 16;
            index.encode()
        }),
        index("an index with chunks that are not there", |index| {
            let mut more = index.chunks[0];
            more.chunk.id = ChunkId([8; 32]);
            index.chunks.push(more);
            index.encode()
        }),
        index("an index with a pack that is not there", |index| {
            let mut more = index.chunks[0];
            (more.chunk.id, more.chunk.hint.pack) = (ChunkId([8; 32]), ObjectId([8; 16]));
            index.packs.push(IndexedPack { pack: ObjectId([8; 16]), len: 7 });
            index.packs[0].len -= 1;
            index.chunks.push(more);
            index.encode()
        }),
    ]
}

fn records() -> Vec<Case> {
    fn good(forge: &mut Forge) -> Snapshot {
        let root = forge.above(&[leaf(vec![inline(b"a")], vec![])]);
        forge.store_all();
        forge.snapshot(root)
    }
    let record = |name: &str, expect, change: fn(&mut Record)| {
        case(name, expect, move |forge| {
            let snapshot = good(forge);
            forge.record(&forge.plain_record(0, Event::Snapshot(Box::new(snapshot.clone()))));
            let first =
                forge.house.runtime.block_on(forge.store.get("log/09090909090909090909090909090909/0000000000"));
            let mut second = forge.plain_record(1, Event::Forget(SnapshotId([4; 16])));
            second.previous = *blake3::hash(&first.unwrap()).as_bytes();
            second.history = vec![(0, Event::Snapshot(Box::new(snapshot)))];
            change(&mut second);
            forge.record(&second);
        })
    };
    vec![
        record("a chain as it should be", Expect::Fine, |_| {}),
        record("a record that follows another", Expect::Named, |r| r.previous = [7; 32]),
        record("a record that says another past", Expect::Named, |r| {
            r.history = vec![(0, Event::Forget(SnapshotId([1; 16])))];
        }),
        record("a record that saw what is not there", Expect::Named, |r| {
            r.seen = vec![Seen { writer: WriterId([5; 16]), seq: 3, hash: [1; 32] }];
        }),
        record("a record that saw what cannot be", Expect::Named, |r| {
            r.seen = vec![Seen { writer: WriterId([5; 16]), seq: u64::MAX, hash: [1; 32] }];
        }),
        record("a record far behind the others", Expect::Named, |r| (r.seq, r.history) = (9_999_999_999, vec![])),
        record("packs of nobody are marked", Expect::Fine, |r| r.event = Event::Mark(vec![ObjectId([1; 16]); 1000])),
        record("a snapshot of nothing", Expect::Named, |r| {
            let (_, Event::Snapshot(snapshot)) = &r.history[0] else { panic!("as it was made") };
            let root = ChunkRef { id: ChunkId([2; 32]), len: 5, hint: NOWHERE };
            r.event = Event::Snapshot(Box::new(Snapshot { id: SnapshotId([6; 16]), root, ..*snapshot.clone() }));
        }),
        record("a page that is not the root", Expect::Named, |r| {
            let (_, Event::Snapshot(snapshot)) = &r.history[0] else { panic!("as it was made") };
            r.root_page = vec![1; snapshot.root.len as usize + 9];
            r.event = Event::Snapshot(Box::new(Snapshot { id: SnapshotId([6; 16]), ..*snapshot.clone() }));
        }),
    ]
}

/// Opens, checks, reads and restores; returns what the check had to say.
fn face(forge: &Forge, expect: Expect, name: &str) -> Vec<String> {
    let runtime = &forge.house.runtime;
    let state = State::in_memory().unwrap();
    let options = Options { data: Data::All, ..Options::default() };
    let report = runtime.block_on(checked(forge.store.clone(), &state, &options));
    let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
    let structure = runtime.block_on(checked(forge.store.clone(), &state, &Options::default()));
    structure.unwrap_or_else(|error| panic!("{name}: {error}"));
    let scrub = runtime.block_on(check::scrub(&forge.store, &Collect::default())).unwrap();
    assert!(scrub.problems.len() <= 1, "{name}: every object is sealed as it should be: {:?}", scrub.problems);
    if expect != Expect::Endless {
        runtime.block_on(async { tokio::time::timeout(DEADLINE, read_all(forge)).await.expect("it ends") });
    }
    report.problems.iter().map(|problem| format!("{}: {}", problem.object, problem.message)).collect()
}

/// Reads and restores every snapshot; nothing may be made outside of the target.
async fn read_all(forge: &Forge) {
    let scratch = tempfile::tempdir_in(forge.house.folder.path()).unwrap();
    let log = Log::read(&forge.house.repo).await.unwrap();
    let chunks = Chunks::new(&forge.house.repo, &ChunksOptions::default());
    for snapshot in log.snapshots() {
        let browse = Browse::open(&chunks, &log, snapshot);
        // Somebody who believes the count would never end.
        if snapshot.nodes <= 1 << 16 {
            read_snapshot(&browse).await;
        }
        let target = scratch.path().join("below/target");
        let options = restore::Options::default();
        let monitor = Collect::default();
        let restored = restore::restore(&browse, b"", &target, &options, &monitor).await;
        let _either_way_no_harm = restored;
        let around: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(around.iter().all(|name| name == "below"), "{around:?}");
        if let Ok(entries) = fs::read_dir(scratch.path().join("below")) {
            let beside: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            assert!(beside.iter().all(|name| name.to_string_lossy().contains("target")), "{beside:?}");
        }
    }
}

#[test]
fn who_has_the_password_and_means_harm_does_none() {
    let began = Instant::now();
    let all = [names(), metadata(), inner_pages(), contents(), packs(), records()].concat_cases();
    let (mut named, count) = (0, all.len());
    for (name, expect, make) in all {
        let mut forge = Forge::new();
        make(&mut forge);
        let told = face(&forge, expect, &name);
        match expect {
            Expect::Named => assert!(!told.is_empty(), "{name}: nothing is named"),
            _ => assert!(told.is_empty(), "{name}: {told:?}"),
        }
        named += usize::from(!told.is_empty());
        for line in told.iter().take(1) {
            println!("{name}: {line}");
        }
    }
    println!("{count} hostile repositories in {:?}: {named} named, none did harm", began.elapsed());
    assert!(count >= CASES_MIN);
}

trait ConcatCases {
    fn concat_cases(self) -> Vec<Case>;
}

impl<const N: usize> ConcatCases for [Vec<Case>; N] {
    fn concat_cases(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

/// Pages and packs that are small as they lie there and large in memory.
fn bombs(forge: &mut Forge) {
    // As many nodes as fit into a page.
    let short = |n: u32| inline(&[1 + (n >> 14) as u8, 128 + (n >> 7 & 127) as u8, 128 + (n & 127) as u8]);
    let many: Vec<Node> = (0..700_000).map(|n| Node { content: Content::Empty, ..short(n) }).collect();
    let root = forge.above(&[leaf(many, vec![])]);
    let nodes = forge.snapshot(root);
    // As many references as fit.
    let chunk = forge.chunk(&vec![0; 1 << 20]);
    let refs = tree(forge, &ExtentPage::Leaf(vec![Extent::Data(chunk); 400_000]), 400_000 << 20);
    let root = forge.above(&[leaf(vec![file(b"x", refs)], vec![])]);
    let extents = forge.snapshot(root);
    // Holes of one byte each: refused before they take any memory.
    let mut hashed = vec![0];
    hashed.put_varint((16 << 20) - 100);
    hashed.resize((16 << 20) - 90, 3);
    let page = forge.raw_page(ChunkKind::ExtentPage, &hashed, b"\0\0");
    let holes = Content::Extents { root: page, len: (16 << 20) - 100, data: 0 };
    let root = forge.above(&[leaf(vec![file(b"x", holes)], vec![])]);
    let holes = forge.snapshot(root);
    // Chunks that become a thousand times as long.
    for n in 0..40u8 {
        forge.chunk(&vec![n; 16 << 20]);
    }
    forge.store_all();
    for snapshot in [nodes, extents, holes] {
        forge.append(Event::Snapshot(Box::new(snapshot)), Vec::new());
    }
    // A pack of nothing but a directory.
    let pack = Pack::new(ObjectType::DataPack);
    forge.store_pack(&pack, &vec![0; 100 << 20]);
}

#[test]
fn bombs_do_not_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("repository");
    let mut forge = Forge::within(folder, open_store(&at));
    bombs(&mut forge);
    const MEASURE: &str = "import resource, subprocess, sys\n\
        code = subprocess.run(sys.argv[1:], stdout=sys.stderr, timeout=300).returncode\n\
        print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    for arguments in [&["check", "--read-data"][..], &["check", "--no-password"]] {
        let began = Instant::now();
        let mut command = Command::new("python3");
        command.args(["-c", MEASURE, env!("CARGO_BIN_EXE_bygone")]).args(arguments);
        command.env("BYGONE_REPOSITORY", &at).env("BYGONE_PASSWORD", "test").env("HOME", forge.house.folder.path());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut numbers = told.split_whitespace().map(|number| number.parse::<u64>().unwrap());
        let (code, kib) = (numbers.next().unwrap(), numbers.next().unwrap());
        println!("{arguments:?}: {} MiB in {:?}", kib >> 10, began.elapsed());
        assert_eq!(code, if arguments.len() == 2 && arguments[1] == "--read-data" { 4 } else { 0 }, "{said}");
        assert!(kib <= MEMORY_KIB_MAX, "{kib} KiB: {said}");
    }
}
