"""The same program on every executor and in every store: `examples/anywhere.py`, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_examples import EXAMPLES

from checkpoint.store import Store, store_at

EXECUTORS = ["serial", "threads", "processes", "fork", "forkserver", "spawn", "loky", "dask"]
ENGINES = ["ray", "executorlib"]
STORES = ["folder", "shared", "s3"]
#: The other pairs are marked `stress`.
COVERING = [("threads", "s3"), ("forkserver", "shared")]
Place = Callable[[str], str]


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Return a function that gives the address of a new store of a kind."""

    def address(kind: str) -> str:
        if kind == "s3":
            url: str = request.getfixturevalue("s3").new_url()
            return url
        number = len(list(tmp_path.iterdir()))
        folder = tmp_path / f"store-{number}"
        folder.mkdir()
        return {"folder": f"{folder}", "shared": f"file://{folder}?shared", "memory": f"memory://{number}"}[kind]

    return address


def start(executor: str, store: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(EXAMPLES / "anywhere.py"), "--executor", executor, "--store", store]
    surroundings = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    return subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output_of(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def kept_in(store: Store) -> dict[tuple[str, str], tuple[bytes, bytes]]:
    """Return what a store has: task and row of each entry, with what it was computed from and its bytes' digest."""
    found = {(task, row): (entry.basis, entry.digest) for task in store.tasks() for row, entry in store.scan(task)}
    store.close()
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[tuple[str, str], tuple[bytes, bytes]]]:
    """Return what the program prints and keeps, one call after the other, in a folder of this computer."""
    url = str(tmp_path_factory.mktemp("expected"))
    output = output_of(start("serial", url))
    kept = kept_in(store_at(url))
    assert (14, "15 computed, 0 found") == (len(kept) - 1, output.splitlines()[-1])
    return output, kept


def check(executor: str, store: str, place: Place, expected: object) -> None:
    """Run the program on an executor and a store, and again where nothing is left to compute."""
    url = place(store)
    output = output_of(start(executor, url))
    assert expected == (output, kept_in(store_at(url)))
    again = output_of(start("serial", url)).splitlines()
    assert [*output.splitlines()[:-1], "0 computed, 15 found"] == again


def test_a_program_is_the_same_on_each_executor_and_in_each_store(place: Place, expected: object) -> None:
    """Three kinds of executor and of store give the same output, and keep entries with the same digests."""
    urls = [place(store) for _, store in COVERING]
    started = [start(executor, url) for (executor, _), url in zip(COVERING, urls, strict=True)]
    outputs = [output_of(process) for process in started]
    assert [expected] * len(COVERING) == [
        (output, kept_in(store_at(url))) for output, url in zip(outputs, urls, strict=True)
    ]


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_a_program_is_the_same_with_a_store_in_memory(
    executor: str, place: Place, expected: tuple[str, object]
) -> None:
    """What threads keep in memory is what others keep elsewhere, as far as the program shows."""
    assert expected[0] == output_of(start(executor, place("memory")))


@pytest.mark.stress
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_with_every_store(executor: str, store: str, place: Place, expected: object) -> None:
    """Every executor gives the same output and the same digests in every kind of store, and finds them again."""
    check(executor, store, place, expected)


@pytest.mark.engines
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("executor", ENGINES)
def test_every_engine_with_every_store(executor: str, store: str, place: Place, expected: object) -> None:
    """Engines that few have installed give the same as any executor, in every kind of store."""
    check(executor, store, place, expected)
