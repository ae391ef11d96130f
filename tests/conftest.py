"""Fixtures: every test has a store and a working directory of its own, and leaves no process, thread or file behind."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from buckets import CREDENTIALS, S3, serving_s3

import checkpoint.journal
import checkpoint.store

pytest.register_assert_rewrite("browsing", "serving")

# A shell has its background jobs ignore Ctrl-C, which the programs that tests start and interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test its own store and working directory; the folder that CP_CACHE_DIR names."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CP_CACHE_DIR", str(folder))
    monkeypatch.setenv("CP_LOCAL_DIR", str(tmp_path / "local"))
    monkeypatch.delenv("CP_ON_CHANGE", raising=False)
    monkeypatch.chdir(tmp_path)
    yield folder
    checkpoint.journal.journal_at().close()
    checkpoint.store.current_store().close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """Return an S3 server that the tests share; it goes with them."""
    with serving_s3() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Return the S3 server, without faults, and with this process's credentials for it."""
    s3_server.forget()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    yield s3_server
    s3_server.forget()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves processes or threads of ours behind; pools that tests share come up when they like."""
    before = set(multiprocessing.active_children())
    yield
    if not {"executor", "pools"} & set(request.fixturenames):
        assert [process for process in multiprocessing.active_children() if process not in before] == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("checkpoint-")] == []


@pytest.fixture
def unused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
