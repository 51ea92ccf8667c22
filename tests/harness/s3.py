"""An S3 server for tests: SeaweedFS, which checks signatures and knows multipart uploads."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pyarrow.fs

from .ports import free_port
from .process import Process
from .unix_users import UnixUser, current_user

KEY_ID = "lake"
SECRET = "lake-secret"
REGION = "us-east-1"


class S3:
    """One server with one bucket."""

    def __init__(self, base: Path, bucket: str = "lake") -> None:
        """Prepares a server that keeps its files below `base`."""
        self.home = base
        self.bucket = bucket
        self.user: UnixUser = current_user()
        self.port = free_port()
        self.process: Process | None = None

    @property
    def endpoint(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def location(self) -> str:
        """A location prefix for tables in the bucket."""
        return f"s3://{self.bucket}/warehouse"

    def secret_sql(self) -> str:
        """The SQL that gives DuckDB access to the bucket."""
        return (
            f"CREATE OR REPLACE SECRET lake (TYPE s3, KEY_ID '{KEY_ID}', SECRET '{SECRET}', REGION '{REGION}',"
            f" ENDPOINT '{self.endpoint}', URL_STYLE 'path', USE_SSL false);"
        )

    def pyiceberg_properties(self) -> dict[str, str]:
        """The properties that give PyIceberg access to the bucket."""
        return {
            "s3.endpoint": f"http://{self.endpoint}",
            "s3.access-key-id": KEY_ID,
            "s3.secret-access-key": SECRET,
            "s3.region": REGION,
        }

    def objects(self, prefix: str) -> set[str]:
        """The keys of all objects below `s3://bucket/…`."""
        system = pyarrow.fs.S3FileSystem(access_key=KEY_ID, secret_key=SECRET, region=REGION, endpoint_override=self.endpoint, scheme="http")
        selector = pyarrow.fs.FileSelector(prefix.removeprefix("s3://"), allow_not_found=True, recursive=True)
        return {info.path for info in system.get_file_info(selector) if info.type == pyarrow.fs.FileType.File}

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        # `weed mini` opens more ports than the one for S3, each of them twice (HTTP, and gRPC 10000 above unless it is named).
        ports = {
            "s3.port": self.port,
            "s3.port.grpc": free_port(),
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.port": free_port(),
            "master.port.grpc": free_port(),
            "volume.port": free_port(),
            "volume.port.grpc": free_port(),
            "filer.port": free_port(),
            "filer.port.grpc": free_port(),
            "admin.port": free_port(),
            "admin.port.grpc": free_port(),
        }
        command = [str(Path(sys.executable).parent / "weed"), "mini", f"-dir={self.home}", f"-bucket={self.bucket}"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false"]
        command += [f"-{name}={port}" for name, port in ports.items()]
        self.process = Process(
            command,
            user=self.user,
            log=self.home / "seaweedfs.log",
            # It takes seconds to end politely, and its files are thrown away.
            stop_signal=signal.SIGKILL,
            env={"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "HOME": str(self.home)},
        )
        self.process.wait_ready(self._answers)

    def stop(self) -> None:
        """Ends the server and removes its files."""
        if self.process:
            self.process.stop()
            self.process = None
        shutil.rmtree(self.home, ignore_errors=True)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        try:
            urllib.request.urlopen(f"http://{self.endpoint}/{self.bucket}", timeout=2)
        except urllib.error.HTTPError as refused:
            # "Forbidden" comes from a server that knows the bucket and wants a signature.
            return refused.code == 403
        except OSError:
            return False
        return True
