"""Dask: a scheduler with workers on any number of computers.

Calls are submitted with `pure=False`, since Dask takes equal calls for one; what it keeps of a result is a short
report. Dask itself repeats a call whose worker dies, so a call that it gives up has taken several workers along.

Must not know: graphs, plans, stores.

Next: engines/ray.py
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any, final

from checkpoint import remote
from checkpoint.errors import TaskLostError
from checkpoint.traits import Connection, ExecutorTraits, Submits

__all__ = ["connect_dask", "is_of_dask"]

#: How long what was heard of the workers is believed.
_FRESH_SECONDS = 5.0
#: At most so many workers are asked before the start; the others are when they get their first work.
_MOST_ASKED = 100
_ANSWER_SECONDS = 30
#: A round trip takes 10 ms and more.
_BATCH_SECONDS = 0.15
#: Gives the `Facts` of a process that need not have this package.
_ASK = "['%d.%d' % __import__('sys').version_info[:2], __import__('checkpoint').__version__]"
logger = logging.getLogger("checkpoint")


def is_of_dask(executor: object) -> bool:
    """Tell whether this is a Client, what its `get_executor` gives, or a cluster."""
    distributed: Any = importlib.import_module("distributed")
    kinds = (distributed.Client, distributed.cfexecutor.ClientExecutor, distributed.deploy.cluster.Cluster)
    return isinstance(executor, kinds)


def connect_dask(executor: object, max_workers: int | None) -> Connection:
    """Return a connection to "dask", an address, a Client or a cluster; what was given stays open.

    Raises:
        ImportError: distributed is not installed; OSError: nobody answers at the address.
        TaskLostError: workers or scheduler have another Python, another version of this package, or none.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise ImportError("executor='dask' needs the package distributed: pip install checkpoint-tool[dask]") from error
    client, close = _client_of(distributed, executor, max_workers)
    try:
        workers = client.scheduler_info()["workers"]
        _check(client, list(workers)[:_MOST_ASKED])
    except BaseException:
        close()
        raise
    if not workers:
        logger.warning("the Dask cluster at %s has no worker yet; waiting for one", client.scheduler.address)
    resources: dict[str, float] = {}
    for worker in workers.values():
        for name, amount in worker["resources"].items():
            resources[name] = resources.get(name, 0) + amount
    traits = ExecutorTraits(
        workers=_Threads(client),
        submit=_submit,
        loss="neighbours",
        batch_seconds=_BATCH_SECONDS,
        attempts=1 + int(importlib.import_module("dask").config.get("distributed.scheduler.allowed-failures")),
        pools={name: max(1, int(amount)) for name, amount in resources.items()},
        keywords={name: {"resources": {name: 1}} for name in resources},
        stop=lambda run: _tell_all(client, remote.stop, run),
    )
    return Connection(client.get_executor(pure=False, retries=0), traits, close)


def _client_of(distributed: Any, executor: Any, max_workers: int | None) -> tuple[Any, Callable[[], None]]:
    """Return a client, and what closes what was made for it."""
    if isinstance(executor, distributed.Client):
        return executor, _nothing
    if isinstance(executor, distributed.cfexecutor.ClientExecutor):
        return executor._client, _nothing
    if executor == "dask":
        try:
            return distributed.default_client(), _nothing
        except ValueError:
            return _local(distributed, max_workers)
    try:
        client = distributed.Client(executor, set_as_default=False)
    except OSError as error:
        raise OSError(f"no Dask scheduler answers at {executor}: {error}") from error
    return client, client.close


def _local(distributed: Any, max_workers: int | None) -> tuple[Any, Callable[[], None]]:
    """Start a scheduler and workers on this computer."""
    import multiprocessing

    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "this script starts a run while a worker process imports it; "
            'put what it does at top level below `if __name__ == "__main__":`'
        )
    # No dashboard: distributed 2026.7 cannot stop that of bokeh 3.10. Any port, as two of these may run at once.
    cluster = distributed.LocalCluster(
        n_workers=max_workers, threads_per_worker=1, dashboard_address=":0", scheduler_kwargs={"dashboard": False}
    )
    client = distributed.Client(cluster, set_as_default=False)

    def close() -> None:
        client.close()
        cluster.close()

    return client, close


def _nothing() -> None:
    pass


def _check(client: Any, workers: list[str]) -> None:
    """Refuse scheduler and workers that cannot compute for this process."""
    asked = client.run(eval, _ASK, workers=workers, on_error="return") if workers else {}
    try:
        asked["the scheduler"] = client.run_on_scheduler(eval, _ASK)
    except ImportError as error:
        asked["the scheduler"] = error
    except Exception:
        logger.debug("the Dask scheduler does not say what it runs", exc_info=True)
    here = remote.facts_of_here()
    for place, answer in asked.items():
        if isinstance(answer, BaseException):
            text = f"{place} cannot import checkpoint ({answer}); install it where scheduler and workers run"
            raise TaskLostError("every instance", text)
        if text := remote.difference(here, remote.Facts(answer[0], answer[1], place)):
            raise TaskLostError("every instance", text)


def _tell_all(client: Any, function: Callable[..., object], *args: object) -> None:
    """Call a function in all workers; one that cannot be reached computes nothing more anyway."""
    if client.status != "running":
        return
    try:
        client.sync(client._run, function, *args, on_error="ignore", callback_timeout=_ANSWER_SECONDS)
    except Exception:
        logger.debug("not all Dask workers were told", exc_info=True)


@final
class _Threads:
    """How many calls the workers run at once, as heard a moment ago."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._count, self._heard_at = 0, -_FRESH_SECONDS

    def __call__(self) -> int:
        now = time.monotonic()
        if now - self._heard_at > _FRESH_SECONDS and self._client.status == "running":
            try:
                self._count = sum(self._client.nthreads().values())
            except Exception:
                logger.debug("the Dask scheduler does not answer", exc_info=True)
            self._heard_at = now
        return self._count


def _submit(executor: Submits, function: Callable[..., Any], *args: Any, **keywords: Any) -> Future[Any]:
    """Submit a call, and wait with it while the client looks for a scheduler that it has lost."""
    client: Any = executor._client  # type: ignore[attr-defined]
    while client.status in ("connecting", "newly-connected"):
        time.sleep(0.05)
    if client.status != "running":
        raise BrokenExecutor(f"the Dask client is {client.status}; is its scheduler gone?")
    future: Future[Any] = executor.submit(function, *args, **keywords)
    return future
