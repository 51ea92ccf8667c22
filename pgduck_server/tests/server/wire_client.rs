//! A small client of the wire protocol, in which every byte can be said on purpose.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A message of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its type.
    pub kind: char,
    /// Its body.
    pub body: Vec<u8>,
}

/// An error of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct WireError {
    /// Severity.
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// Primary message.
    pub message: String,
    /// Detail.
    pub detail: Option<String>,
    /// Hint.
    pub hint: Option<String>,
}

/// What a query came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Names, type OIDs and formats of the columns.
    pub columns: Vec<(String, u32, i16)>,
    /// Rows.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// Command tags.
    pub tags: Vec<String>,
    /// Errors.
    pub errors: Vec<WireError>,
    /// Data of COPY OUT.
    pub copy_out: Vec<u8>,
    /// Types of all messages, in order, each run of the same type once.
    pub kinds: String,
    /// Status in ReadyForQuery.
    pub status: char,
}

impl Outcome {
    /// A value as text.
    pub fn text(&self, row: usize, column: usize) -> &str {
        std::str::from_utf8(self.rows[row][column].as_deref().unwrap()).unwrap()
    }

    /// The only error.
    pub fn error(&self) -> &WireError {
        assert_eq!(self.errors.len(), 1, "{self:?}");
        &self.errors[0]
    }

    /// The outcome, which must be without error.
    pub fn ok(self) -> Outcome {
        assert!(self.errors.is_empty(), "{:?}", self.errors);
        self
    }
}

/// A session.
pub struct Client {
    /// The socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
    port: u16,
    /// What ParameterStatus said.
    pub parameters: Vec<(String, String)>,
    key: Vec<u8>,
}

impl Client {
    /// Opens a session.
    pub fn connect(port: u16) -> Client {
        let mut client = Client::raw(port);
        client.send_startup(&[("user", "test"), ("database", "test")]);
        loop {
            let reply = client.reply().expect("no session");
            match reply.kind {
                'S' => {
                    let mut texts = reply.body.split(|&b| b == 0);
                    let name = String::from_utf8_lossy(texts.next().unwrap()).into_owned();
                    let value = String::from_utf8_lossy(texts.next().unwrap()).into_owned();
                    client.parameters.push((name, value));
                }
                'K' => client.key = reply.body,
                'Z' => return client,
                'R' => {}
                _ => panic!("unexpected {reply:?}"),
            }
        }
    }

