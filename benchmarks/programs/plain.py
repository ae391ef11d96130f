"""The work with plain tools: the references."""

from __future__ import annotations

import contextlib
from typing import Any

from benchmarks.programs.work import Key, Work, as_text, evaluate


def in_memory(work: Work, folder: str) -> Any:
    """Keep nothing."""
    values: dict[Key, Any] = {}
    for key, (function, upstream) in work.nodes().items():
        values[key] = evaluate(key, function, [values[above] for above in upstream])
    return values[work.root]


def written_down(work: Work, folder: str) -> Any:
    """Do nothing, as one who wrote the result into the program."""
    return work.value


def diskcache_each(work: Work, folder: str, *, is_one_transaction: bool = False) -> Any:
    """Look up each node in a DiskCache and set what is missing."""
    import diskcache

    with diskcache.Cache(folder) as cache:
        values: dict[Key, Any] = {}
        with cache.transact() if is_one_transaction else contextlib.nullcontext():
            for key, (function, upstream) in work.nodes().items():
                text = as_text(key)
                value = cache.get(text)
                if value is None:
                    value = evaluate(key, function, [values[above] for above in upstream])
                    cache.set(text, value)
                values[key] = value
        return values[work.root]


def diskcache_at_once(work: Work, folder: str) -> Any:
    """Do the same in one transaction: a kill loses everything."""
    return diskcache_each(work, folder, is_one_transaction=True)


_caches: dict[str, Any] = {}


def _kept(folder: str, key: Key, function: Any, values: list[Any]) -> Any:
    import diskcache

    if folder not in _caches:
        _caches[folder] = diskcache.Cache(folder)
    value = evaluate(key, function, values)
    _caches[folder].set(as_text(key), value)
    return value


def callback_loop(work: Work, folder: str) -> Any:
    """Submit each ready node to two processes, which keep values in a DiskCache; values ride with the calls."""
    from concurrent.futures import Future, ProcessPoolExecutor
    from queue import SimpleQueue

    nodes = work.nodes()
    open_count = {key: len(upstream) for key, (_, upstream) in nodes.items()}
    below: dict[Key, list[Key]] = {}
    for key, (_, upstream) in nodes.items():
        for above in upstream:
            below.setdefault(above, []).append(key)
    values: dict[Key, Any] = {}
    pending: dict[Future[Any], Key] = {}
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    ready = [key for key, count in open_count.items() if not count]
    with ProcessPoolExecutor(2) as pool:
        while ready or pending:
            for key in ready:
                function, upstream = nodes[key]
                future = pool.submit(_kept, folder, key, function, [values[above] for above in upstream])
                pending[future] = key
                future.add_done_callback(done.put)
            ready = []
            future = done.get()
            key = pending.pop(future)
            values[key] = future.result()
            for consumer in below.get(key, ()):
                open_count[consumer] -= 1
                if not open_count[consumer]:
                    ready.append(consumer)
    return values[work.root]
