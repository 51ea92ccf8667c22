"""A server process: start, wait until ready, stop, logs, CPU time."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable

from .unix_users import UnixUser

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_TICKS = os.sysconf("SC_CLK_TCK")


class NotReady(RuntimeError):
    """A server ended, or did not get ready in time."""


def _end_with_parent(with_signal: int) -> Callable[[], None]:
    """For `preexec_fn`: the kernel sends the signal when this process goes away, so that no server outlives it."""

    def arrange() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, with_signal)

    return arrange


class Process:
    """One started server, with its standard error in a file."""

    def __init__(
        self,
        command: list[str],
        *,
        user: UnixUser,
        log: Path,
        env: dict[str, str] | None = None,
        stop_signal: int = signal.SIGTERM,
        outlive: bool = False,
    ) -> None:
        """Starts it. With `outlive` it goes on when this process ends (the demo)."""
        self.name = Path(command[0]).name
        self.log = log
        self.stop_signal = stop_signal
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "RUST_BACKTRACE": "0"} | (env or {})
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment,
                start_new_session=True,
                preexec_fn=None if outlive else _end_with_parent(stop_signal),
                **user.popen_arguments(),  # type: ignore[call-overload]
            )
        self.pid = self._child.pid

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def wait_ready(self, is_ready: Callable[[], bool], seconds: float = 30) -> None:
        """Waits until `is_ready` says so."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if not self.running():
                raise NotReady(f"{self.name} ended with {self._child.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} was not ready after {seconds} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self._child.send_signal(number)

    def stop(self, seconds: float = 10) -> None:
        """Ends it: politely, then by force."""
        if self.running():
            self.signal(self.stop_signal)
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Ends it by SIGKILL, as a crash would."""
        if self.running():
            self.signal(signal.SIGKILL)
        self._child.wait()

    def log_text(self) -> str:
        """All that it wrote."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log_text().splitlines()[-lines:])


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def exists(pid: int) -> bool:
    """Whether there is such a process (and it is not just waiting to be collected by its parent)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files(pid: int) -> list[str]:
    """What the file descriptors of a process refer to."""
    found = []
    directory = f"/proc/{pid}/fd"
    for descriptor in os.listdir(directory):
        try:
            found.append(os.readlink(os.path.join(directory, descriptor)))
        except FileNotFoundError:
            continue
    return found


def wait_until(condition: Callable[[], object], what: str, seconds: float = 10) -> None:
    """Waits for a condition; fails with `what` if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
