"""Fixtures: every test has a store and a working directory of its own, and leaves no process, thread or file behind."""

from __future__ import annotations

import compileall
import functools
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import execnet.gateway_base
import pytest
from buckets import CREDENTIALS, S3, serving_s3
from hypothesis import settings

import checkpoint
import checkpoint.journal
import checkpoint.store
from checkpoint.store.usage import alone

pytest.register_assert_rewrite("browsing", "serving")

# A shell has its background jobs ignore Ctrl-C, which the programs that tests start and interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Without a file, as a worker of pytest-xdist is, the package would take the main module for that of a prompt.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = execnet.gateway_base.__file__

# How many examples a property is tried with, where its test doesn't say that; `--hypothesis-profile=long` for many.
settings.register_profile("short", max_examples=20, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile("short")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Divide whole folders among the cores; what somebody chose of them runs in this process, and so begins at once."""
    is_whole = all(map(os.path.isdir, config.args)) and not config.option.keyword
    return None if is_whole and "not stress" in config.option.markexpr else 0


#: Files whose tests share what takes long to make: executors, clusters, servers, browsers, projects.
SHARING = {
    "test_anywhere", "test_changes", "test_command_examples", "test_concurrency", "test_dask", "test_executors",
    "test_references", "test_report", "test_runs", "test_ui"}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share things in one process."""
    for item in items:
        if item.path.stem in SHARING:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(autouse=True, scope="session")
def bytecode() -> None:
    """Compile the package once, not in each program of a test; modules that tests edit at once are always compiled."""
    compileall.compile_dir(Path(checkpoint.__file__).parent, quiet=2)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


@pytest.fixture(autouse=True, scope="session")
def frozen_heap() -> None:
    """Spare the garbage collector what was imported and collected before the first test: a million objects."""
    gc.freeze()


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
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let collectors give up at once where a run goes on."""
    monkeypatch.setattr("checkpoint.store.inventory.alone", functools.partial(alone, patience=0.1))


@pytest.fixture
def unused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
