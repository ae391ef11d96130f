"""Damage: bits that flip anywhere in a database, in its log, or in the file of a value."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from contract_store import KEY, TASK, write_of

from checkpoint import (
    DamagedEntryError,
    DamagedEntryWarning,
    NotCachedError,
    StoreError,
    codec,
    collect,
    memo,
    open_store,
    run,
    run_report,
    verify,
)
from checkpoint.store import tag as tags
from checkpoint.store.disk import DiskStore

COUNT = 10


@memo
def leaf(number: int, size: int) -> dict[str, Any]:
    return {"number": number, "text": "x" * size}


@memo
def doubled(parts: list[dict[str, Any]]) -> list[int]:
    return [2 * part["number"] for part in parts]


def value_of(number: int, size: int) -> dict[str, Any]:
    """Return what `leaf` gives."""
    return {"number": number, "text": "x" * size}


class Specimen:
    """A store that is damaged in one place after the other, each time from the same whole one."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size, self.url, self._whole = size, str(folder / "store"), folder / "whole"
        self.wanted = doubled([leaf(number, size) for number in range(COUNT)])
        store = DiskStore(self.url)
        assert run_report(self.wanted, executor="serial", store=store).value == [2 * n for n in range(COUNT)]
        shutil.copytree(self.url, self._whole)  # as a kill would leave it: with the log
        store.close()
        (self.database,) = self._whole.rglob("*leaf/cache.db")

    def without_log(self) -> None:
        """Bring what is in the logs into the databases."""
        for database in self._whole.rglob("cache.db"):
            with contextlib.closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def places(self, pattern: str) -> list[tuple[Path, int]]:
        """Return (file, position) of every byte that isn't 0, and of some that are."""
        found = []
        for file in sorted(self._whole.rglob(pattern)):
            data = file.read_bytes()
            found += [(file, at) for at, byte in enumerate(data) if byte or at % 50 == 0]
        return found

    def consequence(self, file: Path, at: int, bit: int) -> str:
        """Flip a bit, use the store, and say what came of it; fail if a value is wrong, or an error none of ours."""
        shutil.rmtree(self.url)
        shutil.copytree(self._whole, self.url)
        damaged = Path(self.url, file.relative_to(self._whole))
        data = bytearray(damaged.read_bytes())
        data[at] ^= 1 << bit
        damaged.write_bytes(data)
        store = DiskStore(self.url)
        try:
            with warnings.catch_warnings(), open_store(store):
                warnings.simplefilter("ignore")
                return self._use()
        except StoreError as error:
            return "a StoreError" if error.advice else "an error without advice"
        finally:
            store.close()

    def _compare(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            with contextlib.suppress(NotCachedError):  # damaged, or listed under a name that the index has not
                assert value_of(number, self.size) == leaf(number, self.size).result()

    def _use(self) -> str:
        self._compare(range(COUNT))
        first = run_report(self.wanted, executor="serial")
        assert first.value == [2 * number for number in range(COUNT)]
        again = run_report(self.wanted, executor="serial")
        assert again.value == first.value
        self._compare([call.arguments["number"] for call in leaf.entries()])
        _ = self.wanted.lineage().describe(), str(self.wanted.why()), str(self.wanted.plan()), leaf.changes(every=True)
        leaf(3, self.size).clear()
        leaf.clear()
        if again.computed:
            return "a recomputation each time"
        return "a recomputation" if first.computed else "nothing"


@pytest.mark.parametrize("flips", [20, pytest.param(2000, marks=pytest.mark.stress)])
@pytest.mark.parametrize(
    ("pattern", "size"), [("cache.db", 50), ("cache.db-wal", 50), ("*.val", 40_000)], ids=["database", "log", "files"]
)
def test_a_flipped_bit_never_gives_a_wrong_value(pattern: str, size: int, flips: int, tmp_path: Path) -> None:
    """Wherever a bit flips, values are right or computed again, or a StoreError says what to do. [43]"""
    specimen = Specimen(tmp_path, size)
    if pattern == "cache.db":
        specimen.without_log()
    seed = os.environ.get("FLIP_SEED", random.randrange(10**6))
    dice, places = random.Random(str(seed)), specimen.places(pattern)
    consequences: Counter[str] = Counter()
    for _ in range(flips):
        (file, at), bit = dice.choice(places), dice.randrange(8)
        try:
            consequences[specimen.consequence(file, at, bit)] += 1
        except BaseException as error:
            error.add_note(f"bit {bit} of byte {at} of {file}, seed {seed}")
            raise
    print(f"{pattern}, seed {seed}: {dict(consequences)}")
    assert (flips, 0) == (consequences.total(), consequences["an error without advice"])


def test_a_damaged_index_never_gives_the_value_of_another_call(tmp_path: Path) -> None:
    """Every bit of the index around some rows is flipped: a row that answers under another one's name is refused."""
    specimen = Specimen(tmp_path, 5)
    specimen.without_log()
    data = specimen.database.read_bytes()
    for number in (4,):
        row = f'{{"number":{number},"size":5}}#'.encode()
        for start in (at for at in range(len(data)) if data.startswith(row, at)):
            end = data.index(b"}", start) + 18
            for at in range(end, end + 4):
                for bit in range(8):
                    specimen.consequence(specimen.database, at, bit)


def test_a_value_of_another_entry_is_damage(tmp_path: Path) -> None:
    """A whole frame that isn't the one which its entry tells of is refused. [43]"""
    store = DiskStore(str(tmp_path / "store"))
    with open_store(store), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_report([leaf(1, 5), leaf(2, 5)], executor="serial")
        with contextlib.closing(sqlite3.connect(*Path(store.url).rglob("cache.db"), isolation_level=None)) as database:
            database.execute(
                "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key LIKE '{\"number\":2%')"
                " WHERE key LIKE '{\"number\":1%'"
            )
        with pytest.raises(NotCachedError):
            leaf(1, 5).result()
        assert value_of(1, 5) == leaf(1, 5).run(executor="serial")
    store.close()


def test_entries_of_the_format_without_a_seal_are_read(tmp_path: Path) -> None:
    """What an older version stored stays, and is replaced like any other."""
    store = DiskStore(str(tmp_path / "store"))
    write = write_of("old")
    store.write(TASK, [write])
    with contextlib.closing(sqlite3.connect(*Path(store.url).rglob("cache.db"), isolation_level=None)) as database:
        sealed = tags.pack(KEY, write.entry)
        database.execute("UPDATE Cache SET tag = ? WHERE key = ?", (b"\x01" + sealed[1:-8], KEY))
    assert [write.entry] == store.lookup(TASK, [KEY])[KEY]
    store.write(TASK, [write_of("new")])
    found = store.read(TASK, KEY)
    assert found is not None
    assert codec.decode(found[1])[0] == "new"
    store.close()


@pytest.mark.parametrize("level", [None, 3])
def test_a_flip_in_a_mapped_array_is_found_by_a_full_check(level: int | None, tmp_path: Path) -> None:
    """A mapped frame can be decoded without reading its arrays, a compressed one can't; `verify` compares both."""
    import numpy

    frame = bytearray(b"".join(codec.encode(numpy.arange(100_000), "f()", level=level).parts))
    frame[-1000] ^= 1
    with pytest.raises(DamagedEntryError):
        codec.verify(frame)
    if level is not None:
        with pytest.raises(DamagedEntryError):
            codec.decode(frame, is_mapped=True)


@memo
def numbers(count: int) -> Any:
    import numpy

    return numpy.arange(count)


def flip(store: Path) -> None:
    """Flip a bit of the one array that is in a file of its own."""
    (file,) = store.rglob("*.val")
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("verification", ["once", "always"])
def test_a_flip_in_a_mapped_array_is_found_by_who_reads_it(verification: Any, tmp_path: Path) -> None:
    """The bytes of an array are compared before it is used, and again after each change of its file. [43]"""
    with open_store(tmp_path, verify=verification):
        for _ in range(2):
            assert 1000 == run(numbers(100_000), executor="serial")[1000]
            flip(tmp_path)
            with pytest.warns(DamagedEntryWarning, match="do not match their digest"):
                report = run_report(numbers(100_000), executor="serial")
            assert (1, list(range(100_000))) == (report.computed, report.value.tolist())
            collect(apply=True)


@pytest.mark.skipif(sys.platform != "linux", reason="counts the pages that are read")
def test_an_array_is_compared_once_in_a_process(tmp_path: Path) -> None:
    """What was compared and has not changed since is mapped and not read."""
    import resource

    run(numbers(5_000_000), executor="serial", store=tmp_path)
    pages: dict[str, int] = {}
    for verification in ("once", "always"):
        with open_store(tmp_path, verify=verification):  # type: ignore[arg-type]
            numbers(5_000_000).result()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            numbers(5_000_000).result()
            pages[verification] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert pages["once"] < pages["always"] / 4


def test_arrays_that_are_never_compared_open_at_once(tmp_path: Path) -> None:
    """With verify="never" a mapped array is not read when it is opened; `verify` finds what is wrong with it."""
    with open_store(tmp_path, verify="never"):
        run(numbers(100_000), executor="serial")
        flip(tmp_path)
        report = run_report(numbers(100_000), executor="serial")
        found = [problem.kind.value for problem in verify().problems]
    changed = [at for at, number in enumerate(report.value.tolist()) if at != number]
    assert (0, 1, ["damaged"]) == (report.computed, len(changed), found)
