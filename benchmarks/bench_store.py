"""Store: writing, looking up and reading small entries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import diskcache

from benchmarks.measure import Figure, compare, per_call, per_item
from benchmarks.workloads import fresh_folder, fresh_store
from checkpoint.codec import encode
from checkpoint.store import Entry, Epoch, Write, current_store
from checkpoint.version import row_of

_TASK = "benchmarks.store"


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with the same on a DiskCache of default settings."""
    count = 50 if quick else 500
    with fresh_folder() as folder, diskcache.Cache(str(folder)) as cache, fresh_store():
        store = current_store()
        numbers, keys = itertools.count(), itertools.count()

        def write(size: int) -> None:
            store.write(_TASK, [_small_write(next(numbers)) for _ in range(size)])

        def set_together(size: int) -> None:
            with cache.transact():
                for _ in range(size):
                    cache.set(next(keys), "a small value")

        yield from compare(
            {"write an entry": per_call(lambda: write(1), count)},
            ("DiskCache set", per_call(lambda: cache.set(next(keys), "a small value"), count)),
            "us",
        )
        yield from compare(
            {"write an entry, 100 in a transaction": per_item(lambda items: write(len(items)), range(100))},
            ("DiskCache set inside transact", per_item(lambda items: set_together(len(items)), range(100))),
            "us",
        )
        write(1_000)
        set_together(1_000)
        asked = [_key(number) for number in range(1_000)]
        rows = [row_of(key, "0" * 16) for key in asked]
        yield from compare(
            {
                "look up an entry, 1,000 at once": per_item(lambda some: store.lookup(_TASK, some), asked),
                "read an entry": per_item(lambda some: [store.read(_TASK, row) for row in some], rows),
            },
            ("DiskCache get", per_item(lambda some: [cache.get(number) for number in some], range(1_000))),
            "us",
        )


def _key(number: int) -> str:
    return f'{{"number":{number}}}'


def _small_write(number: int) -> Write:
    frame = encode("a small value", "small")
    entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.0, 0.0, frame.size)
    return Write(_key(number), row_of(_key(number), "0" * 16), Epoch(0, 0), entry, frame)
