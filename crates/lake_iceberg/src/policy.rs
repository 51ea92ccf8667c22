//! How a table's metadata is kept small.

/// How a table's metadata is kept small.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Manifests of one content are merged when there are at least so many that are smaller than
    /// [`Policy::target_manifest_bytes`]; 0 or 1 is never.
    ///
    /// Of these a manifest that is more than twice as large as all smaller ones together waits, so
    /// that merging costs no more than a multiple of the bytes that are written anyway, which grows
    /// with the logarithm of the table's size.
    pub manifest_min_count_to_merge: usize,
    /// A manifest of at least this size, in bytes, is not merged any more.
    ///
    /// Manifests of delete files are full at 56 KiB already: a delete file is soon replaced by a larger
    /// one, and with it its manifest, which a process keeps in memory up to 64 KiB.
    pub target_manifest_bytes: u64,
    /// Which snapshots stay.
    pub retention: Retention,
}

impl Policy {
    /// Manifests are never merged, and snapshots stay for ever.
    pub const KEEP_EVERYTHING: Self = Self {
        manifest_min_count_to_merge: 0,
        target_manifest_bytes: 8 * 1024 * 1024,
        retention: Retention {
            max_snapshot_age_ms: i64::MAX,
            max_snapshots: usize::MAX,
            when: ExpireWhen::Excess,
        },
    };
}

/// Which snapshots stay in metadata.json. The current one and those that a branch or a tag points
/// to stay in any case.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// A snapshot of this age, in milliseconds, goes; 0 is every snapshot but the current one.
    pub max_snapshot_age_ms: i64,
    /// Number of snapshots, the newest ones, that stay at most.
    pub max_snapshots: usize,
    /// When the others are removed.
    pub when: ExpireWhen,
}

/// When snapshots that need not stay are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpireWhen {
    /// Only when there are a quarter more than [`Retention::max_snapshots`], so that few commits do
    /// all the work; or when [`Retention::max_snapshot_age_ms`] is 0.
    Excess,
    /// At once.
    Always,
}
