//! The few things a source asks of the operating system, by folder handle and name; one leaf file per system.
//! Calls only, no decisions: what an answer means is for the files above.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod xattr;

#[cfg(target_os = "linux")]
pub(super) use linux::Handle;
#[cfg(target_os = "linux")]
pub(super) use linux::bytes;
#[cfg(target_os = "linux")]
pub(super) use linux::files_max;
#[cfg(target_os = "linux")]
pub(super) use linux::folder_id;
#[cfg(target_os = "linux")]
pub(super) use linux::is_replaced;
#[cfg(target_os = "linux")]
pub(super) use linux::next_data;
#[cfg(target_os = "linux")]
pub(super) use linux::next_hole;
#[cfg(target_os = "linux")]
pub(super) use linux::open_below;
#[cfg(target_os = "linux")]
pub(super) use linux::open_file;
#[cfg(target_os = "linux")]
pub(super) use linux::open_folder;
#[cfg(target_os = "linux")]
pub(super) use linux::open_list;
#[cfg(target_os = "linux")]
pub(super) use linux::open_node;
#[cfg(target_os = "linux")]
pub(super) use linux::open_top;
#[cfg(target_os = "linux")]
pub(super) use linux::pseudo;
#[cfg(target_os = "linux")]
pub(super) use linux::read_at;
#[cfg(target_os = "linux")]
pub(super) use linux::read_link;
#[cfg(target_os = "linux")]
pub(super) use linux::read_names;
#[cfg(target_os = "linux")]
pub(super) use linux::stat;
#[cfg(target_os = "linux")]
pub(super) use linux::stat_handle;
#[cfg(target_os = "linux")]
pub(super) use linux::text;
#[cfg(target_os = "linux")]
pub(super) use linux::will_need;
#[cfg(target_os = "linux")]
pub(super) use xattr::file_xattrs;
#[cfg(target_os = "linux")]
pub(super) use xattr::xattrs;
