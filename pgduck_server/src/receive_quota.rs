//! How much RECEIVE streams may hold: `--recv_max_bytes` each, `--recv_total_max_bytes` all that are open together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::errors::{ServerError, sqlstate};

/// The limits, and what all open streams hold. A limit of zero is none.
#[derive(Debug)]
pub struct ReceiveLimits {
    each: u64,
    total: u64,
    held: AtomicU64,
}

impl ReceiveLimits {
    /// Limits in bytes.
    pub fn new(each: u64, total: u64) -> Arc<ReceiveLimits> {
        Arc::new(ReceiveLimits {
            each,
            total,
            held: AtomicU64::new(0),
        })
    }

    /// The share of a new stream.
    pub fn open_stream(self: &Arc<ReceiveLimits>) -> ReceiveShare {
        ReceiveShare {
            limits: Arc::clone(self),
            held: 0,
        }
    }
}

/// What one stream holds; given back when it is dropped.
#[derive(Debug)]
pub struct ReceiveShare {
    limits: Arc<ReceiveLimits>,
    held: u64,
}

impl ReceiveShare {
    /// The stream has grown to this many bytes.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), ServerError> {
        let more = bytes.saturating_sub(self.held);
        self.held += more;
        let all = self.limits.held.fetch_add(more, Ordering::Relaxed) + more;
        let exceeded = |what: &str, limit: u64, flag: &str| {
            Err(ServerError::new(
                sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
                format!("{what} the limit of {limit} bytes"),
            )
            .with_hint(format!("The limit is set by {flag} of pgduck_server.")))
        };
        if self.limits.each > 0 && self.held > self.limits.each {
            return exceeded(
                "RECEIVE stream exceeds",
                self.limits.each,
                "--recv_max_bytes",
            );
        }
        if self.limits.total > 0 && all > self.limits.total {
            return exceeded(
                "all RECEIVE streams together exceed",
                self.limits.total,
                "--recv_total_max_bytes",
            );
        }
        Ok(())
    }
}

impl Drop for ReceiveShare {
    fn drop(&mut self) {
        self.limits.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_limited_and_given_back() {
        let limits = ReceiveLimits::new(100, 150);
        let mut first = limits.open_stream();
        assert!(first.grow_to(100).is_ok());
        assert!(first.grow_to(101).is_err());
        let mut second = limits.open_stream();
        assert!(second.grow_to(40).is_ok());
        assert!(second.grow_to(60).is_err());
        drop(first);
        assert!(second.grow_to(90).is_ok());
        drop(second);
        assert_eq!(limits.held.load(Ordering::Relaxed), 0);
        assert!(
            ReceiveLimits::new(0, 0)
                .open_stream()
                .grow_to(u64::MAX)
                .is_ok()
        );
    }
}
