"""Free TCP ports."""

from __future__ import annotations

import random
import socket

# Below the range that the kernel gives to outgoing connections, which could take a port between the check and its use.
_RANGE = range(15000, 32000)
_random = random.Random()
_given: set[int] = set()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on and that this process has not been given before."""
    for _ in range(1000):
        port = _random.choice(_RANGE)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("found no free TCP port")


def first_free(preferred: int) -> int:
    """The preferred port, or the next free one after it."""
    for port in range(preferred, preferred + 200):
        if is_free(port):
            return port
    raise RuntimeError(f"found no free TCP port from {preferred} on")
