"""Bundles: results as one file, and back, whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import chain, choose, square, total, writes_file

import checkpoint
from checkpoint import BundleError, File, Task, memo, run, task_directory
from checkpoint.bundles import Imported, export_bundle, import_bundle
from checkpoint.inventory import StoredCall, calls
from checkpoint.reasons import Cue
from checkpoint.store import current_store, store_at


@memo
def model(x: int) -> File:
    path = task_directory() / "deep" / "model.bin"
    path.parent.mkdir()
    path.write_bytes(bytes([x]) * 100)
    return File(path)


@memo
def size_of(file: File) -> int:
    return file.path.stat().st_size


@memo(compress=True)
def packed(x: int) -> list[int]:
    return [x] * 100_000


def stored(task: Task[..., Any]) -> list[StoredCall]:
    """Return the calls of a task in the current store."""
    return list(calls(current_store(), task.name))


def exported(path: Path, *tasks: Task[..., Any]) -> Path:
    """Write the calls of some tasks to a file."""
    export_bundle(current_store(), [call for task in tasks for call in stored(task)], path)
    return path


def test_what_is_imported_is_fresh(tmp_path: Path) -> None:
    """A result comes with all that it was computed from, also where the stores were cleared differently often."""
    choose(6, 3).run(executor="serial")
    choose(3, 3).clear()
    choose(6, 3).run(executor="serial")
    (call,) = [each for each in stored(choose) if each.arguments == {"n": 6, "k": 3}]
    assert 15 == export_bundle(current_store(), [call], tmp_path / "a.zip")
    other = store_at(tmp_path / "other")
    assert Imported({choose.name: 15}, 0) == import_bundle(other, tmp_path / "a.zip")
    plan = choose(6, 3).plan(store=other)
    assert (15, 20) == (plan.fresh, choose(6, 3).run(store=other))
    assert Cue.FRESH is choose(4, 2).why(store=other).cue


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    """What is there stays."""
    run([square(1), square(2)], executor="serial")
    path = exported(tmp_path / "a.zip", square)
    before = [(call.key, call.entries) for call in stored(square)]
    assert Imported({}, 2) == import_bundle(current_store(), path)
    assert before == [(call.key, call.entries) for call in stored(square)]


def test_what_was_computed_here_is_not_replaced(tmp_path: Path) -> None:
    """A result of the same call by the same code stays, though only it was computed after a clear."""
    chain(2).run(executor="serial")
    path = exported(tmp_path / "a.zip", chain)
    chain(1).clear()
    chain(2).run(executor="serial")
    before = [(call.key, call.entries) for call in stored(chain)]
    assert Imported({}, 3) == import_bundle(current_store(), path)
    assert (before, 3) == ([(call.key, call.entries) for call in stored(chain)], chain(2).plan().fresh)


def test_what_was_cleared_comes_back(tmp_path: Path) -> None:
    """An import after a clear counts: it is a choice of the user's."""
    square(3).run(executor="serial")
    path = exported(tmp_path / "a.zip", square)
    square.clear()
    import_bundle(current_store(), path)
    assert (1, 9) == (square(3).plan().fresh, square(3).result())


def test_files_travel_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of runners are in the file; a result that is a file is one in the new place, and fresh."""
    run([size_of(model(7)), writes_file("note")], executor="serial")
    path = exported(tmp_path / "a.zip", size_of, writes_file)
    monkeypatch.setenv("CP_CACHE_DIR", str(tmp_path / "other"))
    import_bundle(current_store(), path)
    assert (0, 2) == (len(size_of(model(7)).plan().compute), size_of(model(7)).plan().fresh)
    file = model(7).result().path
    assert file.is_relative_to(tmp_path / "other")
    assert (bytes([7]) * 100, "note") == (file.read_bytes(), (writes_file("note").directory / "note.txt").read_text())


def test_compressed_and_large_values_arrive(tmp_path: Path) -> None:
    """Frames travel as they are."""
    run([packed(1), total(packed(2))], executor="serial")
    path = exported(tmp_path / "a.zip", packed, total)
    other = store_at(tmp_path / "other")
    assert 3 == sum(import_bundle(other, path).added.values())
    assert [1] * 100_000 == packed(1).run(store=other)


def test_upstream_that_is_another_one_now_is_left_out(tmp_path: Path) -> None:
    """Only the version from which the result was computed would belong to it."""
    chain(1).run(executor="serial")
    chain(0).clear()
    chain(0).run(executor="serial")
    (call,) = [each for each in stored(chain) if each.arguments == {"length": 1}]
    assert 1 == export_bundle(current_store(), [call], tmp_path / "a.zip")


def test_a_collected_value_travels_as_its_digest(tmp_path: Path) -> None:
    """What was computed from it is fresh where both are imported; the value comes with a file that has it."""
    instance = total([square(1), square(2)])
    instance.run(executor="serial")
    full = exported(tmp_path / "full.zip", square, total)
    checkpoint.collect(tasks=[square.name], apply=True)
    assert ([], 1) == (stored(square), len(stored(total)))
    path = exported(tmp_path / "a.zip", total)
    other = store_at(tmp_path / "other")
    assert 3 == sum(import_bundle(other, path).added.values())
    assert (0, 5) == (len(instance.plan(store=other).compute), instance.run(store=other))
    assert [] == list(calls(other, square.name))
    assert Imported({square.name: 2}, 1) == import_bundle(other, full)
    assert 2 == len(list(calls(other, square.name)))


def test_a_signed_store_signs_what_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing is a choice of who has the key."""
    square(3).run(executor="serial")
    path = exported(tmp_path / "a.zip", square)
    monkeypatch.setenv("CP_CACHE_KEY", "secret of at least some length")
    other = store_at(tmp_path / "other")
    import_bundle(other, path)
    assert (0, 9) == (len(square(3).plan(store=other).compute), square(3).run(store=other))


