"""The work with other libraries, each used as its manual says; a library is imported only where it is measured.

`LIBRARIES` says of each how it is installed, and what a second run does: "all" looks at every node again and notices
if the result of one is gone, "root" looks at the root alone, "nothing" computes again as nothing is kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.programs import work
from benchmarks.programs.work import Key, Work, evaluate


class Peer(NamedTuple):
    """A way of doing the work."""

    function: str
    #: Name of the package on the index.
    package: str
    #: What a second run looks at: "all", "root" or "nothing".
    looks_at: str


LIBRARIES = {
    "doit": Peer("by_doit", "doit", "all"),
    "jug, 1 process": Peer("by_jug", "jug", "all"),
    "mandala": Peer("by_mandala", "pymandala", "all"),
    "luigi, 1 worker": Peer("by_luigi", "luigi", "root"),
    "diskcache.memoize": Peer("by_diskcache_memoize", "diskcache", "root"),
    "joblib.Memory": Peer("by_joblib", "joblib", "root"),
    "cachier, separate files": Peer("by_cachier", "cachier", "root"),
    "charmonium.cache": Peer("by_charmonium", "charmonium.cache", "root"),
    "redun": Peer("by_redun", "redun", "root"),
    "dask, synchronous": Peer("by_dask", "dask", "nothing"),
}


def _by_recursion(work: Work, memoize: Callable[[Any], Any]) -> Any:
    """Do the work with memoized functions that call themselves."""

    @memoize
    def choose(n: int, k: int) -> int:
        return choose(n - 1, k - 1) + choose(n - 1, k) if 0 < k < n else 1  # type: ignore[no-any-return]

    @memoize
    def leaf(number: int) -> int:
        return number

    @memoize
    def wide(count: int) -> int:
        return sum([leaf(number) for number in range(count)])

    return {"choose": choose, "wide": wide}[work.kind](*work.root[1:])


def by_diskcache_memoize(work: Work, folder: str) -> Any:
    """Use `Cache.memoize`."""
    import diskcache

    with diskcache.Cache(folder) as cache:
        return _by_recursion(work, cache.memoize())


def by_joblib(work: Work, folder: str) -> Any:
    """Use `Memory.cache`."""
    import joblib

    return _by_recursion(work, joblib.Memory(folder, verbose=0).cache)


def by_cachier(work: Work, folder: str) -> Any:
    """Use `cachier` with a file for each result."""
    import cachier

    return _by_recursion(work, cachier.cachier(backend="pickle", cache_dir=folder, separate_files=True))


def by_charmonium(work: Work, folder: str) -> Any:
    """Use `memoize` with a group on disk."""
    import charmonium.cache as charmonium

    group = charmonium.MemoizedGroup(obj_store=charmonium.DirObjStore(path=Path(folder, "kept")), size="1GiB")
    return _by_recursion(work, charmonium.memoize(group=group))


def _named(key: Key) -> str:
    return "_".join(map(str, key))


def by_doit(work: Work, folder: str) -> Any:
    """Use a task for each node that runs once, and `getargs`."""
    from doit.cmd_base import ModuleTaskLoader
    from doit.dependency import DbmDB, JSONCodec
    from doit.doit_cmd import DoitMain
    from doit.tools import run_once

    def action(key: Key, function: Any, count: int) -> Callable[..., dict[str, Any]]:
        return lambda **given: {"value": evaluate(key, function, [given[f"a{index}"] for index in range(count)])}

    def task_nodes() -> Iterator[dict[str, Any]]:
        for key, (function, upstream) in work.nodes().items():
            arguments = {f"a{index}": (f"nodes:{_named(above)}", "value") for index, above in enumerate(upstream)}
            yield {
                "name": _named(key),
                "actions": [(action(key, function, len(upstream)),)],
                "uptodate": [run_once],
                "getargs": arguments,
            }

    os.chdir(folder)
    root = f"nodes:{_named(work.root)}"
    DoitMain(ModuleTaskLoader({"task_nodes": task_nodes})).run(
        ["run", "--db-file", "kept.db", "-v", "0", "-o", "log", root]
    )
    return DbmDB("kept.db", JSONCodec()).get(root, "_values_:")["value"]


_JUG = """
from jug import TaskGenerator
from benchmarks.programs.work import Work, evaluate

work = Work({kind!r}, {size})
made = {{}}
compute = TaskGenerator(evaluate)
for key, (function, upstream) in work.nodes().items():
    made[key] = compute(key, function, [made[above] for above in upstream])
root = made[work.root]
"""


def by_jug(work: Work, folder: str) -> Any:
    """Use `jug execute` on a file that makes the tasks."""
    import jug.jug

    file, kept = Path(folder, "work_of_jug.py"), f"{folder}/kept"
    file.write_text(_JUG.format(kind=work.kind, size=work.size))
    main = "import sys; from jug.jug import main; main(sys.argv)"
    subprocess.run(
        [sys.executable, "-c", main, "execute", str(file), f"--jugdir={kept}"], check=True, capture_output=True
    )
    _, space = jug.jug.init(str(file), kept)
    return jug.value(space["root"])


def by_luigi(work: Work, folder: str) -> Any:
    """Use a task with a file for each node, one worker and the local scheduler."""
    import luigi

    class Node(luigi.Task):  # type: ignore[misc]  # luigi's metaclass
        key = luigi.TupleParameter()

        def output(self) -> Any:
            return luigi.LocalTarget(f"{folder}/{_named(self.key)}")

        def requires(self) -> list[Any]:
            return [Node(key=above) for above in nodes[self.key][1]]

        def run(self) -> None:
            values = [int(Path(target.path).read_text()) for target in self.input()]
            with self.output().open("w") as file:
                file.write(str(evaluate(self.key, nodes[self.key][0], values)))

    nodes = work.nodes()
    root = Node(key=work.root)
    luigi.build([root], local_scheduler=True, workers=1, no_lock=True, log_level="CRITICAL")
    return int(Path(root.output().path).read_text())


def by_mandala(work: Work, folder: str) -> Any:
    """Use an op for each function and a storage in a file."""
    from mandala.imports import Storage, op

    storage = Storage(db_path=f"{folder}/kept.db")
    ops: dict[Any, Any] = {}
    made: dict[Key, Any] = {}
    with storage:
        for key, (function, upstream) in work.nodes().items():
            compute = ops.get(function) or ops.setdefault(function, op(function))
            made[key] = compute(*[made[above] for above in upstream])
    return storage.unwrap(made[work.root])


def by_redun(given: Work, folder: str) -> Any:
    """Use tasks on threads, with SQLite, checking what is cached at the root alone."""
    import logging

    from redun import Scheduler, task
    from redun.config import Config

    logging.disable(logging.WARNING)

    @task(namespace="benchmarks", check_valid="shallow")
    def add(first: int, second: int) -> int:
        return work.add(first, second)

    @task(namespace="benchmarks", check_valid="shallow")
    def choose(n: int, k: int) -> Any:
        return add(choose(n - 1, k - 1), choose(n - 1, k)) if 0 < k < n else 1

    scheduler = Scheduler(config=Config({"backend": {"db_uri": f"sqlite:///{folder}/kept.db"}}))
    scheduler.load()
    return scheduler.run(choose(*given.root[1:]))


def by_dask(work: Work, folder: str) -> Any:
    """Use a graph of tuples and the synchronous scheduler."""
    from dask.local import get_sync

    graph = {
        key: (evaluate, (tuple, list(key)), function, list(upstream))
        for key, (function, upstream) in work.nodes().items()
    }
    return get_sync(graph, work.root)
