"""Fixtures: every test has a store and a working directory of its own, and leaves no process, thread or file behind."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import checkpoint.journal
import checkpoint.store


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test its own store and working directory; the folder that CP_CACHE_DIR names."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CP_CACHE_DIR", str(folder))
    monkeypatch.delenv("CP_ON_CHANGE", raising=False)
    monkeypatch.chdir(tmp_path)
    yield folder
    checkpoint.journal.journal_at().close()
    checkpoint.store.current_store().close()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves processes or threads of ours behind; pools that tests share come up when they like."""
    before = set(multiprocessing.active_children())
    yield
    if not {"executor", "pools"} & set(request.fixturenames):
        assert [process for process in multiprocessing.active_children() if process not in before] == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("checkpoint-")] == []
