"""Buckets on the S3 server of `s3_server.py`: starting it, its log, its faults, addresses of new stores."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester-of-checkpoint",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-not-real",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
#: A client that gives up soon: s3fs makes each request five times, and what is below it none again.
IMPATIENT = {"config_kwargs": {"connect_timeout": 0.3, "read_timeout": 0.3, "retries": {"max_attempts": 0}}}
SERVER = Path(__file__).parent / "s3_server.py"

_numbers = itertools.count()


@final
class S3:
    """An S3 server and its bucket."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._ask("PUT", "/bucket-of-tests", b"")

    def new_url(self) -> str:
        """Return the address of a store that nobody has used."""
        return f"s3://bucket-of-tests/store-{next(_numbers)}?endpoint_url={self.endpoint}"

    def fail(self, *faults: dict[str, Any]) -> None:
        """Let requests fail from now on, each fault as often as it says."""
        self._ask("POST", "/_faults", json.dumps(faults).encode())

    def release(self) -> None:
        """Let what is slow go on."""
        self._ask("POST", "/_release", b"")

    def log(self) -> list[str]:
        """Return the requests since this was called last: method, path and query."""
        requests: list[str] = json.loads(self._ask("GET", "/_log", None))
        return requests

    def forget(self) -> None:
        """End all faults and begin the log anew."""
        self.release()
        self.fail()
        self.log()

    def _ask(self, method: str, path: str, data: bytes | None) -> bytes:
        request = urllib.request.Request(self.endpoint + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            body: bytes = answer.read()
        return body


@contextlib.contextmanager
def serving_s3(*prefix: str, host: str = "127.0.0.1") -> Iterator[S3]:
    """Run a server for a block; `prefix` is a command that runs it elsewhere."""
    command = [*prefix, sys.executable, str(SERVER), host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            yield S3(f"http://{host}:{port}")
        finally:
            process.kill()
