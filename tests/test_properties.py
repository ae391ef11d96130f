"""Random graphs, clears, losses, failures and edits on every executor, against the oracle."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from oracle import Oracle, World
from worlds import NodeFailure, live_in, node, save

from checkpoint import TaskInstance, open_store, run_report
from checkpoint.store import current_store
from checkpoint.version import row_of_entry

LARGEST = 9


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(st.integers(1, LARGEST))
    requires = [draw(st.lists(st.integers(0, n - 1), max_size=3)) if n else [] for n in range(count)]
    codes = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    return World(requires, codes)


#: What happens between runs: (what, which node, a number).
steps = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "run", "clear", "lose", "edit", "rewire", "fail", "mend"]),
        st.integers(0, 99),
        st.integers(0, 99),
    ),
    min_size=2,
    max_size=20,
)


@pytest.fixture(scope="module", params=["serial", "threads", "fork", "forkserver", "spawn", "loky", "async"])
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One executor of each kind, shared by all examples; worlds reach its processes through a file."""
    path = tmp_path_factory.mktemp("world") / "world.json"
    live_in(path)
    pool: Executor | str = request.param
    if request.param == "threads":
        pool = ThreadPoolExecutor(2)
    elif request.param == "loky":
        from loky import ProcessPoolExecutor as Loky

        pool = Loky(2, initializer=live_in, initargs=(path,))
    elif request.param not in ("serial", "async"):
        context = multiprocessing.get_context(request.param)
        pool = ProcessPoolExecutor(2, mp_context=context, initializer=live_in, initargs=(path,))
    yield pool, path
    if isinstance(pool, Executor):
        pool.shutdown()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds(), script=steps)
def test_runs_compute_what_the_oracle_says(
    executor: tuple[Any, Path],
    tmp_path_factory: pytest.TempPathFactory,
    world: World,
    script: list[tuple[str, int, int]],
) -> None:
    """Whatever is cleared, lost, edited or failing, a run computes exactly the stale instances, to the right values."""
    pool, path = executor
    world, oracle, count = copy.deepcopy(world), Oracle(), len(world.codes)
    with open_store(tmp_path_factory.mktemp("store")):
        for what, first, second in [("run", count - 1, 0), *script, ("run", count - 1, 0)]:
            number = first % count
            if what == "clear":
                node(number).clear()
                oracle.clear(number) if oracle.kept else None
            elif what == "lose":
                lose(number)
                oracle.lose(number)
            elif what == "edit":
                world.codes[number] = second % 3
            elif what == "rewire" and number:
                world.requires[number] = [second % number]
            elif what == "fail":
                world.failing.add(number)
            elif what == "mend":
                world.failing.discard(number)
            save(world, path)
            if what == "run":
                compare(world, oracle, number, pool)


def node_without_body(number: int) -> TaskInstance[int]:
    return TaskInstance(node, f'{{"number":{number}}}', (number,))


def lose(number: int) -> None:
    """Set all entries of a node aside, as if each had been found damaged."""
    store, key = current_store(), node_without_body(number).key
    for entry in store.lookup(node.name, [key]).get(key, []):
        store.quarantine(node.name, row_of_entry(key, entry))


def compare(world: World, oracle: Oracle, root: int, pool: Any) -> None:
    report = run_report(node(root), executor=pool, on_error="continue")
    computed, failed = oracle.run(world, root)
    assert computed == {event.instance.arguments["number"] for event in report.events if event.kind.value == "computed"}
    assert failed == {instance.arguments["number"] for instance in report.failures}
    if failed:
        with pytest.raises(ExceptionGroup) as caught:
            _ = report.value
        assert all(isinstance(error, NodeFailure) for error in caught.value.exceptions)
    else:
        assert oracle.used[root].value == report.value
