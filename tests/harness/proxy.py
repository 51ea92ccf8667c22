"""A TCP proxy that produces faults between PostgreSQL and pgduck_server.

It understands as much of the PostgreSQL protocol as is needed to strike at a chosen moment of a chosen write: "the server answers
nothing more to the RECEIVE that writes metadata", "the server reads no more after 100 kB of rows". A test arms one
`Fault`, waits for `Fault.reached`, does something, and looks at what happens; `Fault.release` ends the fault.
"""

from __future__ import annotations

import enum
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

_SSL_REQUEST, _GSSENC_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
# Smaller than what the kernel would grow them to, so that a proxy that stops reading is felt after few megabytes; still larger
# than a packet of the loopback interface, without which TCP crawls.
_SOCKET_BUFFER = 256 * 1024


class Moment(enum.Enum):
    """Where in a RECEIVE a fault strikes."""

    BEFORE_COPY_IN = "the server's CopyInResponse is held back"
    SENDING = "the server stops reading rows"
    WAITING_FOR_RESULT = "the server's answer to CopyDone is held back"


@dataclass
class Fault:
    """One fault: it strikes once, in the first RECEIVE whose query contains `query_contains`."""

    moment: Moment
    query_contains: str = ""
    after_bytes: int = 0
    """For SENDING: CopyData bytes that are still passed on."""
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Ends the fault: what was held back flows on."""
        self.released.set()


class _Framing:
    """Cuts a byte stream into protocol messages, keeping what is incomplete."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Takes bytes; returns the messages that are now complete as (type, whole message)."""
        self._pending += data
        messages = []
        position = 0
        while len(self._pending) - position >= 5:
            (length,) = struct.unpack_from("!I", self._pending, position + 1)
            if len(self._pending) - position < 1 + length:
                break
            message = bytes(self._pending[position : position + 1 + length])
            messages.append((message[:1], message))
            position += 1 + length
        del self._pending[:position]
        return messages


class _Link:
    """One client connection and its connection to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = socket.create_connection(("127.0.0.1", proxy.target_port))
        for end in (self.client, self.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self.closed = False
        self.is_session = False
        self.idle = False
        self.fault: Fault | None = None
        self.query = ""
        self.copy_done = False
        self.copied = 0

    def run(self) -> None:
        """Passes on what comes, until an end closes."""
        try:
            if not self._startup():
                return
            answers = threading.Thread(target=self._pump_answers, daemon=True)
            answers.start()
            self._pump_requests()
        except OSError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Closes both ends."""
        self.closed = True
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def abort(self) -> None:
        """Closes both ends with a reset, as the network sees a server that died."""
        for end in (self.client, self.server):
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
        self.close()

    def _startup(self) -> bool:
        """Passes on the messages without a type byte. False if this is a cancel request, which is passed on whole."""
        while True:
            head = self._exactly(4)
            if head is None:
                return False
            body = self._exactly(struct.unpack("!I", head)[0] - 4)
            if body is None:
                return False
            self.server.sendall(head + body)
            (code,) = struct.unpack("!I", body[:4])
            if code in (_SSL_REQUEST, _GSSENC_REQUEST):
                self.client.sendall(self.server.recv(1))
            elif code == _CANCEL_REQUEST:
                # The server closes the connection when it has done its part.
                while data := self.server.recv(1024):
                    self.client.sendall(data)
                return False
            else:
                self.is_session = True
                return True

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            piece = self.client.recv(count - len(data))
            if not piece:
                return None
            data += piece
        return data

    def _pump_requests(self) -> None:
        framing = _Framing()
        while data := self.client.recv(256 * 1024):
            self.idle = False
            for kind, message in framing.feed(data):
                if kind == b"Q":
                    self._begin_query(message[5:-1].decode(errors="replace"))
                elif kind == b"c":
                    self.copy_done = True
                elif kind == b"d":
                    self.copied += len(message) - 5
                    if self._strikes(Moment.SENDING) and self.copied > self.fault.after_bytes:
                        self._wait_at_fault()
                self.server.sendall(message)

    def _begin_query(self, query: str) -> None:
        self.query = query
        self.copy_done = False
        self.copied = 0
        self.fault = self.proxy.take_fault(query)

    def _pump_answers(self) -> None:
        framing = _Framing()
        try:
            while data := self.server.recv(256 * 1024):
                for kind, message in framing.feed(data):
                    if kind == b"G" and self._strikes(Moment.BEFORE_COPY_IN):
                        self._wait_at_fault()
                    if self.copy_done and self._strikes(Moment.WAITING_FOR_RESULT):
                        self._wait_at_fault()
                    self.idle = kind == b"Z"
                    self.client.sendall(message)
        except OSError:
            pass
        finally:
            self.close()

    def _strikes(self, moment: Moment) -> bool:
        return self.fault is not None and self.fault.moment is moment and not self.fault.released.is_set()

    def _wait_at_fault(self) -> None:
        """Holds everything back until the fault is released or the client goes away."""
        assert self.fault
        self.fault.reached.set()
        watch = select.poll()
        watch.register(self.client, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        while not self.fault.released.is_set() and not self.closed:
            if watch.poll(20):
                self.close()
                raise OSError("the client is gone")


class Proxy:
    """Listens on a port of its own and passes everything on to `target_port`."""

    def __init__(self, target_port: int) -> None:
        """Starts to listen."""
        self.target_port = target_port
        self.links: list[_Link] = []
        self.accepted = 0
        self._fault: Fault | None = None
        self._lock = threading.Lock()
        self._listener = socket.socket()
        # Inherited by the accepted sockets; must be set before the window is agreed on.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def conninfo(self) -> str:
        """How PostgreSQL reaches the server through this proxy."""
        return f"host=127.0.0.1 port={self.port}"

    def arm(self, fault: Fault) -> Fault:
        """Makes a fault strike at the next query that fits."""
        with self._lock:
            self._fault = fault
        return fault

    def take_fault(self, query: str) -> Fault | None:
        """The armed fault, if it is meant for this query; it is armed no longer then."""
        with self._lock:
            fault = self._fault
            if fault is None or not query.lstrip().upper().startswith("RECEIVE") or fault.query_contains not in query:
                return None
            self._fault = None
            return fault

    def sessions(self) -> list[_Link]:
        """The sessions that are open now."""
        return [link for link in self.links if link.is_session and not link.closed]

    def busy_sessions(self) -> list[str]:
        """The queries of the open sessions in which something still goes on."""
        return [link.query for link in self.sessions() if not link.idle]

    def die(self) -> None:
        """Breaks all connections and takes no new ones, like a server that died."""
        self._listener.close()
        for link in list(self.links):
            link.abort()

    def close(self) -> None:
        """Ends the proxy."""
        if self._fault:
            self._fault.release()
        self._listener.close()
        for link in list(self.links):
            link.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                link = _Link(self, client)
            except OSError:
                client.close()
                continue
            self.accepted += 1
            self.links.append(link)
            threading.Thread(target=link.run, daemon=True).start()


def wait_settled(proxy: Proxy, seconds: float = 5) -> None:
    """Waits until no session of the proxy is in the middle of something."""
    deadline = time.monotonic() + seconds
    while busy := proxy.busy_sessions():
        assert time.monotonic() < deadline, f"still busy after {seconds} s: {busy}"
        time.sleep(0.02)