    /// Opens a socket and says nothing.
    pub fn raw(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Client {
            stream,
            buffer: Vec::new(),
            port,
            parameters: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Sends a start-up packet of protocol 3.0.
    pub fn send_startup(&mut self, parameters: &[(&str, &str)]) {
        let mut body = 196_608u32.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        self.send_bytes(&(body.len() as u32 + 4).to_be_bytes());
        self.send_bytes(&body);
    }

    /// Sends bytes as they are; a closed socket shows when reading.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a message.
    pub fn send(&mut self, kind: char, body: &[u8]) {
        self.send_bytes(&message(kind, body));
    }

    /// The next message; `None` if the server has closed the connection.
    pub fn reply(&mut self) -> Option<Reply> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() > length {
                    let reply = Reply {
                        kind: char::from(self.buffer[0]),
                        body: self.buffer[5..=length].to_vec(),
                    };
                    self.buffer.drain(..=length);
                    return Some(reply);
                }
            }
            let mut piece = vec![0; 1 << 18];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the server says nothing: {error}"),
            }
        }
    }

    /// Reads up to ReadyForQuery.
    pub fn outcome(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let reply = self.reply().expect("the server has closed the connection");
            if !outcome.kinds.ends_with(reply.kind) {
                outcome.kinds.push(reply.kind);
            }
            match reply.kind {
                'T' => outcome.columns = row_description(&reply.body),
                'D' => outcome.rows.push(data_row(&reply.body)),
                'C' => outcome.tags.push(text(&reply.body)),
                'E' => outcome.errors.push(wire_error(&reply.body)),
                'd' => outcome.copy_out.extend_from_slice(&reply.body),
                'Z' => {
                    outcome.status = char::from(reply.body[0]);
                    return outcome;
                }
                _ => {}
            }
        }
    }

    /// Sends a simple query.
    pub fn send_query(&mut self, sql: &str) {
        self.send('Q', &[sql.as_bytes(), b"\0"].concat());
    }

    /// Runs a simple query.
    pub fn query(&mut self, sql: &str) -> Outcome {
        self.send_query(sql);
        self.outcome()
    }

    /// Runs a simple query that must succeed, and returns its first value as text.
    pub fn value(&mut self, sql: &str) -> String {
        self.query(sql).ok().text(0, 0).to_owned()
    }

    /// Sends Parse, Bind, Describe, Execute for a query without parameters; no Sync.
    pub fn send_extended(&mut self, sql: &str, binary: bool, max_rows: u32) {
        self.send('P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat());
        self.send('B', &[0, 0, 0, 0, 0, 0, 0, 1, 0, u8::from(binary)]);
        self.send('D', b"P\0");
        self.send('E', &[b"\0", max_rows.to_be_bytes().as_slice()].concat());
    }

    /// Runs a query through the extended protocol.
    pub fn extended(&mut self, sql: &str, binary: bool) -> Outcome {
        self.send_extended(sql, binary, 0);
        self.send('S', b"");
        self.outcome()
    }

    /// Begins a RECEIVE; the server must ask for data.
    pub fn begin_receive(&mut self, sql: &str) {
        self.send_query(sql);
        let reply = self.reply().unwrap();
        assert_eq!(reply.kind, 'G', "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.body, [0, 0, 0]);
    }

    /// Sends data in CopyData messages of this size.
    pub fn send_copy_data(&mut self, data: &[u8], size: usize) {
        let mut out = Vec::with_capacity(1 << 20);
        for piece in data.chunks(size) {
            out.extend_from_slice(&message('d', piece));
            if out.len() > 1 << 19 {
                self.send_bytes(&out);
                out.clear();
            }
        }
        self.send_bytes(&out);
    }

    /// Runs a RECEIVE to its end.
    pub fn receive(&mut self, sql: &str, data: &[u8]) -> Outcome {
        self.begin_receive(sql);
        self.send_copy_data(data, 65_536);
        self.send('c', b"");
        self.outcome()
    }

    /// Sends a CancelRequest for this session.
    pub fn cancel(&self) {
        let mut other = Client::raw(self.port);
        let body = [&80_877_102u32.to_be_bytes(), self.key.as_slice()].concat();
        other.send_bytes(&(body.len() as u32 + 4).to_be_bytes());
        other.send_bytes(&body);
        assert!(other.reply().is_none());
    }

    /// A CancelRequest with a wrong secret.
    pub fn cancel_with_wrong_secret(&self) {
        let mut other = Client::raw(self.port);
        let mut key = self.key.clone();
        key[7] ^= 1;
        let body = [&80_877_102u32.to_be_bytes(), key.as_slice()].concat();
        other.send_bytes(&(body.len() as u32 + 4).to_be_bytes());
        other.send_bytes(&body);
        assert!(other.reply().is_none());
    }
}

/// A message's bytes.
pub fn message(kind: char, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind as u8];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A NUL-terminated string.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

fn row_description(body: &[u8]) -> Vec<(String, u32, i16)> {
    let count = u16::from_be_bytes([body[0], body[1]]);
    let mut at = 2;
    (0..count)
        .map(|_| {
            let name = text(&body[at..]);
            at += name.len() + 1;
            let oid = u32::from_be_bytes(body[at + 6..at + 10].try_into().unwrap());
            let format = i16::from_be_bytes(body[at + 16..at + 18].try_into().unwrap());
            at += 18;
            (name, oid, format)
        })
        .collect()
}

fn data_row(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let count = u16::from_be_bytes([body[0], body[1]]);
    let mut at = 2;
    (0..count)
        .map(|_| {
            let length = i32::from_be_bytes(body[at..at + 4].try_into().unwrap());
            at += 4;
            usize::try_from(length).ok().map(|length| {
                at += length;
                body[at - length..at].to_vec()
            })
        })
        .collect()
}

/// Reads an ErrorResponse.
pub fn wire_error(body: &[u8]) -> WireError {
    let field = |kind: u8| {
        body.split(|&b| b == 0)
            .find(|field| field.first() == Some(&kind))
            .map(|field| String::from_utf8(field[1..].to_vec()).unwrap())
    };
    WireError {
        severity: field(b'S').unwrap(),
        code: field(b'C').unwrap(),
        message: field(b'M').unwrap(),
        detail: field(b'D'),
        hint: field(b'H'),
    }
}
