"""`checkpoint ui` as a process of its own, and who asks it."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import checkpoint

ROOT = Path(checkpoint.__file__).parents[1]


class Answer(NamedTuple):
    """What came back."""

    status: int
    text: str
    headers: http.client.HTTPMessage


class Served:
    """A running `checkpoint ui`, and a browser's part in talking to it."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = process
        self.base = url.partition("/?")[0]
        self.host = urlsplit(url).netloc
        self.token = url.partition("token=")[2]
        self.cookie = f"checkpoint-{self.host.rpartition(':')[2]}={self.token}"

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str | None) -> Answer:
        """Return the answer to a request as it is written, with our cookie; a header of None is left out."""
        given: dict[str, str | None] = {"Host": self.host, "Cookie": self.cookie}
        if body is not None:
            given |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.base}
        given |= {name.replace("_", "-"): text for name, text in headers.items()}
        connection = http.client.HTTPConnection(self.host, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, text in given.items():
                if text is not None:
                    connection.putheader(name, text)
            data = (body or "").encode()
            connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(errors="replace"), answer.headers)


@contextlib.contextmanager
def serving(store: Path, *options: str, folder: Path | None = None, **environment: str) -> Iterator[Served]:
    """Serve a store in this block; the process has ended afterwards, without a word on standard error."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, "-W", "error", "-m", "checkpoint", "ui", "--no-browser", "--store", str(store), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=variables
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        try:
            yield Served(process.stdout.readline().strip(), process)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                said, wrong = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert (0, "", "") == (process.returncode, said, wrong)
