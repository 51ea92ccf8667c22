//! What keeps tables fast and locations clean: `VACUUM`, and the background workers that run it.
//!
//! Each step is a transaction of its own, beside readers and INSERTs. Compaction takes turns with UPDATE and DELETE.

pub mod compaction;
pub mod deletion_queue;
pub mod in_progress;
pub mod launcher;
pub mod own_transaction;
pub mod vacuum;
pub mod worker;
