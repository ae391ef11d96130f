"""What a finished result outlives: the death of its process always, a power failure where that is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from programs import square

import checkpoint
from checkpoint import memo, open_store, run_report
from checkpoint.store import Settings
from checkpoint.store.disk import DiskStore


@memo
def content(size: int) -> bytes:
    return bytes(size)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths of what this process synchronises itself; SQLite does its own."""
    paths: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return paths


def level(folder: Path, **options: Any) -> int:
    """Return how a store with such options lets SQLite synchronise: 1 is normal, 2 is full."""
    with open_store(folder, **options) as opened:
        content(1).run(executor="serial")
        assert isinstance(opened.store, DiskStore)
        cache = opened.store._existing(content.name)
        assert cache is not None
        found: int = cache._con.execute("PRAGMA synchronous").fetchone()[0]
    return found


def test_a_power_failure_is_outlived_where_that_is_asked_for(tmp_path: Path, synced: list[str]) -> None:
    """With "power" the file, its folder and those above are on the disk before the row, and so is the row. [T8]"""
    folder = tmp_path / "power"
    with open_store(folder, durability="power"):
        content(100_000).run(executor="serial")
    task = folder / "checkpoint" / content.name
    (path,) = task.rglob("*.val")
    expected = {f"{path}.tmp", str(path.parent), str(task), str(task.parent), str(folder), str(tmp_path)}
    assert (expected, 2) == (expected & set(synced), level(folder, durability="power"))


def test_by_default_nothing_is_waited_for(tmp_path: Path, synced: list[str]) -> None:
    """The death of processes takes nothing from the operating system; only new databases are synchronised. [T8]"""
    with open_store(tmp_path / "default"):
        content(99_999).run(executor="serial")
        synced.clear()
        content(100_000).run(executor="serial")
    assert ([], 1) == (synced, level(tmp_path / "default"))


def test_the_environment_decides_where_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$CP_DURABILITY is the default, in worker processes as well; what is given goes before it. [T8]"""
    monkeypatch.setenv("CP_DURABILITY", "power")
    assert (2, 1) == (level(tmp_path / "a"), level(tmp_path / "b", durability="process"))
    with open_store(tmp_path / "c") as opened:
        assert 3 == run_report([square(n) for n in range(3)], executor="processes", max_workers=2).computed
        assert Settings(is_durable=True) == opened.store.settings


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_finished_result_outlives_its_process(tmp_path: Path, durability: str, size: int) -> None:
    """A run that has returned has lost nothing, however its process ends. [T8]"""
    program = f"""
import os, signal
from test_durability import content
content({size}).run(executor="serial")
os.kill(os.getpid(), signal.SIGKILL)
"""
    paths = [Path(checkpoint.__file__).parents[1], Path(__file__).parent]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "CP_DURABILITY": durability}
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, timeout=60, check=False)
    assert -9 == ended.returncode
    assert bytes(size) == content(size).result()
    assert () == checkpoint.verify().problems
