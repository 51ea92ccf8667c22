//! A session's socket as seen by a thread that is busy with a query, and by those who watch it meanwhile.
//!
//! It is a duplicate of the descriptor that the session reads and writes through tokio; sending here does not disturb
//! that, since tokio tries a call before it waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::query_control::{AbortReason, QueryControl};
use crate::sys;

/// How long a thread waits for a client that does not read, before it looks whether its query is still wanted.
const STEP: Duration = Duration::from_millis(20);

/// A duplicate of a connected socket.
#[derive(Debug)]
pub struct ClientSocket(OwnedFd);

impl ClientSocket {
    /// Duplicates a socket that does not block.
    pub fn duplicate(socket: &impl AsFd) -> io::Result<ClientSocket> {
        Ok(ClientSocket(socket.as_fd().try_clone_to_owned()?))
    }

    /// Sends everything, waiting for the client as long as the query is wanted. What was sent is taken out of
    /// `bytes`, also when the query is aborted: what is left begins in the middle of a message, and has to be sent
    /// before anything else.
    pub fn send(&self, bytes: &mut Vec<u8>, control: &QueryControl) -> Result<(), AbortReason> {
        let mut sent = 0;
        let result = loop {
            if let Some(reason) = control.aborted() {
                break Err(reason);
            }
            if sent == bytes.len() {
                break Ok(());
            }
            match sys::send(&self.0, &bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sys::wait_until_writable(&self.0, STEP);
                }
                Err(_) => control.abort(AbortReason::Disconnected),
            }
        };
        bytes.drain(..sent);
        result
    }

    /// Whether the client has closed the connection, or its end of it.
    pub fn is_closed(&self) -> bool {
        sys::peer_has_closed(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::duck::Database;

    fn pair() -> (ClientSocket, UnixStream, Arc<QueryControl>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let connection = Database::open(":memory:", &[]).unwrap().connect().unwrap();
        let control = QueryControl::new(connection.interrupter());
        (ClientSocket::duplicate(&ours).unwrap(), theirs, control)
    }

    #[test]
    fn all_is_sent_to_a_slow_reader() {
        let (socket, mut theirs, control) = pair();
        let all: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
        let mut left = all.clone();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).unwrap();
            got
        });
        socket.send(&mut left, &control).unwrap();
        assert!(left.is_empty());
        drop(socket);
        assert!(reader.join().unwrap() == all);
    }

    #[test]
    fn an_abort_ends_the_wait_for_a_client_that_does_not_read() {
        let (socket, mut theirs, control) = pair();
        let all: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
        let mut left = all.clone();
        let canceler = Arc::clone(&control);
        let started = Instant::now();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            canceler.abort(AbortReason::Canceled);
        });
        assert_eq!(socket.send(&mut left, &control), Err(AbortReason::Canceled));
        assert!(started.elapsed() < Duration::from_secs(2));
        drop(socket);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        got.extend(left);
        assert!(got == all, "nothing is lost, nothing comes twice");
    }

    #[test]
    fn a_client_that_is_gone_is_noticed() {
        let (socket, theirs, control) = pair();
        assert!(!socket.is_closed());
        drop(theirs);
        assert!(socket.is_closed());
        assert_eq!(
            socket.send(&mut vec![0; 10], &control),
            Err(AbortReason::Disconnected)
        );
    }
}
