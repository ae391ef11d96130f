"""Arrays: a large float64 array into the store and back, against a plain file of the same bytes."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy

from benchmarks.measure import Figure, Goal, compare, per_call
from benchmarks.workloads import fresh_folder, fresh_store
from checkpoint.codec import decode, encode
from checkpoint.store import Entry, Epoch, Write, current_store


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with writing the bytes to a new file, and with opening and mapping that file."""
    megabytes = 10 if quick else 100
    array = numpy.random.default_rng(0).random(megabytes * 125_000)
    with fresh_folder() as folder, fresh_store():
        store = current_store()

        def write() -> None:
            frame = encode(array, "array")
            entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.0, 0.0, frame.size)
            store.write("array", [Write("{}", "{}", Epoch(0, 0), entry, frame)])

        files = [folder / "before.bin"]

        def write_plainly() -> None:  # a new file, and the one before removed, as the store does
            files.append(folder / f"{len(files)}.bin")
            files[-1].write_bytes(array)
            files[-2].unlink()

        files[0].touch()
        write()
        write_plainly()
        goal = Goal(1.25, is_ratio=True)  # 0.8 of the speed
        name = f"write {megabytes} MB"
        reference = ("new file", per_call(write_plainly, 1))
        yield from compare({name: per_call(write, 1)}, reference, "ms", rounds=3 if quick else 7, goals={name: goal})

        def load() -> object:
            found = store.read("array", "{}")
            assert found is not None
            return decode(found[1], is_mapped=found[2])

        yield from compare(
            {f"load {megabytes} MB by map": per_call(load, 100)},
            ("open and map", per_call(lambda: _mapped(files[-1]), 100)),
            "us",
        )
        yield from compare(
            {f"load {megabytes} MB by map and add up": per_call(lambda: load()[0].sum(), 1)},  # type: ignore[index]
            ("open, map and add up", per_call(lambda: _mapped(files[-1]).sum(), 1)),
            "ms",
            rounds=3 if quick else 7,
        )


def _mapped(path: Path) -> numpy.ndarray:
    with path.open("rb") as file:
        return numpy.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype="float64")
