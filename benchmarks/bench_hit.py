"""Hit and miss: a call alone: what remains of a function's cost when it needn't run, and what keeping it costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import diskcache

from benchmarks.measure import Figure, Goal, compare, per_call
from benchmarks.workloads import fresh_folder, fresh_store, square
from checkpoint import run


def figures(quick: bool) -> Iterator[Figure]:
    """Compare hits with those of `diskcache.Cache.memoize` and with `get`, misses with `set`."""
    count = 100 if quick else 2_000
    plain = square.__wrapped__
    with fresh_folder() as folder, diskcache.Cache(str(folder)) as cache, fresh_store():
        memoized = cache.memoize()(plain)
        memoized(7)
        square(7).run(progress=False)
        yield from compare(
            {
                "plain call": per_call(lambda: plain(7), count),
                "hit by .run()": per_call(lambda: square(7).run(progress=False), count),
                "hit by .result()": per_call(lambda: square(7).result(), count),
            },
            ("diskcache.memoize hit", per_call(lambda: memoized(7), count)),
            "us",
        )
        cache.set("7", 49)
        hit = "hit by .run(), beside get"
        yield from compare(
            {hit: per_call(lambda: square(7).run(progress=False), count)},
            ("DiskCache get", per_call(lambda: cache.get("7"), count)),
            "us",
            goals={hit: Goal(1.2, is_ratio=True)},
        )
        numbers = itertools.count(1000)
        together, alone = "miss, with others in a run", "miss by a run of its own"

        def misses() -> None:
            run([square(next(numbers)) for _ in range(count)], executor="serial", progress=False)

        def together_pass() -> float:
            return per_call(misses, 1)() / count

        yield from compare(
            {
                together: together_pass,
                alone: per_call(lambda: square(next(numbers)).run(executor="serial", progress=False), count // 10),
            },
            ("DiskCache set", per_call(lambda: cache.set(str(next(numbers)), 49), count)),
            "us",
            goals={together: Goal(0.8, is_ratio=True)},
        )
