//! What hostile bytes are fed to: one function for each kind of thing that is read from a store or from a disk.
//!
//! Used twice: by the fuzz targets of this crate, and by `tests/it/fuzz_replay.rs` on every run of the gate. Each
//! function says whether the bytes were accepted; what is accepted must survive being written and read again.

#[path = "images.rs"]
pub(crate) mod images;

use bygone::chunker::Sizes;
use bygone::crypto::Keys;
use bygone::crypto::MasterKey;
use bygone::crypto::aead::Aead;
use bygone::crypto::password::Password;
use bygone::extent::ChunkKind;
use bygone::format::chunk;
use bygone::format::config::Config;
use bygone::format::disk::Disk;
use bygone::format::extents::ExtentPage;
use bygone::format::group;
use bygone::format::group::Group;
use bygone::format::index::Index;
use bygone::format::page::NodePage;
use bygone::format::record::Record;
use bygone::format::sealed;
use bygone::format::sealed::HEADER_BYTES;
use bygone::format::sealed::Header;
use bygone::format::sealed::ObjectType;
use bygone::format::sealed::SEGMENT_BYTES;
use bygone::format::slot;
use bygone::format::wire::Reader;
use bygone::id::ChunkId;
use bygone::id::ObjectId;
use bygone::id::RepositoryId;
use bygone::id::WriterId;
use bygone::tree::Loaded;

/// Takes bytes; true if they were accepted.
pub(crate) type Entry = fn(&[u8]) -> bool;

/// Every target and what it feeds.
pub(crate) const TARGETS: [(&str, Entry); 27] = [
    ("sealed", sealed_object),
    ("chunk", encoded_chunk),
    ("group", group),
    ("directory", pack_directory),
    ("config", config_object),
    ("slot", password_slot),
    ("node_page", node_page),
    ("extent_page", extent_page),
    ("index", index_payload),
    ("record", record_plain),
    ("disk", disk_description),
    ("ext", images::file_system),
    ("ntfs", images::file_system),
    ("fat", images::file_system),
    ("exfat", images::file_system),
    ("xfs", images::file_system),
    ("btrfs", images::file_system),
    ("iso", images::file_system),
    ("squash", images::file_system),
    ("qcow2", images::virtual_disk),
    ("vdi", images::virtual_disk),
    ("vhd", images::virtual_disk),
    ("vhdx", images::virtual_disk),
    ("vmdk", images::virtual_disk),
    ("table", images::partition_table),
    ("lvm", images::logical_volumes),
    ("luks", images::encrypted),
];

/// Feeds the target of this name.
pub(crate) fn run(name: &str, data: &[u8]) -> bool {
    let (_, entry) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    entry(data)
}

/// The keys that objects of the corpus are sealed under.
pub(crate) fn keys() -> Keys {
    Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]))
}

/// The sizes the corpus was made with, whatever new repositories get.
const SIZES: Sizes = Sizes { min: 64 << 10, avg: 256 << 10, max: 1 << 20 };
/// The config that slots of the corpus belong to.
pub(crate) fn config() -> Config {
    let repository = RepositoryId([7; 16]);
    Config { repository, sizes: SIZES, created_secs: 1_700_000_000, create_only: true }
}

/// The slot id and password of the corpus.
pub(crate) const SLOT: ObjectId = ObjectId([3; 16]);
/// See [`SLOT`].
pub(crate) const PASSWORD: &[u8] = b"fuzz";

fn open(object: &[u8]) -> bool {
    let types = [ObjectType::DataPack, ObjectType::MetaPack, ObjectType::Index, ObjectType::Record];
    types.into_iter().any(|object_type| {
        let Ok(opened) = sealed::open(&keys(), object_type, None, object) else { return false };
        let (payload, directory) = (opened.payload(), opened.directory());
        assert!(payload.len() + directory.len() <= object.len());
        let again = sealed::seal(&keys(), object_type, opened.header.object, payload, directory, 0);
        let read = sealed::open(&keys(), object_type, Some(opened.header.object), &again).expect("own object opens");
        assert!(read.payload() == payload && read.directory() == directory);
        true
    })
}

/// As it is; and once more as someone with the key could make it, so that mutations get behind the tags.
fn sealed_object(data: &[u8]) -> bool {
    let _damaged = sealed::check_sum(data);
    let plainly = open(data);
    let Ok(header) = Header::decode(data) else { return plainly };
    assert!(header.segments() > 0 && header.object_len() > header.plain_len);
    let range = header.segment_range(0..header.segments());
    assert!(range.start <= range.end && range.end < header.object_len());
    let mut object = data[..HEADER_BYTES].to_vec();
    let key = keys().object(header.object_type.byte(), header.object, &header.salt);
    object[80..112].copy_from_slice(&key.commitment);
    let mut plain = data[HEADER_BYTES..].to_vec();
    if header.plain_len > 1 << 20 {
        return plainly;
    }
    plain.resize(header.plain_len as usize, 0);
    let (aad, aead) = (*blake3::hash(&object).as_bytes(), Aead::new(&key.key));
    for (index, segment) in (0u64..).zip(plain.chunks(SEGMENT_BYTES)) {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&index.to_le_bytes());
        nonce[11] = u8::from(index + 1 == header.segments());
        let mut segment = segment.to_vec();
        let tag = aead.seal(nonce, &aad, &mut segment);
        object.extend_from_slice(&segment);
        object.extend_from_slice(&tag);
    }
    object.extend_from_slice(&[0; 32]);
    plainly | open(&object)
}

