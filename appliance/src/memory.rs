//! How the C library's allocator treats memory that was freed.

use std::hint::black_box;

/// What glibc maps on its own once [`tune`] was called, in bytes; of free memory it keeps twice that per arena.
const MAPPED_BYTES: usize = 1024 * 1024;

/// Lets the allocator keep a little free memory instead of giving it back and asking for it again with every message.
///
/// glibc begins by trimming an arena whenever 128 KiB at its end are free. SQLite takes and frees about as much for the
/// savepoint of each command and for each statement that returns rows: a dozen page faults per message sent. Freeing a
/// piece that was mapped on its own raises that threshold to twice the piece's size (mallopt(3), `M_MMAP_THRESHOLD`).
pub fn tune() {
    drop(black_box(Vec::<u8>::with_capacity(MAPPED_BYTES)));
}
