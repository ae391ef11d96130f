"""Durability and signatures: what commits that outlive a power failure cost, and what a key costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from benchmarks.measure import Figure, compare, per_call, per_item
from benchmarks.workloads import fresh_folder
from checkpoint.codec import encode
from checkpoint.store import Entry, Epoch, Settings, Write, store_at
from checkpoint.store.signature import Signer
from checkpoint.version import row_of

_TASK = "benchmarks.durability"
_SETTINGS = {
    "power": Settings(is_durable=True),
    "with a key": Settings(signer=Signer("a long secret that nobody guesses")),
}


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with a store as it is by default."""
    rounds = 2 if quick else 7
    numbers = itertools.count()
    with fresh_folder() as folder:
        plain = store_at(folder / "plain", Settings())
        others = {name: store_at(folder / name, settings) for name, settings in _SETTINGS.items()}

        def write(settings: str, size: int, together: int) -> Callable[[], object]:
            store = others.get(settings, plain)
            return lambda: store.write(_TASK, [_write(next(numbers), size) for _ in range(together)])

        for what, size, together, count in (
            ("write a small entry", 100, 1, 5 if quick else 50),
            ("write 100 small entries together", 100, 100, 3 if quick else 10),
            ("write an entry of 1 MB", 1_000_000, 1, 2 if quick else 10),
            ("write an entry of 50 MB", 50_000_000, 1, 1 if quick else 2),
        )[: 3 if quick else 4]:
            yield from compare(
                {f"{what}, {name}": per_call(write(name, size, together), count) for name in others},
                ("the same by default", per_call(write("", size, together), count)),
                "ms",
                rounds=rounds,
            )
        signed = others["with a key"]
        for store in (plain, signed):
            store.write(_TASK, [_write(-number, 100) for number in range(1, 1_001)])
        keys = [_key(-number) for number in range(1, 1_001)]
        rows = [row_of(key, "0" * 16) for key in keys]

        def read(some: Sequence[str]) -> None:
            for row in some:
                signed.read(_TASK, row)

        yield from compare(
            {"look up an entry, 1,000 at once, with a key": per_item(lambda some: signed.lookup(_TASK, some), keys)},
            ("the same by default", per_item(lambda some: plain.lookup(_TASK, some), keys)),
            "us",
            rounds=rounds,
        )
        yield from compare(
            {"read a small entry, with a key": per_item(read, rows)},
            ("the same by default", per_item(lambda some: [plain.read(_TASK, row) for row in some], rows)),
            "us",
            rounds=rounds,
        )
        for store in (plain, *others.values()):
            store.close()


def _key(number: int) -> str:
    return f'{{"number":{number}}}'


def _write(number: int, size: int) -> Write:
    frame = encode(bytes(size), "bytes")
    entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.0, 0.0, frame.size)
    return Write(_key(number), row_of(_key(number), "0" * 16), Epoch(0, 0), entry, frame)
