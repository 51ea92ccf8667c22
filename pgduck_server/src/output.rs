//! Encoded messages on their way from a query to the client. A small result leaves with the answer's end, in one piece.
//! Of a large one, a second thread sends what is encoded while the query's thread encodes on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use tokio::runtime::Handle;

use crate::errors::ServerError;
use crate::query_control::{AbortReason, QueryControl};
use crate::wire::client_socket::ClientSocket;

/// How many bytes are gathered before they are sent.
pub const BUFFER_BYTES: usize = 128 << 10;

/// How many such buffers may wait for the socket.
const BUFFERS_IN_FLIGHT: usize = 4;

/// Encoded messages on their way to the client.
#[derive(Debug)]
pub struct Output {
    buffer: Vec<u8>,
    client: Option<Client>,
}

/// Where full buffers go.
#[derive(Debug)]
struct Client {
    socket: Arc<ClientSocket>,
    threads: Handle,
    sender: Option<Sender>,
}

impl Output {
    /// An output that is sent while the query runs, `buffer` first.
    pub fn to_client(buffer: Vec<u8>, socket: Arc<ClientSocket>, threads: Handle) -> Output {
        Output {
            buffer,
            client: Some(Client {
                socket,
                threads,
                sender: None,
            }),
        }
    }

    /// An output that is kept until the query has ended.
    pub fn kept() -> Output {
        Output {
            buffer: Vec::new(),
            client: None,
        }
    }

    /// Where to append messages.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends the buffer if it is full; fails if the query is not wanted any more.
    pub fn pass_on(&mut self, control: &Arc<QueryControl>) -> Result<(), ServerError> {
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        let Some(client) = &mut self.client else {
            return Ok(());
        };
        if let Some(reason) = control.aborted() {
            return Err(reason.error());
        }
        let next = Vec::with_capacity(self.buffer.len() + BUFFER_BYTES / 4);
        let full = std::mem::replace(&mut self.buffer, next);
        let sender = client
            .sender
            .get_or_insert_with(|| Sender::start(&client.threads, &client.socket, control));
        sender.buffers.send(full).map_err(|unsent| {
            // The thread has panicked.
            self.buffer = unsent.0;
            AbortReason::Disconnected.error()
        })
    }

    /// What has not been sent. Of an aborted query it may begin in the middle of a message, and has to be sent.
    pub fn into_rest(self) -> Vec<u8> {
        let Some(Sender { buffers, unsent }) = self.client.and_then(|client| client.sender) else {
            return self.buffer;
        };
        drop(buffers);
        let mut rest = unsent.recv().unwrap_or_default();
        rest.extend_from_slice(&self.buffer);
        rest
    }
}

/// The thread that sends.
#[derive(Debug)]
struct Sender {
    buffers: SyncSender<Vec<u8>>,
    /// What it could not send, when `buffers` has been dropped.
    unsent: Receiver<Vec<u8>>,
}

impl Sender {
    fn start(threads: &Handle, socket: &Arc<ClientSocket>, control: &Arc<QueryControl>) -> Sender {
        let (buffers, full) = sync_channel::<Vec<u8>>(BUFFERS_IN_FLIGHT);
        let (rest, unsent) = channel();
        let (socket, control) = (Arc::clone(socket), Arc::clone(control));
        threads.spawn_blocking(move || {
            let mut left = Vec::new();
            // After an abort all that still comes is kept: the query may have been done with it before.
            for mut buffer in full {
                if left.is_empty() {
                    let _ = socket.send(&mut buffer, &control);
                    left = buffer;
                } else {
                    left.extend_from_slice(&buffer);
                }
            }
            let _ = rest.send(left);
        });
        Sender { buffers, unsent }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::duck::Database;

    /// Sends `total` bytes to a client that begins to read after a while, and aborts the query before that if asked to.
    /// Returns whether all went through the output, and whether the client has got every byte in the end.
    fn transfer(total: usize, abort: bool) -> (bool, bool) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = Arc::new(ClientSocket::duplicate(&ours).unwrap());
        let connection = Database::open(":memory:", &[]).unwrap().connect().unwrap();
        let control = QueryControl::new(connection.interrupter());
        let canceler = Arc::clone(&control);
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            if abort {
                canceler.abort(AbortReason::Canceled);
                std::thread::sleep(Duration::from_millis(100));
            }
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).unwrap();
            got
        });
        let mut output = Output::to_client(
            b"first".to_vec(),
            Arc::clone(&socket),
            runtime.handle().clone(),
        );
        let mut expected = b"first".to_vec();
        let mut passed = true;
        while expected.len() < total && passed {
            let piece: Vec<u8> = (0..50_000).map(|i| (i % 251) as u8).collect();
            output.buffer().extend_from_slice(&piece);
            expected.extend_from_slice(&piece);
            passed = output.pass_on(&control).is_ok();
        }
        let mut rest = output.into_rest();
        let control = QueryControl::new(connection.interrupter());
        socket.send(&mut rest, &control).unwrap();
        drop((socket, ours));
        (passed, reader.join().unwrap() == expected)
    }

    #[test]
    fn nothing_is_lost_on_the_way() {
        assert_eq!(transfer(100_000, false), (true, true));
        assert_eq!(transfer(5_000_000, false), (true, true));
    }

    #[test]
    fn an_abort_ends_the_transfer_between_two_messages() {
        assert_eq!(transfer(100_000_000, true), (false, true));
    }
}
