"""Sizes: what an instance, a task and an entry cost when there are many; the smallest size is the reference."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import diskcache

from benchmarks.measure import Figure, Goal, Pass, compare, per_call
from benchmarks.workloads import fresh_folder, fresh_store, total
from checkpoint import memo, run
from checkpoint.codec import encode
from checkpoint.inventory import summary_of
from checkpoint.store import Entry, Epoch, Store, Write, current_store

#: A ratio to the smallest size that still counts as flat.
_FLAT = Goal(1.5, is_ratio=True)
_CHUNK = 5_000


def figures(quick: bool) -> Iterator[Figure]:
    """Compare each size with the smallest one; many tasks with as many DiskCaches."""
    rounds = 1 if quick else 3
    yield from _instances((30, 300) if quick else (1_000, 10_000, 100_000), rounds)
    yield from _tasks((5,) if quick else (100, 1_000), rounds)
    if not quick:
        yield from _instances((1_000, 1_000_000), 1)
        yield from _tasks((10_000,), 1)
    yield from _entries(300, 3_000 if quick else 1_000_000, rounds)


def _instances(sizes: tuple[int, ...], rounds: int) -> Iterator[Figure]:
    first, *others = sizes
    for phase in "cold", "warm":
        names = {f"{phase} fan-in of {size:,}": _fan_in(size, phase) for size in others}
        goals = dict.fromkeys(names, _FLAT)
        reference = (f"{phase} fan-in of {first:,}", _fan_in(first, phase))
        yield from compare(names, reference, "us", rounds=rounds, goals=goals)


def _fan_in(size: int, phase: str) -> Pass:
    def timed() -> float:
        with fresh_store():
            took = 0.0
            for _ in range(2 if phase == "warm" else 1):
                began = time.process_time()
                total(size).run(executor="serial", progress=False)
                took = time.process_time() - began
            return took / (size + 1)

    return timed


def _tasks(sizes: tuple[int, ...], rounds: int) -> Iterator[Figure]:
    for size in sizes:
        tasks = [memo(_distinct(number), name=f"benchmarks.distinct{number}") for number in range(size)]

        def timed(tasks: list[Callable[[int], object]] = tasks) -> float:
            with fresh_store():
                began = time.process_time()
                run([task(1) for task in tasks], executor="serial", progress=False)
                return (time.process_time() - began) / len(tasks)

        reference = ("a DiskCache each, one set", _caches(size))
        yield from compare({f"cold, {size:,} tasks of one call": timed}, reference, "us", rounds=rounds)


def _distinct(number: int) -> Callable[[int], int]:
    def add(other: int) -> int:
        return number + other

    return add


def _caches(size: int) -> Pass:
    def timed() -> float:
        with fresh_folder() as folder:
            began = time.process_time()
            for number in range(size):
                with diskcache.Cache(str(folder / str(number))) as cache:
                    cache.set(1, number)
            return (time.process_time() - began) / size

    return timed


def _entries(small: int, large: int, rounds: int) -> Iterator[Figure]:
    with fresh_store() as folder:
        _fill(current_store(), "small", small)
        _fill(current_store(), "large", large)
        store = current_store()
        for what, call, goal in (
            ("look up a call", lambda task, number: store.lookup(task, [_key(number % small)]), _FLAT),
            ("open and look up", lambda task, number: _opened(str(folder), task), _FLAT),
        ):
            count = itertools.count()
            name = f"{what} among {large:,}"
            goals = {name: goal}
            subject = per_call(lambda call=call, count=count: call("large", next(count)), 50)  # type: ignore[misc]
            base = per_call(lambda call=call, count=count: call("small", next(count)), 50)  # type: ignore[misc]
            yield from compare({name: subject}, (f"among {small:,}", base), "us", rounds=rounds, goals=goals)
        name = f"sum up a task, per entry of {large:,}"
        yield from compare(
            {name: _summed(store, "large", large)},
            (f"of {small:,}", _summed(store, "small", small)),
            "us",
            rounds=rounds,
            goals={name: _FLAT},
        )


def _key(number: int) -> str:
    return f'{{"n":{number}}}'


def _opened(folder: str, task: str) -> None:
    from checkpoint.store.disk import DiskStore

    store = DiskStore(folder)
    store.lookup(task, [_key(1)])
    store.close()


def _summed(store: Store, task: str, count: int) -> Pass:
    def timed() -> float:
        began = time.process_time()
        assert summary_of(store, task).entries == count
        return (time.process_time() - began) / count

    return timed


def _fill(store: Store, task: str, count: int) -> None:
    frame = encode(1, "one")
    entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.0, 0.0, frame.size)
    for start in range(0, count, _CHUNK):
        keys = [_key(number) for number in range(start, min(count, start + _CHUNK))]
        store.write(task, [Write(key, f"{key}#0", Epoch(0, 0), entry, frame) for key in keys])
