"""Arrays: a large float64 array into the store and back, against a plain file of the same bytes."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy
import zstandard

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
        goal = Goal(1.2, is_ratio=True)
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
            goals={f"load {megabytes} MB by map": Goal(2.0, is_ratio=True)},
        )
        yield from compare(
            {f"load {megabytes} MB by map and add up": per_call(lambda: load()[0].sum(), 1)},  # type: ignore[index]
            ("open, map and add up", per_call(lambda: _mapped(files[-1]).sum(), 1)),
            "ms",
            rounds=3 if quick else 7,
        )
    yield from _text(megabytes, quick)


def _text(megabytes: int, quick: bool) -> Iterator[Figure]:
    """Compare compressing text into the store with zstandard at the same level, with threads, to a file."""
    words = [bytes(word) for word in numpy.random.default_rng(0).integers(97, 107, (3_000, 7), dtype="uint8")]
    chosen = numpy.random.default_rng(1).integers(0, len(words), megabytes * 125_000)
    text = b" ".join([words[index] for index in chosen])
    with fresh_folder() as folder, fresh_store():
        store = current_store()

        def keep() -> None:
            frame = encode(text, "text", level=3)
            entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.0, 0.0, frame.size)
            store.write("text", [Write("{}", "{}", Epoch(0, 0), entry, frame)])

        def compress() -> None:
            compressed = zstandard.ZstdCompressor(level=3, threads=-1).compress(text)
            (folder / "text.zst").unlink(missing_ok=True)
            (folder / "text.zst").write_bytes(compressed)

        name = f"compress {megabytes} MB of text into the store"
        yield from compare(
            {name: per_call(keep, 1)},
            ("zstandard, threads, to a file", per_call(compress, 1)),
            "ms",
            rounds=1 if quick else 7,
            goals={name: Goal(1.1, is_ratio=True)},
        )


def _mapped(path: Path) -> numpy.ndarray:
    with path.open("rb") as file:
        return numpy.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype="float64")
