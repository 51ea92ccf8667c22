//! What happens between a transaction's last statement and PostgreSQL's COMMIT.

pub mod metadata_cache;
pub mod pre_commit;
pub mod transaction;
pub mod upload;
