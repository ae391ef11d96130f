"""ExecutorTraits: what the engine has to know of an executor and cannot see from outside of it.

Must not know: how any of it is used.

Next: engines/__init__.py
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, final

from checkpoint.checks import flag, function, whole

__all__ = ["Connection", "ExecutorTraits", "Submits", "traits_of", "worker_count"]


_NONE: Mapping[str, Any] = MappingProxyType({})


class Submits(Protocol):
    """Anything with a method `submit` like that of `concurrent.futures.Executor`."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Start a call and return its future."""
        ...


@final
class ExecutorTraits:
    """What cannot be seen from outside of an executor; `run(traits=...)` states it for one of your own.

    Args:
        workers: how many calls it runs at once, or a function that tells, which is asked again and again; None if
            unknown (the number of processors is assumed).
        is_local: its calls run in this process, so jobs need no pickling.
        submit: `submit(executor, function, *args, **keywords) -> Future`, where the plain call is not right.
        loss: what the death of a worker ends: the whole `executor`, calls that were near (`neighbours`), or the one
            `call` alone.
        attempts: how often the executor itself tries a call whose workers die, before it says so.
        pools: `pool=` of tasks -> how many of these may run at once, unless the run says it.
        keywords: `pool=` of a task -> keywords for `submit`, such as `{"gpu": {"resources": {"GPU": 1}}}`.
        batch_seconds: about how long a batch of short instances takes; more where a call costs more.
        stop: told the name of a run that stops; it passes it to `checkpoint.remote.stop` in all workers. For workers
            that see other files than this process.
        via: who writes results to the store: the "worker" that computed them, or this process ("parent"), where
            workers cannot open the store. None: found out when a worker gets its first work.
    """

    __slots__ = (
        "attempts",
        "batch_seconds",
        "is_local",
        "keywords",
        "loss",
        "pools",
        "stop",
        "submit",
        "via",
        "workers",
    )

    def __init__(
        self,
        workers: int | Callable[[], int] | None = None,
        is_local: bool = False,
        submit: Callable[..., Any] | None = None,
        loss: Literal["executor", "neighbours", "call"] = "executor",
        attempts: int = 1,
        pools: Mapping[str, int] = _NONE,
        keywords: Mapping[str, Mapping[str, Any]] = _NONE,
        batch_seconds: float = 0.02,
        stop: Callable[[str], object] | None = None,
        via: Literal["worker", "parent"] | None = None,
    ) -> None:
        if workers is not None and not callable(workers):
            whole(workers, "workers of ExecutorTraits", 1)
        flag(is_local, "is_local of ExecutorTraits")
        for name, value in (("submit", submit), ("stop", stop)):
            if value is not None:
                function(value, f"{name} of ExecutorTraits")
        self.workers, self.is_local, self.submit = workers, is_local, submit
        self.loss, self.attempts, self.via = loss, attempts, via
        self.pools, self.keywords = pools, keywords
        self.batch_seconds, self.stop = batch_seconds, stop

    def __repr__(self) -> str:
        return f"ExecutorTraits({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    def overridden(self, given: ExecutorTraits | None) -> ExecutorTraits:
        """Return these traits with what was given in their place."""
        if given is None:
            return self
        plain = ExecutorTraits()
        changed = {name for name in self.__slots__ if getattr(given, name) != getattr(plain, name)}
        return ExecutorTraits(**{name: getattr(given if name in changed else self, name) for name in self.__slots__})


def traits_of(executor: object) -> ExecutorTraits:
    """Return what is known of an executor from its type."""
    workers = getattr(executor, "_max_workers", None)
    is_pool = isinstance(executor, (concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor))
    is_pool_of_threads = isinstance(executor, concurrent.futures.ThreadPoolExecutor)
    is_here = is_pool or type(executor).__module__.partition(".")[0] == "loky"
    return ExecutorTraits(
        workers=workers if isinstance(workers, int) else None,
        is_local=is_pool_of_threads and type(executor).__name__ != "InterpreterPoolExecutor",
        via="worker" if is_here else None,
    )


def worker_count(traits: ExecutorTraits, usual: int, most: int | None) -> int:
    """Return how many batches to have in an executor at once.

    Args:
        traits: of the executor.
        usual: how many where neither it nor the caller tells.
        most: what the caller tells. Of workers that come and go it is how many there may be, so it is kept up.
    """
    workers = traits.workers
    found = workers() if callable(workers) else workers
    if most is not None:
        return most if callable(workers) or found is None else min(found, most)
    return max(1, found if found is not None else usual)


@final
class Connection(NamedTuple):
    """An engine that was reached: what takes calls, what is known of it, and how to give it back."""

    executor: Submits
    traits: ExecutorTraits
    close: Callable[[], None]
