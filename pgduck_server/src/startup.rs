//! From an accepted socket to a session: negotiation of encryption, start-up packet, cancel requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, WriteHalf};

use crate::cancel::CurrentQuery;
use crate::errors::{ServerError, sqlstate};
use crate::server::Server;
use crate::session::Session;
use crate::session_thread;
use crate::wire::backend;
use crate::wire::client_socket::ClientSocket;
use crate::wire::frontend::StartupPacket;
use crate::wire::reader::{MessageReader, ReadError};
use crate::wire::transport::Transport;

/// How long a client may take to send its start-up packet.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How many requests for encryption a client may make; libpq makes two at most.
const MAX_ENCRYPTION_REQUESTS: usize = 4;

/// What we claim to be. Clients derive features of the dialect from the number; the original says the same.
const SERVER_VERSION: &str = "16.4.DuckPG";

/// Serves one client from its first byte to its last.
pub async fn serve(server: Arc<Server>, transport: Transport) {
    let (read, mut write) = tokio::io::split(transport);
    let mut reader = MessageReader::new(read);
    let started = tokio::time::timeout(STARTUP_TIMEOUT, negotiate(&mut reader, &mut write)).await;
    let parameters = match started {
        Ok(Ok(Negotiated::Session { minor, parameters })) => (minor, parameters),
        Ok(Ok(Negotiated::Cancel { pid, secret })) => {
            server.sessions.cancel(pid, &secret);
            return;
        }
        Ok(Ok(Negotiated::Gone)) | Err(_) => return,
        Ok(Err(error)) => return refuse(&mut write, &error).await,
    };
    let Ok(permit) = Arc::clone(&server.clients).try_acquire_owned() else {
        let error = ServerError::fatal(
            sqlstate::TOO_MANY_CONNECTIONS,
            "sorry, too many clients already",
        );
        return refuse(&mut write, &error).await;
    };
    session_thread::spawn(reader, write, move |reader, write, socket| async move {
        if let Err(error) = greet(server, reader, write, socket, parameters).await {
            tracing::debug!(%error, "start-up failed");
        }
        drop(permit);
    });
}

/// What a client wants.
enum Negotiated {
    /// A session.
    Session {
        minor: u16,
        parameters: Vec<(String, String)>,
    },
    /// To cancel a query.
    Cancel { pid: i32, secret: bytes::Bytes },
    /// Nothing any more.
    Gone,
}

/// Reads start-up packets until one says what the client wants.
async fn negotiate(
    reader: &mut MessageReader,
    write: &mut WriteHalf<Transport>,
) -> Result<Negotiated, ServerError> {
    for _ in 0..=MAX_ENCRYPTION_REQUESTS {
        let packet = match reader.startup_packet().await {
            Ok(Some(packet)) => packet,
            Ok(None) | Err(ReadError::Socket(_)) => return Ok(Negotiated::Gone),
            Err(ReadError::Protocol(error)) => return Err(error),
        };
        match StartupPacket::decode(packet)? {
            StartupPacket::SslRequest | StartupPacket::GssRequest => {
                if !reader.pending().is_empty() {
                    // Somebody has put plain text behind the request (CVE-2021-23214).
                    return Err(ServerError::protocol(
                        "received unencrypted data after an encryption request",
                    ));
                }
                if write.write_all(b"N").await.is_err() {
                    return Ok(Negotiated::Gone);
                }
            }
            StartupPacket::Cancel { pid, secret } => {
                return Ok(Negotiated::Cancel { pid, secret });
            }
            StartupPacket::Startup {
                major: 3,
                minor,
                parameters,
            } => {
                return Ok(Negotiated::Session { minor, parameters });
            }
            StartupPacket::Startup { major, minor, .. } => {
                return Err(ServerError::fatal(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    format!(
                        "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"
                    ),
                ));
            }
        }
    }
    Err(ServerError::protocol("too many encryption requests"))
}

/// Tells the client why there will be no session.
async fn refuse(write: &mut WriteHalf<Transport>, error: &ServerError) {
    let mut out = Vec::new();
    backend::error_response(&mut out, error);
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        let _ = write.write_all(&out).await;
        let _ = write.shutdown().await;
    })
    .await;
}

/// Opens the session and runs it.
async fn greet(
    server: Arc<Server>,
    reader: MessageReader,
    mut write: WriteHalf<Transport>,
    socket: Arc<ClientSocket>,
    (minor, parameters): (u16, Vec<(String, String)>),
) -> Result<(), ServerError> {
    let parameter = |name: &str| {
        parameters
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value.as_str())
    };
    if let Err(error) = check_encoding(parameter("client_encoding")) {
        refuse(&mut write, &error).await;
        return Err(error);
    }
    let current = Arc::new(CurrentQuery::default());
    let opened = server
        .sessions
        .register(Arc::clone(&current), Arc::clone(&socket))
        .map_err(|error| {
            ServerError::fatal(
                sqlstate::INTERNAL_ERROR,
                format!("could not make a key: {error}"),
            )
        });
    let opened = opened.and_then(|registration| {
        let connection = server
            .connect()
            .map_err(|error| ServerError::fatal(sqlstate::INTERNAL_ERROR, error.to_string()))?;
        Ok((registration, connection))
    });
    let (registration, connection) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            refuse(&mut write, &error).await;
            return Err(error);
        }
    };
    let mut session = Session::new(
        server,
        reader,
        write,
        socket,
        connection,
        current,
        registration,
    );
    let unknown: Vec<String> = parameters
        .iter()
        .filter(|(name, _)| name.starts_with("_pq_."))
        .map(|(name, _)| name.clone())
        .collect();
    if minor > 0 || !unknown.is_empty() {
        backend::negotiate_protocol_version(&mut session.out, 0, &unknown);
    }
    session.welcome(SERVER_VERSION, parameter("application_name"));
    session.run().await;
    Ok(())
}

/// Only UTF-8 is spoken; `SQL_ASCII` means that the client does not care.
fn check_encoding(name: &str) -> Result<(), ServerError> {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    match plain.as_str() {
        "" | "UTF8" | "UNICODE" | "SQLASCII" => Ok(()),
        _ => Err(ServerError::fatal(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("client encoding \"{name}\" is not supported"),
        )
        .with_hint("Set client_encoding to UTF8.")),
    }
}

#[cfg(test)]
mod tests {
    use super::check_encoding;

    #[test]
    fn only_utf8() {
        for name in ["", "UTF8", "utf-8", "'utf-8'", "unicode", "SQL_ASCII"] {
            assert!(check_encoding(name).is_ok(), "{name}");
        }
        assert!(check_encoding("LATIN1").is_err());
    }
}
