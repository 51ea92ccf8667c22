//! Waiting for a socket as a backend must: the latch, the socket and a timeout at once, and every interrupt served.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use pgrx::{check_for_interrupts, pg_sys};

/// What to wait for on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Data (or a hang-up) can be read.
    Readable,
    /// Bytes can be written, or data can be read: a peer that answers early must be heard while sending.
    ReadableOrWritable,
    /// Bytes can be written.
    Writable,
}

/// Waits until the socket is ready or `deadline` has passed; `false` means the deadline.
///
/// Cancel, statement timeout, termination and postmaster death act at once: they raise from here
/// (`WaitLatchOrSocket`, storage/ipc/latch.c; `CHECK_FOR_INTERRUPTS`, tcop/postgres.c).
pub fn wait_for_socket(socket: c_int, interest: Interest, deadline: Option<Instant>) -> bool {
    let wanted = match interest {
        Interest::Readable => pg_sys::WL_SOCKET_READABLE,
        Interest::Writable => pg_sys::WL_SOCKET_WRITEABLE,
        Interest::ReadableOrWritable => pg_sys::WL_SOCKET_READABLE | pg_sys::WL_SOCKET_WRITEABLE,
    };
    loop {
        let (timeout_flag, timeout_ms) = match deadline {
            None => (0, -1),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left == Duration::ZERO {
                    return false;
                }
                (
                    pg_sys::WL_TIMEOUT,
                    left.as_millis().clamp(1, i32::MAX as u128) as _,
                )
            }
        };
        // SAFETY: MyLatch is the backend's own latch, valid for its whole life; the socket is open (its owner is borrowed
        // by our caller).
        let events = unsafe {
            pg_sys::WaitLatchOrSocket(
                pg_sys::MyLatch,
                (wanted | timeout_flag | pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH)
                    as c_int,
                socket,
                timeout_ms,
                pg_sys::PG_WAIT_EXTENSION,
            )
        } as u32;
        if events & pg_sys::WL_LATCH_SET != 0 {
            // SAFETY: as above.
            unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
        }
        check_for_interrupts!();
        if events & wanted != 0 {
            return true;
        }
    }
}
