"""Hit: a call whose result is kept, alone: what remains of a function's cost when it needn't run."""

from __future__ import annotations

from collections.abc import Iterator

import diskcache

from benchmarks.measure import Figure, compare, per_call
from benchmarks.workloads import fresh_folder, fresh_store, square


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with a hit of `diskcache.Cache.memoize`."""
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
