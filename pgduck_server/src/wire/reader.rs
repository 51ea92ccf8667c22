//! De-framing: whole messages out of a buffer that grows with what the socket delivers.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, ReadHalf};

use super::transport::Transport;
use crate::errors::ServerError;

/// Longest startup packet, as in PostgreSQL (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_STARTUP_BYTES: usize = 10_000;

/// Longest message of any other kind, as in PostgreSQL (`PQ_LARGE_MESSAGE_LIMIT`).
const MAX_MESSAGE_BYTES: usize = 0x3fff_ffff;

/// Longest message of a kind that is always short, as in PostgreSQL (`PQ_SMALL_MESSAGE_LIMIT`).
const MAX_SMALL_MESSAGE_BYTES: usize = 10_000;

/// How much is asked of the socket at once.
const READ_BYTES: usize = 256 << 10;

/// How far the reader reads ahead while the session is busy.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// Bytes of type and length in front of a message's body.
pub const HEADER_BYTES: usize = 5;

/// A message as it came: its type byte and its body.
#[derive(Debug)]
pub struct RawMessage {
    /// Type byte.
    pub kind: u8,
    /// Body, without type and length.
    pub body: Bytes,
}

/// Reads messages from a socket.
#[derive(Debug)]
pub struct MessageReader {
    half: ReadHalf<Transport>,
    buffer: BytesMut,
    ended: bool,
    /// Bytes of an abandoned message that are to be dropped when they come.
    skip: usize,
}

impl MessageReader {
    /// A reader of this half of a socket.
    pub fn new(half: ReadHalf<Transport>) -> MessageReader {
        MessageReader {
            half,
            buffer: BytesMut::new(),
            ended: false,
            skip: 0,
        }
    }

    /// The reader in parts: its half of the socket, and the bytes that came and were not taken yet.
    pub fn into_parts(self) -> (ReadHalf<Transport>, BytesMut) {
        (self.half, self.buffer)
    }

    /// A reader that goes on with the bytes of [`MessageReader::into_parts`].
    pub fn resume(half: ReadHalf<Transport>, buffer: BytesMut) -> MessageReader {
        MessageReader {
            buffer,
            ..MessageReader::new(half)
        }
    }

    /// Whether there is room to read ahead while the session does something else.
    pub fn may_read_ahead(&self) -> bool {
        !self.ended && self.buffer.len() < READ_AHEAD_BYTES
    }

    /// Bytes that came and were not taken yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops bytes from the front of [`MessageReader::pending`].
    pub fn consume(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
    }

    /// Drops this many bytes that are still to come: the rest of a message that nobody wants.
    pub fn skip(&mut self, bytes: usize) {
        self.skip += bytes;
    }

    /// Reads what the socket has; false at its end. May be dropped at any point without loss.
    pub async fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
            self.buffer.reserve(READ_BYTES);
        }
        let read = self.half.read_buf(&mut self.buffer).await?;
        self.ended |= read == 0;
        Ok(read > 0)
    }

    /// The startup packet's body (without its length); `None` if the peer went away first.
    pub async fn startup_packet(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(length) = self.buffer.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if !(8..=MAX_STARTUP_BYTES).contains(&length) {
                    return Err(ServerError::protocol("invalid length of startup packet").into());
                }
                if self.buffer.len() >= length {
                    let mut packet = self.buffer.split_to(length);
                    packet.advance(4);
                    return Ok(Some(packet.freeze()));
                }
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next message; `None` if the peer went away.
    pub async fn message(&mut self) -> Result<Option<RawMessage>, ReadError> {
        loop {
            if let Some(message) = self.buffered_message()? {
                return Ok(Some(message));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next message, if it is there in full.
    pub fn buffered_message(&mut self) -> Result<Option<RawMessage>, ServerError> {
        let dropped = self.skip.min(self.buffer.len());
        self.buffer.advance(dropped);
        self.skip -= dropped;
        let Some((kind, length)) = header(&self.buffer)? else {
            return Ok(None);
        };
        let total = 1 + length;
        if self.buffer.len() < total {
            self.buffer.reserve(total - self.buffer.len());
            return Ok(None);
        }
        let mut message = self.buffer.split_to(total);
        message.advance(HEADER_BYTES);
        if self.buffer.is_empty() && self.buffer.capacity() > 4 * READ_BYTES {
            // A single large message must not pin its memory for the life of the session.
            self.buffer = BytesMut::new();
        }
        Ok(Some(RawMessage {
            kind,
            body: message.freeze(),
        }))
    }
}

/// Type and length (which counts itself, not the type) of the message that the bytes begin with, checked.
pub fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, ServerError> {
    let Some(&[kind, a, b, c, d]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let limit = match kind {
        b'Q' | b'P' | b'B' | b'F' | b'd' | b'f' => MAX_MESSAGE_BYTES,
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'p' => MAX_SMALL_MESSAGE_BYTES,
        other => {
            return Err(ServerError::protocol(format!(
                "invalid frontend message type {other}"
            )));
        }
    };
    if !(4..=limit).contains(&length) {
        return Err(ServerError::protocol(format!(
            "invalid length {length} of a message of type {:?}",
            char::from(kind)
        )));
    }
    Ok(Some((kind, length)))
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// What came is not the protocol.
    #[error(transparent)]
    Protocol(#[from] ServerError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded_by_kind() {
        assert!(matches!(header(b"Q\0\0\0"), Ok(None)));
        assert!(matches!(header(b"Q\0\0\0\x08rest"), Ok(Some((b'Q', 8)))));
        assert!(header(b"Q\0\0\0\x03").is_err());
        assert!(header(b"S\0\0\x80\0").is_err());
        assert!(header(b"Q\xff\xff\xff\xff").is_err());
        assert!(header(b"?\0\0\0\x04").is_err());
    }
}
