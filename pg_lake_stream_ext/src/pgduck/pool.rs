//! The backend's idle connections to pgduck_server.
//!
//! A connection is taken out for one piece of work and comes back when it is dropped, if it is idle then; one that is
//! dropped in the middle of something (an error unwinds) is closed instead.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use crate::error::Result;
use crate::guc;
use crate::pgduck::connection::Connection;

/// More idle connections than this are closed: a commit uploads on a few, the rest were a burst.
const MAX_IDLE: usize = 4;

thread_local! {
    static IDLE: RefCell<Idle> = const { RefCell::new(Idle { conninfo: String::new(), connections: Vec::new() }) };
}

/// Idle connections, all opened with the same connection string.
struct Idle {
    conninfo: String,
    connections: Vec<Connection>,
}

/// A connection in use; goes back to the pool when dropped idle.
pub struct PooledConnection {
    connection: Option<Connection>,
    conninfo: String,
}

/// Takes an idle connection, or opens one to `pg_lake_engine.host`.
///
/// A connection that was lost while idle is replaced silently; a changed setting takes effect here.
pub fn acquire() -> Result<PooledConnection> {
    let conninfo = guc::host();
    let idle = IDLE.with_borrow_mut(|idle| {
        if idle.conninfo != conninfo {
            idle.connections.clear();
            idle.conninfo.clone_from(&conninfo);
        }
        while let Some(connection) = idle.connections.pop() {
            if connection.is_reusable() {
                return Some(connection);
            }
        }
        None
    });
    let connection = match idle {
        Some(connection) => connection,
        None => Connection::open(&conninfo)?,
    };
    Ok(PooledConnection {
        connection: Some(connection),
        conninfo,
    })
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("held until drop")
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("held until drop")
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        // While the thread ends the pool is gone already; the connection then just closes.
        let _ = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            let fits = idle.conninfo == self.conninfo && idle.connections.len() < MAX_IDLE;
            if fits && connection.is_reusable() {
                idle.connections.push(connection);
            }
        });
    }
}
