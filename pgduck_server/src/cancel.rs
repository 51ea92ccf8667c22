//! Who may be cancelled: the sessions by (process id, secret), and what each of them runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::query_control::{AbortReason, QueryControl};
use crate::sys;
use crate::wire::client_socket::ClientSocket;

/// What identifies a session to a CancelRequest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelKey {
    /// The number that the client believes to be a process id.
    pub pid: i32,
    /// The secret.
    pub secret: [u8; 4],
}

/// The query that a session runs, if it runs one.
#[derive(Debug, Default)]
pub struct CurrentQuery(Mutex<Option<Arc<QueryControl>>>);

impl CurrentQuery {
    /// Sets or clears the query.
    pub fn set(&self, query: Option<Arc<QueryControl>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = query;
    }

    /// Whether there is a query.
    fn is_some(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Aborts the query, if there is one.
    pub fn abort(&self, reason: AbortReason) {
        let query = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(query) = query {
            query.abort(reason);
        }
    }
}

#[derive(Debug)]
struct Entry {
    secret: [u8; 4],
    current: Arc<CurrentQuery>,
    socket: Arc<ClientSocket>,
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    entries: Mutex<HashMap<i32, Entry>>,
}

impl Sessions {
    /// Adds a session under a new key; it leaves when the registration is dropped.
    pub fn register(
        self: &Arc<Sessions>,
        current: Arc<CurrentQuery>,
        socket: Arc<ClientSocket>,
    ) -> std::io::Result<Registration> {
        let secret = sys::random_bytes::<4>()?;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = loop {
            let pid = i32::from_be_bytes(sys::random_bytes::<4>()?) & i32::MAX;
            if pid != 0 && !entries.contains_key(&pid) {
                break pid;
            }
        };
        let entry = Entry {
            secret,
            current,
            socket,
        };
        entries.insert(pid, entry);
        Ok(Registration {
            sessions: Arc::clone(self),
            key: CancelKey { pid, secret },
        })
    }

    /// Cancels what the session with this key runs. A wrong key does nothing, as the protocol wants it.
    pub fn cancel(&self, pid: i32, secret: &[u8]) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get(&pid) else {
            return;
        };
        // Constant time: every byte is compared.
        let difference = secret
            .iter()
            .zip(entry.secret)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        if secret.len() == entry.secret.len() && difference == 0 {
            entry.current.abort(AbortReason::Canceled);
        }
    }

    /// Aborts what every session runs.
    pub fn abort_all(&self, reason: &AbortReason) {
        for entry in self
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            entry.current.abort(reason.clone());
        }
    }

    /// Aborts queries whose client is gone. A session that runs a query does not look at its socket itself.
    pub fn abort_abandoned(&self) {
        for entry in self
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            if entry.current.is_some() && entry.socket.is_closed() {
                entry.current.abort(AbortReason::Disconnected);
            }
        }
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

/// A session's place among all sessions.
#[derive(Debug)]
pub struct Registration {
    sessions: Arc<Sessions>,
    /// The session's key.
    pub key: CancelKey,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key.pid);
    }
}
