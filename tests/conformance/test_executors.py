"""Every kind of executor behaves the same under runs: each check of `checkpoint.testing` on each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from conformance.engines import ENGINES, KINDS, MAKERS, dask_cluster

from checkpoint.testing import EXECUTOR_CHECKS, KILLING_CHECKS, Subject, check_executor

pytestmark = pytest.mark.filterwarnings("ignore")  # engines warn of much that is theirs

KILLABLE = ["processes", "fork", "spawn", "loky"]


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[str, Any]]:
    """Executors by kind, each made when it is first wanted, and shared by many runs."""
    with contextlib.ExitStack() as stack:

        class Made(dict[str, Any]):
            def __missing__(self, kind: str) -> Any:
                made = stack.enter_context(MAKERS[kind]()) if kind in MAKERS else kind
                return self.setdefault(kind, made)

        yield Made()


def subject_of(kind: str, pools: dict[str, Any]) -> Subject:
    return Subject(pools[kind], max_workers=2)


@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=pytest.mark.engines) for kind in ENGINES)])
@pytest.mark.parametrize("check", EXECUTOR_CHECKS.values(), ids=EXECUTOR_CHECKS)
def test_conformance(check: Any, kind: str, pools: dict[str, Any]) -> None:
    """What the check says holds on this kind of executor. [48] [49] [50] [57] [59]"""
    check(subject_of(kind, pools))


@pytest.mark.parametrize(
    "kind",
    [
        *KILLABLE,
        pytest.param("dask", marks=pytest.mark.stress),  # `test_dask.py` kills workers, too
        *(pytest.param(kind, marks=pytest.mark.engines) for kind in ENGINES),
    ],
)
@pytest.mark.parametrize("check", KILLING_CHECKS.values(), ids=KILLING_CHECKS)
def test_lost_workers(check: Any, kind: str) -> None:
    """What the check says holds on an executor of its own."""
    with MAKERS[kind]() if kind in MAKERS else contextlib.nullcontext(kind) as executor:
        check(Subject(executor, max_workers=2))


def test_check_executor_names_what_passed() -> None:
    """An executor that behaves passes every check."""
    with ThreadPoolExecutor(2) as pool:
        assert [*EXECUTOR_CHECKS, *KILLING_CHECKS] == check_executor(pool)


def test_a_cluster_of_dask_is_an_executor() -> None:
    """A LocalCluster, as any other cluster object of Dask, takes the place of a Client."""
    with dask_cluster() as cluster:
        EXECUTOR_CHECKS["same_values"](Subject(cluster))
        assert "running" == cluster.status.name


class Forgetful(ThreadPoolExecutor):
    """Answers a call that failed, or any other, with what the first one gave."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not hasattr(self, "first"):
            self.first: Future[Any] = super().submit(fn, *args, **kwargs)
        return self.first


def test_check_executor_tells_what_is_wrong() -> None:
    """An executor that answers from memory fails the checks that need it to compute, by name."""
    with Forgetful(2) as pool, pytest.raises(ExceptionGroup) as caught:
        check_executor(pool)
    notes = [note for error in caught.value.exceptions for note in error.__notes__]
    assert any("in the check same_values" in note for note in notes)
