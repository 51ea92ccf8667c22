"""The two users that PostgreSQL and pgduck_server run as.

Neither can read the other's files, so that nothing but the network can carry a row from one to the other.
Without root's rights there is only one user; tests that need two are skipped then.
"""

from __future__ import annotations

import getpass
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class UnixUser:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    def own(self, path: Path, mode: int = 0o700) -> Path:
        """Makes a directory (if needed) that belongs to this user."""
        path.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)
        return path

    def popen_arguments(self) -> dict[str, object]:
        """What `subprocess` needs to start a process as this user."""
        if os.getuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_read(self, path: Path | str) -> bool:
        """Whether a process of this user can read a file or list a directory."""
        test = subprocess.run(
            ["/bin/sh", "-c", 'if [ -d "$0" ]; then ls "$0"; else head -c 1 "$0"; fi', str(path)],
            capture_output=True,
            cwd="/",
            **self.popen_arguments(),  # type: ignore[call-overload]
        )
        return test.returncode == 0


def _named(name: str) -> UnixUser:
    entry = pwd.getpwnam(name)
    return UnixUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def current_user() -> UnixUser:
    """The user that this process runs as."""
    return _named(getpass.getuser()) if os.getuid() else UnixUser("root", 0, 0)


def two_users() -> bool:
    """Whether PostgreSQL and pgduck_server can run as different users."""
    return os.getuid() == 0


def postgres_user() -> UnixUser:
    """The user that PostgreSQL runs as (it refuses to run as root)."""
    return _named("postgres") if two_users() else current_user()


def pgduck_user() -> UnixUser:
    """The user that pgduck_server runs as: the system user `pgduck`, made if need be."""
    if not two_users():
        return current_user()
    try:
        return _named("pgduck")
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "pgduck"]
        # Another process may make the user at the same time: what counts is that it exists afterwards.
        made = subprocess.run(command, capture_output=True, text=True)
        try:
            return _named("pgduck")
        except KeyError:
            raise RuntimeError(f"could not make the user pgduck: {made.stderr.strip()}") from None
