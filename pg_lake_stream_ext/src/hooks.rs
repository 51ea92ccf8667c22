//! PostgreSQL's hooks that the extension takes part in.
//!
//! Each hook function itself runs without a Rust guard and owns nothing, and passes on what is not about lake tables
//! without touching it: errors raised below it travel through unchanged, with all their fields.

pub mod drop;
pub mod executor_finish;
pub mod executor_start;
pub mod utility;

/// Installs all hooks; called once from `_PG_init`.
pub fn install() {
    drop::install();
    executor_finish::install();
    executor_start::install();
    utility::install();
}