fn encoded_chunk(data: &[u8]) -> bool {
    let Ok(plain) = chunk::decode(data) else { return false };
    let mut again = Vec::new();
    chunk::encode(&plain, 1, &mut again).expect("what was a chunk can be one again");
    assert!(again.len() <= chunk::ENCODED_BYTES_MAX as usize);
    assert!(chunk::decode(&again).expect("own chunk decodes") == plain);
    true
}

/// Each member by the front of its id alone: nothing is found that the id does not confirm.
fn group(data: &[u8]) -> bool {
    let mut id = ChunkId([0; 32]);
    if let Some(mark) = data.get(6..10) {
        id.0[..4].copy_from_slice(mark);
    }
    let Ok(group) = Group::decode(data) else { return false };
    assert!(group.memory_bytes() <= 64 * data.len() + group::GROUP_BYTES_MAX as usize);
    assert!(group.take(&keys(), ChunkKind::Data, id, 1).is_err());
    true
}

/// Length of the payload as u32, then the directory.
fn pack_directory(data: &[u8]) -> bool {
    let Some((len, data)) = data.split_first_chunk() else { return false };
    let pack = ObjectId([9; 16]);
    let Ok(lines) = chunk::decode_directory(data, pack, u32::from_le_bytes(*len).into()) else { return false };
    assert!(chunk::encode_directory(&lines) == data, "a directory has one form");
    true
}

/// With its checksum put right, so that mutations get behind it.
fn with_checksum(data: &[u8]) -> Vec<u8> {
    let body = &data[..data.len().saturating_sub(32)];
    [body, blake3::hash(body).as_bytes()].concat()
}

fn config_object(data: &[u8]) -> bool {
    let _damaged = Config::decode(data);
    let right = with_checksum(data);
    let Ok(config) = Config::decode(&right) else { return false };
    assert!(config.encode() == right, "a config has one form");
    true
}

fn password_slot(data: &[u8]) -> bool {
    let password = Password::new(PASSWORD.to_vec());
    let _damaged = slot::unlock(&[], SLOT, &config(), &password);
    let right = with_checksum(data);
    // A cost within the ceilings is paid, by design; here only small ones are. What is above must be refused at once.
    let cost = |at: usize| right.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (memory, passes, lanes) = (cost(48), cost(52), cost(56));
    let allowed = memory <= 2 << 20 && passes <= 16 && lanes <= 16;
    if allowed && (memory > 256 || passes > 2) {
        return false;
    }
    matches!(slot::unlock(&right, SLOT, &config(), &password), Ok(slot::Unlocked::Key(..)))
}

/// Length of the hashed part as u32, then hashed part and hints.
fn split_page(data: &[u8]) -> Option<(u32, &[u8])> {
    let (len, plain) = data.split_first_chunk()?;
    Some((u32::from_le_bytes(*len), plain))
}

fn node_page(data: &[u8]) -> bool {
    let Some((len, plain)) = split_page(data) else { return false };
    let Ok(page) = NodePage::decode(plain, len) else { return false };
    let again = page.encode();
    let both = [&again.hashed[..], &again.hints].concat();
    let read = NodePage::decode(&both, again.hashed.len() as u32).expect("own page decodes");
    assert!(read == page);
    let (nodes, bytes) = (page.nodes(), page.bytes());
    assert!(nodes > 0 && bytes <= bygone::format::page::BYTES_MAX);
    assert!(Loaded::new(page).nodes() == nodes);
    true
}

fn extent_page(data: &[u8]) -> bool {
    let Some((len, plain)) = split_page(data) else { return false };
    let Ok(page) = ExtentPage::decode(plain, len) else { return false };
    let again = page.encode();
    assert!(again.hashed == plain[..len as usize], "a page of extents has one form");
    let both = [&again.hashed[..], &again.hints].concat();
    assert!(ExtentPage::decode(&both, len).expect("own page decodes") == page);
    assert!(page.len() <= bygone::format::extents::FILE_BYTES_MAX);
    true
}

fn index_payload(data: &[u8]) -> bool {
    let Ok(mut index) = Index::decode(data) else { return false };
    let mut again = Index::decode(&index.encode()).expect("own index decodes");
    // Lines of one chunk in two packs may change places.
    for index in [&mut index, &mut again] {
        index.chunks.sort_by_key(|l| (l.kind, l.chunk.id, l.chunk.hint.pack, l.chunk.hint.offset, l.chunk.hint.len));
    }
    assert!(again == index);
    true
}

/// The plaintext of a record; it is taken to stand where it says.
fn record_plain(data: &[u8]) -> bool {
    let mut r = Reader::new(data);
    let place = (|| Ok::<_, bygone::format::FormatError>((r.array("")?, r.array("")?, r.varint("")?)))();
    let Ok((repository, writer, seq)) = place else { return false };
    let (repository, writer) = (RepositoryId(repository), WriterId(writer));
    let len = (data.len() as u32).to_le_bytes();
    let payload = [&[0], &len[..], data].concat();
    let Ok(record) = Record::decode(&payload, repository, writer, seq) else { return false };
    let again = record.encode().expect("what was read can be written");
    assert!(Record::decode(&again, repository, writer, seq).expect("own record decodes") == record);
    true
}

fn disk_description(data: &[u8]) -> bool {
    let Ok(disk) = Disk::decode(data) else { return false };
    let again = disk.encode().expect("what was read can be written");
    assert!(Disk::decode(&again).expect("own description is read") == disk);
    true
}
