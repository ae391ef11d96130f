"""Ray: a cluster of worker processes, one call at a time in each.

Must not know: graphs, plans, stores.

Next: pool.py
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, final

from checkpoint.traits import Connection, ExecutorTraits

__all__ = ["connect_ray"]


def connect_ray(address: str | None, max_workers: int | None) -> Connection:
    """Return a connection to the Ray that this process uses, or the one at an address; else start one here.

    Raises:
        ImportError: ray is not installed; ConnectionError: nobody answers at the address.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ImportError("executor='ray' needs the package ray: pip install checkpoint-tool[ray]") from error
    close: Callable[[], None] = _nothing
    if not ray.is_initialized():
        ray.init(address, num_cpus=max_workers if address is None else None, include_dashboard=False,
                 log_to_driver=False, logging_level=logging.WARNING)  # fmt: skip
        close = ray.shutdown
    resources: dict[str, float] = ray.cluster_resources()
    traits = ExecutorTraits(
        workers=lambda: max(1, int(ray.cluster_resources().get("CPU", 1))),
        loss="call",
        pools={name.lower(): max(1, int(amount)) for name, amount in resources.items() if _is_pool(name)},
        keywords={
            name.lower(): {"num_gpus": 1} if name == "GPU" else {"resources": {name: 1}}
            for name in resources
            if _is_pool(name)
        },
    )
    return Connection(_RayExecutor(ray), traits, close)


def _is_pool(name: str) -> bool:
    return name not in ("CPU", "memory", "object_store_memory") and ":" not in name


def _nothing() -> None:
    pass


@final
class _RayExecutor:
    """Submits to Ray. It is not asked to try again: that is counted elsewhere."""

    def __init__(self, ray: Any) -> None:
        self._call = ray.remote(_called).options(max_retries=0)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a call; keywords are Ray's own options, such as `num_gpus`."""
        call = self._call.options(**kwargs) if kwargs else self._call
        future: Future[Any] = call.remote(fn, *args).future()
        return future


def _called(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)
