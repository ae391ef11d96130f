"""Journal: a snapshot against the size of the state and the length of the history, and reading one."""

from __future__ import annotations

import itertools
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy

from benchmarks.measure import Figure, compare, per_call
from benchmarks.workloads import fresh_folder, fresh_store
from checkpoint.journal import Journal, Recorder, journal_at


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with pickling the whole state to a new file that is synchronised and renamed."""
    for kilobytes in (1, 1_000) if quick else (1, 1_000, 50_000):
        yield from _by_size(kilobytes, rounds=2 if quick else 7)
    lengths = (100,) if quick else (100, 5_000)
    for length in lengths:
        yield from _by_history(length, rounds=2 if quick else 7)


def _by_size(kilobytes: int, rounds: int) -> Iterator[Figure]:
    count = 1 if kilobytes > 10_000 else 20
    numbers = itertools.count()
    with fresh_folder() as folder, fresh_store():
        recorder = journal_at().begin("benchmark")
        array = numpy.random.default_rng(0).random(kilobytes * 125)
        size = f"state of {kilobytes:,} KB"

        def append() -> None:
            n = next(numbers)
            recorder.append({"array": array, "n": n}, index=n)

        def append_changed() -> None:
            array[0] += 1
            append()

        append()
        yield from compare(
            {
                f"snapshot, {size}, unchanged": per_call(append, count),
                f"snapshot, {size}, changed": per_call(append_changed, count),
                f"snapshot, {size}, one key updated": per_call(lambda: _update(recorder, next(numbers)), count),
            },
            (
                "pickle, fsync, rename",
                per_call(lambda: _pickled(folder / "state", {"array": array, "n": next(numbers)}), count),
            ),
            "ms",
            rounds=rounds,
        )
        journal_at().close()


def _by_history(length: int, rounds: int) -> Iterator[Figure]:
    with fresh_folder() as folder, fresh_store():
        journal = journal_at()
        recorder = journal.begin("benchmark")
        state = {f"key {n}": n for n in range(20)}
        for n in range(length):
            newest = recorder.append({**state, "n": n}, index=n)
        numbers = itertools.count(length)
        name = f"history of {length:,}"
        yield from compare(
            {f"snapshot, {name}": per_call(lambda: _append(recorder, state, next(numbers)), 20)},
            ("pickle, fsync, rename", per_call(lambda: _pickled(folder / "state", state), 20)),
            "ms",
            rounds=rounds,
        )
        yield from compare(
            {
                f"read the newest state, {name}": per_call(lambda: journal.state(newest.id), 20),
                f"list the newest ten, {name}": per_call(lambda: _newest_ten(journal), 20),
            },
            ("unpickle a file", per_call(lambda: pickle.loads((folder / "state").read_bytes()), 20)),
            "ms",
            rounds=rounds,
        )
        journal.close()


def _append(recorder: Recorder, state: dict[str, int], n: int) -> None:
    recorder.append({**state, "n": n}, index=n)


def _update(recorder: Recorder, n: int) -> None:
    recorder.update({"n": n}, index=n)


def _newest_ten(journal: Journal) -> object:
    return journal.snapshots("benchmark", newest_first=True, limit=10)


def _pickled(path: Path, state: object) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        pickle.dump(state, file, 5)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