def _shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _flipped(path: Path) -> None:
    text = bytearray(path.read_bytes())
    text[100] ^= 1
    path.write_bytes(text)


def _rewritten(change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Callable[[Path], None]:
    """Return what changes a bundle's parts, with checksums that fit."""

    def rewrite(path: Path) -> None:
        with zipfile.ZipFile(path) as bundle:
            parts = {name: bundle.read(name) for name in bundle.namelist()}
        index = json.loads(parts.pop("bundle.json"))
        change(index, parts)
        with zipfile.ZipFile(path, "w") as bundle:
            for name, text in parts.items():
                bundle.writestr(name, text)
            bundle.writestr("bundle.json", json.dumps(index))

    return rewrite


def _other_format(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    index["format"] = 99


def _other_row(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    index["entries"][0]["row"] += "0"


def _other_bytes(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    parts["frames/0"] = parts["frames/1"]


def _longer(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    parts["frames/0"] += b"x"


def _without_frame(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    del parts["frames/1"]


def _outside(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    index["entries"][0]["files"] = {"../../evil": "0"}
    parts["files/0/../../evil"] = b"evil"


def _other_file(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    index["entries"][0]["files"] = {"good": "0"}
    parts["files/0/good"] = b"evil"


def _other_record(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    index["records"][square.name]["epoch:"] = "1"


def _no_index(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    index.clear()


def _of_the_future(path: Path) -> None:
    """Let the directory say that a part needs a later version of the format."""
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 173
    path.write_bytes(data)


def _unseen_name(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    index["entries"][0]["task"] = "m.\x1b[31mred"


def _half_a_character(index: dict[str, Any], parts: dict[str, bytes]) -> None:
    index["entries"][0]["task"] = "m.\ud800"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_shortened, "File is not a zip file"),
        (_emptied, "File is not a zip file"),
        (_flipped, "Bad CRC-32 for file 'frames/0'"),
        (_rewritten(_other_format), "it has format 99; this version reads format 1"),
        (_rewritten(_other_row), "its index cannot be read: "),
        (_rewritten(_other_bytes), "is damaged: its bytes are not those of its entry"),
        (_rewritten(_longer), "frames/0 cannot be read: it has "),
        (_rewritten(_without_frame), "frames/1 cannot be read: "),
        (_rewritten(_outside), "its index cannot be read: ValueError(\"a file is called '../../evil'\")"),
        (_rewritten(_other_file), "files/0/good does not match its digest"),
        (_rewritten(_other_record), "its index cannot be read: ValueError('a record of an unknown kind')"),
        (_rewritten(_no_index), "its index cannot be read: KeyError('format')"),
        (_of_the_future, "zip file version 17.3; export it again"),
        (_rewritten(_unseen_name), "is not its own"),
        (_rewritten(_half_a_character), "is not its own"),
    ],
)
def test_a_damaged_file_imports_nothing(tmp_path: Path, damage: Callable[[Path], None], problem: str) -> None:
    """Whatever was changed is found before the first result is stored."""
    run([square(1), square(2)], executor="serial")
    path = exported(tmp_path / "a.zip", square)
    damage(path)
    other = store_at(tmp_path / "other")
    with pytest.raises(BundleError) as caught:
        import_bundle(other, path)
    assert problem in str(caught.value)
    assert ([], False) == (other.tasks(), (tmp_path / "other").exists())


@pytest.mark.parametrize("path", ["", ".", "new/"])
def test_a_path_that_names_no_file_is_refused(tmp_path: Path, path: str) -> None:
    """The error says so, and nothing is left behind. [T5]"""
    square(1).run(executor="serial")
    with pytest.raises(BundleError, match="this names no file; name one, as in"):
        export_bundle(current_store(), stored(square), path)
    assert ["cache"] == [each.name for each in tmp_path.iterdir()]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """An export that fails half-way leaves no trace."""
    run([square(1), square(2)], executor="serial")
    path = exported(tmp_path / "a.zip", square)
    before = path.read_bytes()
    found = stored(square)
    square(2).clear()
    with pytest.raises(BundleError, match="was cleared meanwhile; export again"):
        export_bundle(current_store(), found, path)
    assert (before, ["a.zip", "cache"]) == (path.read_bytes(), sorted(each.name for each in tmp_path.iterdir()))


KILLED = """
import os, sys
from checkpoint.bundles import import_bundle
from checkpoint.store import store_at
from checkpoint.store.disk import DiskStore

write, count = DiskStore.write, 0

def killed(self, task, writes):
    global count
    count += 1
    if count == 2:
        os.kill(os.getpid(), 9)
    return write(self, task, writes)

DiskStore.write = killed
import_bundle(store_at(sys.argv[1]), sys.argv[2])
"""


def test_an_import_that_was_killed_is_finished_by_the_next_one(tmp_path: Path) -> None:
    """What a kill leaves is whole, and the rest comes with the same file."""
    run([total([square(1), square(2)]), chain(3)], executor="serial")
    path = exported(tmp_path / "a.zip", total, chain)
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parent.parent)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "other"), str(path)]
    assert -9 == subprocess.run(command, env=environment, timeout=120).returncode
    other = store_at(tmp_path / "other")
    before = sum(1 for task in other.tasks() for _ in calls(other, task))
    done = import_bundle(other, path)
    assert (True, 7, before) == (0 < before < 7, before + sum(done.added.values()), done.kept)
    assert 0 == len(chain(3).plan(store=other).compute) + len(total([square(1), square(2)]).plan(store=other).compute)
