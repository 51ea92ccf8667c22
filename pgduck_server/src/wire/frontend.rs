//! What clients send. Every length and count is checked against the bytes that are there.

use bytes::{Buf, Bytes};

use super::reader::RawMessage;
use crate::errors::{ServerError, sqlstate};

/// A prepared statement or a portal, by name; the empty name is the unnamed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A simple query.
    Query(String),
    /// Prepares a statement.
    Parse {
        name: String,
        query: String,
        parameter_oids: Vec<u32>,
    },
    /// Makes a portal.
    Bind(Bind),
    /// Asks for the shape of a statement or portal.
    Describe(Target),
    /// Runs a portal; 0 rows means all.
    Execute { portal: String, max_rows: u32 },
    /// Forgets a statement or portal.
    Close(Target),
    /// Asks for pending output.
    Flush,
    /// Ends a series of extended-protocol messages.
    Sync,
    /// Ends the session.
    Terminate,
    /// A piece of a COPY stream.
    CopyData(Bytes),
    /// The end of a COPY stream.
    CopyDone,
    /// The failure of a COPY stream.
    CopyFail(String),
    /// The fast-path function call, which is not supported.
    FunctionCall,
    /// A password, which nobody has asked for.
    Password,
}

/// Makes a portal out of a statement and values.
#[derive(Debug, PartialEq, Eq)]
pub struct Bind {
    /// Portal.
    pub portal: String,
    /// Statement.
    pub statement: String,
    /// Format codes of the parameters: none, one for all, or one each.
    pub parameter_formats: Vec<i16>,
    /// Values; `None` is NULL.
    pub parameters: Vec<Option<Bytes>>,
    /// Format codes of the result's columns: none, one for all, or one each.
    pub result_formats: Vec<i16>,
}

/// What a client asks for before it has a session.
#[derive(Debug, PartialEq, Eq)]
pub enum StartupPacket {
    /// Wants TLS.
    SslRequest,
    /// Wants GSSAPI encryption.
    GssRequest,
    /// Wants to cancel a query of another session.
    Cancel { pid: i32, secret: Bytes },
    /// Wants a session: protocol version, and parameters in the order sent.
    Startup {
        major: u16,
        minor: u16,
        parameters: Vec<(String, String)>,
    },
}

impl StartupPacket {
    /// Decodes a startup packet's body.
    pub fn decode(body: Bytes) -> Result<StartupPacket, ServerError> {
        let mut fields = Fields::new(body, "startup packet");
        let (major, minor) = (fields.u16()?, fields.u16()?);
        match (major, minor) {
            (1234, 5678) => {
                let pid = fields.u32()? as i32;
                Ok(StartupPacket::Cancel {
                    pid,
                    secret: fields.rest(),
                })
            }
            (1234, 5679) => Ok(StartupPacket::SslRequest),
            (1234, 5680) => Ok(StartupPacket::GssRequest),
            _ => {
                let mut parameters = Vec::new();
                loop {
                    let name = fields.text()?;
                    if name.is_empty() {
                        break;
                    }
                    parameters.push((name, fields.text()?));
                }
                Ok(StartupPacket::Startup {
                    major,
                    minor,
                    parameters,
                })
            }
        }
    }
}

impl Message {
    /// Decodes a message.
    pub fn decode(raw: RawMessage) -> Result<Message, ServerError> {
        let (kind, name) = match raw.kind {
            b'Q' => ('Q', "Query"),
            b'P' => ('P', "Parse"),
            b'B' => ('B', "Bind"),
            b'D' => ('D', "Describe"),
            b'E' => ('E', "Execute"),
            b'C' => ('C', "Close"),
            b'f' => ('f', "CopyFail"),
            b'd' => return Ok(Message::CopyData(raw.body)),
            b'c' => return Ok(Message::CopyDone),
            b'H' => return Ok(Message::Flush),
            b'S' => return Ok(Message::Sync),
            b'X' => return Ok(Message::Terminate),
            b'F' => return Ok(Message::FunctionCall),
            b'p' => return Ok(Message::Password),
            other => {
                return Err(ServerError::protocol(format!(
                    "invalid frontend message type {other}"
                )));
            }
        };
        let mut fields = Fields::new(raw.body, name);
        let message = match kind {
            'Q' => Message::Query(fields.text()?),
            'P' => {
                let (name, query) = (fields.text()?, fields.text()?);
                let count = fields.u16()?;
                let parameter_oids = (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?;
                Message::Parse {
                    name,
                    query,
                    parameter_oids,
                }
            }
            'B' => Message::Bind(fields.bind()?),
            'D' => Message::Describe(fields.target()?),
            'E' => {
                let portal = fields.text()?;
                // A negative number means no limit, as zero does.
                let max_rows = u32::try_from(fields.u32()? as i32).unwrap_or(0);
                Message::Execute { portal, max_rows }
            }
            'C' => Message::Close(fields.target()?),
            _ => Message::CopyFail(fields.text()?),
        };
        fields.end()?;
        Ok(message)
    }
}

/// Reads the fields of a message.
struct Fields {
    body: Bytes,
    message: &'static str,
}

impl Fields {
    /// The fields of this body.
    fn new(body: Bytes, message: &'static str) -> Fields {
        Fields { body, message }
    }

