//! The thread of a session. Its queries run on it too, so that a small query costs no hand-over from thread to thread;
//! nobody else is kept waiting, since the thread's runtime knows only this one socket.

use std::io;
use std::sync::Arc;

use tokio::io::{ReadHalf, WriteHalf};

use crate::wire::client_socket::ClientSocket;
use crate::wire::reader::MessageReader;
use crate::wire::transport::Transport;

/// Stack of the thread; DuckDB's planner recurses over deep expressions.
const STACK_BYTES: usize = 4 << 20;

/// Moves a client from the runtime that has accepted it to a thread of its own, and runs `serve` there.
pub fn spawn<F, S>(reader: MessageReader, write: WriteHalf<Transport>, serve: S)
where
    F: Future<Output = ()>,
    S: FnOnce(MessageReader, WriteHalf<Transport>, Arc<ClientSocket>) -> F + Send + 'static,
{
    if let Err(error) = try_spawn(reader, write, serve) {
        tracing::error!(%error, "could not start a session");
    }
}

/// As [`spawn`]; a client that cannot be served is dropped.
fn try_spawn<F, S>(reader: MessageReader, write: WriteHalf<Transport>, serve: S) -> io::Result<()>
where
    F: Future<Output = ()>,
    S: FnOnce(MessageReader, WriteHalf<Transport>, Arc<ClientSocket>) -> F + Send + 'static,
{
    let (read, received) = reader.into_parts();
    let transport = ReadHalf::unsplit(read, write);
    let socket = Arc::new(ClientSocket::duplicate(&transport)?);
    let transport = transport.detach()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("session".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            runtime.block_on(async move {
                match transport.attach() {
                    Ok(transport) => {
                        let (read, write) = tokio::io::split(transport);
                        serve(MessageReader::resume(read, received), write, socket).await;
                    }
                    Err(error) => tracing::error!(%error, "could not start a session"),
                }
            });
        })?;
    Ok(())
}
