"""Executors for the conformance tests: each kind is made once, when a test first wants it."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

KINDS = ["serial", "threads", "async", "user threads", "fork", "forkserver", "spawn", "loky", "dask"]
ENGINES = ["ray", "executorlib"]


def pool(method: str) -> Any:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))


def loky_pool() -> Any:
    from loky import ProcessPoolExecutor as Loky

    return Loky(2)


@contextlib.contextmanager
def dask_cluster(**options: Any) -> Iterator[Any]:
    """Two worker processes of Dask on this computer."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=":0",
        scheduler_kwargs={"dashboard": False},
        silence_logs="CRITICAL",
        **options,
    ) as cluster:
        yield cluster


@contextlib.contextmanager
def dask_client() -> Iterator[Any]:
    from distributed import Client

    with dask_cluster() as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextlib.contextmanager
def ray_of_two() -> Iterator[Any]:
    import ray

    if ray.is_initialized():  # a process has one; another test uses it
        yield "ray"
        return
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        yield "ray"
    finally:
        ray.shutdown()


@contextlib.contextmanager
def executorlib_of_two() -> Iterator[Any]:
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=2, block_allocation=True) as executor:
        yield executor


MAKERS: dict[str, Callable[[], Any]] = {
    "user threads": lambda: ThreadPoolExecutor(2),
    "fork": lambda: pool("fork"),
    "forkserver": lambda: pool("forkserver"),
    "spawn": lambda: pool("spawn"),
    "loky": loky_pool,
    "dask": dask_client,
    "ray": ray_of_two,
    "executorlib": executorlib_of_two,
}
