"""A small client of the PostgreSQL protocol, for what no driver does: RECEIVE step by step, and rudeness in the middle of it."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """A message from the server."""

    kind: str
    body: bytes

    def error_fields(self) -> dict[str, str]:
        """The fields of an ErrorResponse by their letter."""
        fields = (field.decode() for field in self.body.split(b"\0") if field)
        return {field[0]: field[1:] for field in fields}

    def row(self) -> list[str | None]:
        """The values of a DataRow in text format."""
        (count,) = struct.unpack_from("!H", self.body)
        values: list[str | None] = []
        position = 2
        for _ in range(count):
            (length,) = struct.unpack_from("!i", self.body, position)
            position += 4
            values.append(None if length < 0 else self.body[position : position + length].decode())
            position += max(length, 0)
        return values


class Wire:
    """One connection."""

    def __init__(self, port: int, timeout: float = 20) -> None:
        """Connects and waits until the server is ready for a query."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._received = b""
        parameters = b"user\0test\0database\0test\0\0"
        self.socket.sendall(struct.pack("!II", 8 + len(parameters), 196608) + parameters)
        self.cancel_key = b""
        for message in self.until_ready():
            if message.kind == "K":
                self.cancel_key = message.body
        self.port = port

    def send(self, kind: str, body: bytes = b"") -> None:
        """Sends one message."""
        self.socket.sendall(kind.encode() + struct.pack("!I", 4 + len(body)) + body)

    def query(self, sql: str) -> None:
        """Sends a simple query."""
        self.send("Q", sql.encode() + b"\0")

    def data(self, content: bytes) -> None:
        """Sends CopyData."""
        self.send("d", content)

    def done(self) -> None:
        """Sends CopyDone."""
        self.send("c")

    def fail(self, reason: str) -> None:
        """Sends CopyFail."""
        self.send("f", reason.encode() + b"\0")

    def read(self) -> Message:
        """The next message of the server."""
        head = self._exactly(5)
        (length,) = struct.unpack("!I", head[1:])
        return Message(chr(head[0]), self._exactly(length - 4))

    def expect(self, kind: str) -> Message:
        """The next message, which must be of this kind."""
        message = self.read()
        assert message.kind == kind, f"expected {kind}, got {message}"
        return message

    def until_ready(self) -> list[Message]:
        """All messages up to, without, ReadyForQuery."""
        messages = []
        while (message := self.read()).kind != "Z":
            messages.append(message)
        return messages

    def cancel(self) -> None:
        """Sends a cancel request for this session, on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as other:
            other.sendall(struct.pack("!II", 8 + len(self.cancel_key), 80877102) + self.cancel_key)
            other.recv(1)

    def close(self) -> None:
        """Closes the connection without a word, as a client that dies does."""
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            piece = self.socket.recv(256 * 1024)
            if not piece:
                raise ConnectionError("the server closed the connection")
            self._received += piece
        data, self._received = self._received[:count], self._received[count:]
        return data