    /// The error of a message that is shorter than it says.
    fn too_short(&self) -> ServerError {
        ServerError::protocol(format!("insufficient data left in {}", self.message))
    }

    /// A 16-bit number.
    fn u16(&mut self) -> Result<u16, ServerError> {
        self.body.try_get_u16().map_err(|_| self.too_short())
    }

    /// A 32-bit number.
    fn u32(&mut self) -> Result<u32, ServerError> {
        self.body.try_get_u32().map_err(|_| self.too_short())
    }

    /// A number of bytes.
    fn bytes(&mut self, count: usize) -> Result<Bytes, ServerError> {
        if self.body.len() < count {
            return Err(self.too_short());
        }
        Ok(self.body.split_to(count))
    }

    /// A NUL-terminated string.
    fn text(&mut self) -> Result<String, ServerError> {
        let end = self
            .body
            .iter()
            .position(|&b| b == 0)
            .ok_or_else(|| self.too_short())?;
        let text = self.body.split_to(end);
        self.body.advance(1);
        String::from_utf8(text.into()).map_err(|_| {
            ServerError::new(
                sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
                "invalid byte sequence for encoding \"UTF8\"",
            )
        })
    }

    /// `S` or `P` and a name.
    fn target(&mut self) -> Result<Target, ServerError> {
        let kind = self.bytes(1)?[0];
        let name = self.text()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            other => Err(ServerError::protocol(format!(
                "invalid {} message subtype {other}",
                self.message
            ))),
        }
    }

    /// A list of format codes.
    fn formats(&mut self) -> Result<Vec<i16>, ServerError> {
        let count = self.u16()?;
        (0..count)
            .map(|_| self.u16().map(|code| code as i16))
            .collect()
    }

    /// The body of a Bind message.
    fn bind(&mut self) -> Result<Bind, ServerError> {
        let (portal, statement) = (self.text()?, self.text()?);
        let parameter_formats = self.formats()?;
        let count = self.u16()?;
        let mut parameters = Vec::new();
        for _ in 0..count {
            let length = self.u32()? as i32;
            parameters.push(match usize::try_from(length) {
                Ok(length) => Some(self.bytes(length)?),
                Err(_) if length == -1 => None,
                Err(_) => return Err(self.too_short()),
            });
        }
        let result_formats = self.formats()?;
        Ok(Bind {
            portal,
            statement,
            parameter_formats,
            parameters,
            result_formats,
        })
    }

    /// All that is left.
    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.body)
    }

    /// Checks that nothing is left.
    fn end(self) -> Result<(), ServerError> {
        if self.body.is_empty() {
            Ok(())
        } else {
            Err(ServerError::protocol(format!(
                "invalid message format in {}",
                self.message
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(kind: u8, body: &[u8]) -> Result<Message, ServerError> {
        Message::decode(RawMessage {
            kind,
            body: Bytes::copy_from_slice(body),
        })
    }

    #[test]
    fn well_formed_messages() {
        assert_eq!(
            decode(b'Q', b"SELECT 1\0").unwrap(),
            Message::Query("SELECT 1".into())
        );
        assert_eq!(
            decode(b'P', b"s\0q\0\0\x01\0\0\0\x17").unwrap(),
            Message::Parse {
                name: "s".into(),
                query: "q".into(),
                parameter_oids: vec![23]
            }
        );
        let Message::Bind(bind) = decode(
            b'B',
            b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\x01",
        )
        .unwrap() else {
            panic!("not a Bind");
        };
        assert_eq!(bind.parameters, [Some(Bytes::from_static(b"ab")), None]);
        assert_eq!(bind.result_formats, [1]);
    }

    #[test]
    fn every_truncation_and_excess_is_a_protocol_error() {
        let whole: &[(u8, &[u8])] = &[
            (b'Q', b"SELECT 1\0"),
            (b'P', b"s\0q\0\0\x01\0\0\0\x17"),
            (
                b'B',
                b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\x01",
            ),
            (b'D', b"Sx\0"),
            (b'E', b"p\0\0\0\0\x05"),
            (b'C', b"Px\0"),
        ];
        for (kind, body) in whole {
            for length in 0..body.len() {
                assert!(decode(*kind, &body[..length]).is_err(), "{kind} {length}");
            }
            assert!(decode(*kind, &[body, b"x".as_slice()].concat()).is_err());
        }
        assert!(decode(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xffab\0\0").is_err());
        assert!(decode(b'Q', b"\xff\0").is_err());
    }

    #[test]
    fn startup_packets() {
        let packet = |body: &[u8]| StartupPacket::decode(Bytes::copy_from_slice(body));
        assert_eq!(packet(b"\x04\xd2\x16\x2f"), Ok(StartupPacket::SslRequest));
        assert_eq!(
            packet(b"\0\x03\0\0user\0me\0\0"),
            Ok(StartupPacket::Startup {
                major: 3,
                minor: 0,
                parameters: vec![("user".into(), "me".into())]
            })
        );
        assert!(packet(b"\0\x03\0\0user\0me\0").is_err());
        assert!(packet(b"\0\x03").is_err());
    }
}
