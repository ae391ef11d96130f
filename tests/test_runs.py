"""Runs: executors, limits, failures, lost workers, timeouts, nesting, async. Numbers in brackets name promises."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import logging
import multiprocessing
import os
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import programs
import pytest
from clusters import wait_for
from programs import chain, choose, process_of, square, total

from checkpoint import (
    DamagedEntryWarning,
    ExecutorTraits,
    StoreError,
    TaskFailedError,
    TaskLostError,
    TaskTimeoutError,
    UnseenCodeWarning,
    UnstorableError,
    memo,
    requires,
    run,
    run_async,
    run_report,
    task,
    task_directory,
)
from checkpoint.events import Event, EventKind, Observer, RunBegun, RunEnded, Tick
from checkpoint.store import store_at

KINDS = ["serial", "threads", "processes", "async", "user threads", "fork", "forkserver", "spawn", "loky"]


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[str, Executor]]:
    """Executors of the user's own, each shared by many runs."""
    from loky import ProcessPoolExecutor as Loky

    made: dict[str, Executor] = {
        method: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))
        for method in ("fork", "forkserver", "spawn")
    }
    made["loky"] = Loky(2)
    made["user threads"] = ThreadPoolExecutor(2)
    yield made
    for pool in made.values():
        pool.shutdown()


@pytest.fixture(params=KINDS)
def executor(request: pytest.FixtureRequest, pools: dict[str, Executor]) -> Executor | str:
    return pools.get(request.param, request.param)


def test_every_executor_gives_the_same_values(executor: Executor | str) -> None:
    """Serial, threads, processes of each start method, an event loop and loky agree, cold and warm. [48] [50]"""
    wanted = [choose(6, 3), {"total": total([square(i) for i in range(20)])}, (chain(5),)]
    expected = [20, {"total": 2470}, (5,)]
    report = run_report(wanted, executor=executor)
    assert expected == report.value
    assert report.computed == 15 + 21 + 6
    again = run_report(wanted, executor=executor)
    assert (expected, 0, 42) == (again.value, again.computed, again.hit)


def test_closures_and_local_tasks_run_on_every_executor(executor: Executor | str) -> None:
    """Tasks that no worker can import travel by value, with the tasks that they use."""

    def make(k: int) -> Any:
        @memo
        def scaled(n: int) -> int:
            return n * k

        @task
        def doubled(n: int) -> Any:
            return requires([scaled(n), scaled(n + 1)])(lambda values: sum(values))

        return doubled

    assert run([make(3)(1), make(4)(1)], executor=executor) == [9, 12]


def test_functions_are_arguments_on_every_executor(executor: Executor | str) -> None:
    """Functions, lambdas, closures, partials, methods and classes compute, and are the same calls in a worker."""
    offset = [1]

    class Local:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def __call__(self, x: int) -> int:
            return x * self.factor + offset[0]

    def shifted(x: int) -> int:
        return inner(x) + 1

    inner = programs.tripled
    functions = [programs.tripled, lambda x: x + offset[0], shifted, functools.partial(max, 7), (5).__add__]
    wanted = [programs.applied_twice(function, 2) for function in functions]
    wanted += [programs.made_with(kind, 3) for kind in (programs.Scale, Local)]
    report = run_report(wanted, executor=executor)
    assert [15, 7, 17, 14, 15, 9, 10] == report.value
    assert report.computed == 3 * 5 + 2
    assert run_report(wanted, executor="serial").computed == 0


def test_async_runners_work_on_every_executor(executor: Executor | str) -> None:
    """`async def` memos and runners are awaited wherever they run."""
    assert programs.fetch_sum(10).run(executor=executor) == 45


def test_runs_inside_runners_are_done_by_the_same_worker(executor: Executor | str) -> None:
    """A runner may call `.run()`; it cannot deadlock a full pool. [nested]"""
    assert [sum(i * i for i in range(n)) for n in range(6)] == run(
        [programs.nested(n) for n in range(6)], executor=executor
    )


def test_a_failure_keeps_its_type_and_names_its_instance(executor: Executor | str) -> None:
    """The original exception reaches the caller, with a note of task and arguments. [57]"""
    with pytest.raises(KeyError, match="Grace") as caught:
        run([programs.fail("Grace"), programs.fail("Hopper")][:1], executor=executor)
    assert "in fail(name='Grace')" in caught.value.__notes__[0]


def test_the_executor_works_after_any_exception(executor: Executor | str) -> None:
    """Exceptions that can't be rebuilt or pickled are reported, and the executor survives. [59]"""
    report = run_report(
        [
            programs.fail_awkwardly(1),
            programs.fail_unpicklably(1),
            programs.leave(3),
            programs.unstorable(1),
            square(2),
        ],
        executor=executor,
        on_error="continue",
    )
    kinds = {instance.task.name.split(".")[-1]: error for instance, error in report.failures.items()}
    assert {"fail_awkwardly", "fail_unpicklably", "leave", "unstorable"} == set(kinds)
    assert "Awkward" in f"{type(kinds['fail_awkwardly']).__name__} {kinds['fail_awkwardly']}"
    assert "no way" in str(kinds["fail_unpicklably"])
    assert isinstance(kinds["leave"], TaskFailedError)
    assert isinstance(kinds["unstorable"], UnstorableError)
    assert "['values'][1]" in str(kinds["unstorable"])
    assert report.computed == 1
    assert square(3).run(executor=executor) == 9


def test_continue_computes_what_does_not_depend_on_failures(executor: Executor | str) -> None:
    """on_error="continue" finishes the rest and raises a group; what is below a failure is skipped."""
    wanted = [total([programs.fail("a"), square(1)]), total([square(2), square(3)]), programs.fail("b")]
    with pytest.raises(ExceptionGroup) as caught:
        run(wanted, executor=executor, on_error="continue")
    assert sorted(error.args[0] for error in caught.value.exceptions) == ["a", "b"]
    assert wanted[1].result() == 13
    report = run_report(wanted, executor=executor, on_error="continue")
    assert (0, 4, 2, [wanted[0]]) == (report.computed, report.hit, report.failed, list(report.skipped))


# --- pools of ours and of the user -----------------------------------------------------------------------


def test_the_default_is_a_pool_of_processes() -> None:
    """Without an executor, several instances are computed by other processes. [48]"""
    found = run([process_of(i) for i in range(8)])
    assert os.getpid() not in found


def test_a_single_instance_is_computed_in_the_calling_thread() -> None:
    """Where at most one instance is to be computed no pool is made."""
    assert os.getpid() == process_of(1).run()


def test_an_executor_of_the_user_stays_usable() -> None:
    """The caller's executor is never shut down, whatever happened in the run. [49]"""
    with ThreadPoolExecutor(2) as pool:
        square(2).run(executor=pool)
        with pytest.raises(KeyError):
            programs.fail("x").run(executor=pool)
        assert pool.submit(lambda: 5).result() == 5


def test_our_pools_are_shut_down() -> None:
    """Processes that a run made are gone when it ends. [49]"""
    before = set(multiprocessing.active_children())
    run([square(i) for i in range(8)], executor="processes")
    assert before == set(multiprocessing.active_children())


@pytest.mark.filterwarnings("ignore::checkpoint.UnseenCodeWarning")
def test_threads_need_no_pickling() -> None:
    """With threads, runners close over locks and open handles. [51]"""
    lock = threading.Lock()

    @task
    def guarded(n: int) -> Any:
        def run_task() -> int:
            with lock:
                return n

        return run_task

    assert run([guarded(n) for n in range(4)], executor="threads") == [0, 1, 2, 3]


class RecordingExecutor(Executor):
    """Runs calls at once and keeps the bytes that went each way."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.received: list[int] = []
        self.counts: list[int] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.sent.append(len(pickle.dumps((fn, args))))
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        self.received.append(len(pickle.dumps(future.result())))
        self.counts.append(len(future.result()[1]))
        return future


class Retelling(Executor):
    """Runs calls at once, and tells otherwise how each instance ended."""

    def __init__(self, retold: Callable[[int], object]) -> None:
        self._retold = retold

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        what, reports, *rest = fn(*args, **kwargs)
        future.set_result((what, [(self._retold(kind), *fields) for kind, *fields in reports], *rest))
        return future


def test_a_report_that_says_nothing_here_is_an_error() -> None:
    """A worker of another version may report what this one doesn't know: that call is lost, and the run ends."""
    report = run_report([square(2), large(3)], executor=Retelling(lambda kind: 99), on_error="continue")
    assert {square(2), large(3)} == set(report.failures)
    for error in report.failures.values():
        assert isinstance(error, TaskLostError)
        assert error.reason == "its worker reported 99, which says nothing here; use one version everywhere"


def test_reports_of_a_second_copy_of_the_package_are_understood() -> None:
    """Where a module was imported twice, what its copy reports means the same."""
    spec = importlib.util.find_spec("checkpoint.job")
    assert spec is not None
    assert spec.loader is not None
    copy: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    report = run_report([square(2), large(3)], executor=Retelling(copy.Kind))
    assert ([4, bytes(3)], 2) == (report.value, report.computed)


@memo
def large(n: int) -> bytes:
    return bytes(n)


@memo
def length(value: Any) -> int:
    return len(value)


def test_no_values_travel() -> None:
    """Neither what is sent to a worker nor what comes back contains results. [52]"""
    recording = RecordingExecutor()
    assert length(large(10_000_000)).run(executor=recording) == 10_000_000
    assert max(recording.sent + recording.received) < 2000


def test_what_is_sent_does_not_grow_with_the_ancestry() -> None:
    """The bytes for one instance are the same at any depth, for tasks and for memos of memos. [53]"""

    @memo
    def step(x: Any) -> int:
        return int(x) + 1

    recording = RecordingExecutor()
    instance = step(0)
    for _ in range(300):
        instance = step(instance)
    run([chain(300), instance], executor=recording)
    assert sum(recording.counts) == 602
    assert max(sent / count for sent, count in zip(recording.sent, recording.counts, strict=True)) < 3000


@pytest.mark.parametrize("nothing", [[], {}, (), [[], {}]])
def test_nothing_to_run(nothing: Any) -> None:
    """No instances give no values, in the same shape."""
    assert nothing == run(nothing)


def test_one_executor_serves_many_runs_and_batches(pools: dict[str, Executor]) -> None:
    """One ProcessPoolExecutor is shared by many runs and by a whole batch of roots."""
    for start in range(0, 40, 10):
        assert [i * i for i in range(start, start + 10)] == run(
            [square(i) for i in range(start, start + 10)], executor=pools["fork"]
        )
    assert run_report([square(i) for i in range(40)], executor=pools["fork"]).computed == 0


def test_small_instances_share_submissions() -> None:
    """Many short instances are submitted together, a few long ones are not."""
    recording = RecordingExecutor()
    run([square(i) for i in range(500)], executor=recording, max_workers=2)
    assert len(recording.sent) < 100


def test_an_executor_that_completes_out_of_order_changes_nothing() -> None:
    """Completions may come in any order and from any thread."""

    class Reversing(Executor):
        def __init__(self) -> None:
            self.held: list[tuple[Future[Any], Any]] = []

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            self.held.append((future, (fn, args, kwargs)))
            threading.Timer(0.001, self.finish).start()
            return future

        def finish(self) -> None:
            future, (fn, args, kwargs) = self.held.pop()
            future.set_result(fn(*args, **kwargs))

    assert choose(6, 3).run(executor=Reversing(), traits=ExecutorTraits(workers=8)) == 20


def test_traits_of_an_unknown_executor_can_be_given() -> None:
    """traits= says how many run at once, that calls stay in this process, and how to submit."""
    submitted = []

    def submit(pool: ThreadPoolExecutor, *call: Any) -> Future[Any]:
        submitted.append(call)
        return pool.submit(*call)

    with ThreadPoolExecutor(3) as pool:
        traits = ExecutorTraits(workers=3, is_local=True, submit=submit)
        assert choose(6, 3).run(executor=pool, traits=traits) == 20
    assert submitted


@memo
def meeting(i: int, folder: str) -> int:
    """Begin, and wait until the other one has begun, too."""
    Path(folder, str(i)).touch()
    wait_for(lambda: len(os.listdir(folder)) == 2)
    return i


def test_a_worker_that_comes_while_all_others_are_busy_gets_work(tmp_path: Path) -> None:
    """A run whose workers all compute looks now and then whether there are more by now."""
    tmp_path.joinpath("met").mkdir()
    folder = str(tmp_path / "met")
    traits = ExecutorTraits(workers=lambda: 2 if os.listdir(folder) else 1)
    with ThreadPoolExecutor(2) as pool:
        assert [0, 1] == run([meeting(i, folder) for i in range(2)], executor=pool, traits=traits)


# --- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_max_concurrency_is_kept_and_reached(kind: str, tmp_path: Path) -> None:
    """The observed peak is never above k, and reaches k when workers allow. [54]"""
    folder = tmp_path / "crowd"
    folder.mkdir()
    Path(f"{folder}.expected").write_text("2")
    crowds = run([programs.limited(i, str(folder)) for i in range(8)], executor=kind, max_workers=4)
    assert max(crowds) == 2


def test_limits_can_be_given_for_a_run(tmp_path: Path) -> None:
    """limits= sets max_concurrency by task or name for one run."""
    folder = tmp_path / "crowd"
    folder.mkdir()
    for limit in ({programs.limited: 1}, {programs.limited.name: 1}):
        programs.limited.clear()
        crowds = run(
            [programs.limited(i, str(folder)) for i in range(4)], executor="threads", max_workers=4, limits=limit
        )
        assert max(crowds) == 1


@pytest.mark.parametrize(("pools_given", "expected"), [(None, 1), ({"gpu": 2}, 2)])
def test_a_pool_is_shared_by_tasks(pools_given: Any, expected: int, tmp_path: Path) -> None:
    """Tasks of one pool hold it together; its size is 1 unless the run says otherwise."""
    folder = tmp_path / "crowd"
    folder.mkdir()
    Path(f"{folder}.expected").write_text(str(expected))
    wanted = [make(i, str(folder)) for i in range(4) for make in (programs.pooled, programs.pooled_too)]
    crowds = run(wanted, executor="threads", max_workers=4, pools=pools_given)
    assert expected == max(crowds)


@pytest.mark.filterwarnings("ignore::checkpoint.UnseenCodeWarning")
def test_a_limited_task_does_not_hold_back_others() -> None:
    """Unlimited instances that are ready start although limited ones wait. [56]"""
    free_ran = threading.Event()

    @memo(max_concurrency=1)
    def narrow(i: int) -> bool:
        return free_ran.wait(10)

    @memo
    def free() -> None:
        free_ran.set()

    assert run([narrow(0), narrow(1), narrow(2), free()], executor="threads", max_workers=2) == [True, True, True, None]


# --- failures --------------------------------------------------------------------------------------------


def test_after_a_failure_pending_instances_do_not_start() -> None:
    """The first failure stops what hasn't started; what finished is kept, and a rerun resumes there. [58]"""
    is_mended = False
    ran: list[int] = []

    @memo
    def fragile(i: int) -> int:
        ran.append(i)
        if i == 3 and not is_mended:
            raise ValueError("not yet")
        return i

    with pytest.raises(ValueError, match="not yet"):
        run([fragile(i) for i in range(50)], executor="serial")
    assert len(ran) < 10
    kept = set(ran) - {3}
    is_mended = True
    ran.clear()
    assert list(range(50)) == run([fragile(i) for i in range(50)], executor="serial")
    assert not kept & set(ran)


@pytest.mark.parametrize("kind", ["threads", "processes", "user threads", "fork"])
def test_what_was_queued_does_not_start_after_a_failure(kind: str, pools: dict[str, Executor], tmp_path: Path) -> None:
    """Batches that wait in the executor's own queue when a failure comes are not begun. [58]"""
    wanted = [programs.fail_when_two_run(i, str(tmp_path)) for i in range(12)]
    watch = FailureWatch(tmp_path / "failed")
    with pytest.raises(OSError, match="first"):
        run(wanted, executor=pools.get(kind, kind), max_workers=2, observers=[watch])
    assert sorted(os.listdir(tmp_path / "marks")) == ["begun-0", "begun-1"]


class Recorder:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.events: list[Event] = []
        self.is_over = False

    def begin(self, run: RunBegun) -> None:
        self.counts = dict(run.counts)

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def tick(self, tick: Tick) -> None:
        assert not self.is_over

    def end(self, ended: RunEnded) -> None:
        self.is_over = True


class FailureWatch(Recorder):
    """An observer that says when an instance has failed, in this process and by a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.has_failed = threading.Event()

    def notify(self, event: Event) -> None:
        if event.kind is EventKind.FAILED:
            self.file.touch()
            self.has_failed.set()


@pytest.mark.parametrize("is_local", [True, False])
def test_short_batches_that_were_queued_ahead_do_not_begin_after_a_failure(is_local: bool, tmp_path: Path) -> None:
    """Short batches wait in the executor's queue; once the run stops, workers don't begin them. [58]"""
    watch, calls = FailureWatch(tmp_path / "failed"), []
    begun: list[int] = []

    @memo
    def quick(i: int) -> int:
        begun.append(i)
        if i == 5:
            raise ValueError("stop here")
        return i

    def submit(pool: ThreadPoolExecutor, *call: Any) -> Future[Any]:
        calls.append(call)
        return pool.submit(after_failure if len(calls) > 2 else run_call, *call)

    def run_call(function: Any, *args: Any) -> Any:
        return function(*args)

    def after_failure(function: Any, *args: Any) -> Any:
        assert watch.has_failed.wait(10)
        return function(*args)

    traits = ExecutorTraits(workers=1, is_local=is_local, submit=submit)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="stop here"):
        run([quick(i) for i in range(300)], executor=pool, traits=traits, observers=[watch])
    assert len(calls) > 2
    assert [0, 1, 2, 3, 4, 5] == begun


@pytest.mark.filterwarnings("ignore::checkpoint.UnseenCodeWarning")
def test_failures_are_not_kept() -> None:
    """A failed instance is tried again by the next run."""
    outcomes = iter([ValueError("once"), 5])

    @memo
    def shaky() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="once"):
        shaky().run()
    assert shaky().run() == 5


@pytest.mark.parametrize("kind", ["serial", "threads", "processes", "async"])
def test_retries_count_failures(kind: str, tmp_path: Path) -> None:
    """retries=2 gives three attempts; then the last exception is raised."""
    assert programs.flaky(1, str(tmp_path), failures=2).run(executor=kind) == 1
    with pytest.raises(OSError, match="attempt 2"):
        programs.flaky(2, str(tmp_path), failures=9).run(executor=kind)
    assert len(list(tmp_path.glob("2-*"))) == 3


def test_the_note_of_a_worker_has_its_traceback() -> None:
    """Where another process computed, its traceback is in the note, without our own frames."""
    with pytest.raises(KeyError) as caught:
        run([programs.fail("x")], executor="processes")
    (note,) = caught.value.__notes__
    assert "raise KeyError(name)" in note
    assert "worker.py" not in note


def test_a_poisonous_instance_is_singled_out() -> None:
    """A runner that kills its worker fails as lost after three attempts; the others are computed."""
    with pytest.raises(ExceptionGroup) as caught:
        run([programs.die(i) for i in range(12)], executor="processes", on_error="continue")
    (error,) = caught.value.exceptions
    assert isinstance(error, TaskLostError)
    assert error.call == "die(x=0)"
    assert list(range(1, 12)) == [programs.die(i).result() for i in range(1, 12)]


def test_a_lost_worker_is_replaced(tmp_path: Path) -> None:
    """Runners that kill their worker once are computed by another one."""
    wanted = [programs.die_once(i, str(tmp_path)) for i in range(4)]
    assert run(wanted, executor="processes", max_workers=2) == [0, 1, 2, 3]


def test_a_broken_pool_of_the_user_is_reported() -> None:
    """We can't rebuild the caller's pool: the error names the calls that were lost, and nothing hangs."""
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool,
        pytest.raises(TaskLostError, match=r"die\(x=0\)"),
    ):
        run([programs.die(0)], executor=pool)


def test_a_shut_down_executor_is_reported() -> None:
    """An executor that takes no more calls raises its own clear error."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        square(2).run(executor=pool)


def test_a_timeout_ends_a_runner() -> None:
    """In processes of ours a runner is stopped after its timeout; others go on."""
    with pytest.raises(ExceptionGroup) as caught:
        run([programs.endless(1), programs.endless(0), square(2)], executor="processes", on_error="continue")
    (error,) = caught.value.exceptions
    assert isinstance(error, TaskTimeoutError)
    assert (error.call, error.seconds) == ("endless(x=1)", 0.3)
    assert (programs.endless(0).is_cached(), square(2).is_cached()) == (True, True)


def test_a_timeout_holds_by_default_for_a_single_instance() -> None:
    """Without an executor, an instance with a timeout runs in a process that can be stopped."""
    with pytest.raises(TaskTimeoutError):
        programs.endless(1).run()


def test_a_runner_that_ignores_its_timeout_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that doesn't react is ended with its process a while after; the others are computed."""
    monkeypatch.setattr("checkpoint.process.GRACE_SECONDS", 0.2)
    wanted = [programs.stubborn(1), *(square(i) for i in range(8))]
    report = run_report(wanted, executor="processes", max_workers=2, on_error="continue")
    assert [TaskTimeoutError] == [type(error) for error in report.failures.values()]
    assert 8 == report.computed


class Killer(Observer):
    """Kills an idle worker of the run when all is computed, and its pool is about to be closed."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.others = {child.pid for child in multiprocessing.active_children()}

    def notify(self, event: Event) -> None:
        self.left -= event.kind is EventKind.COMPUTED
        if not self.left:
            victim = next(child for child in multiprocessing.active_children() if child.pid not in self.others)
            victim.kill()


def test_a_worker_that_is_killed_while_a_run_ends_holds_nobody_up() -> None:
    """The end does not wait for a lock that the dead one has had."""
    for number in range(0, 60, 3):
        wanted = [square(number + i) for i in range(3)]
        assert sum(i * i for i in range(number, number + 3)) == sum(
            run(wanted, executor="processes", max_workers=3, observers=[Killer(3)])
        )


def test_a_runner_that_ignores_its_timeout_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An attempt that had to be ended with its process counts like any other that timed out."""
    monkeypatch.setattr("checkpoint.process.GRACE_SECONDS", 0.2)
    assert 3 == run(programs.stubborn_once(3, str(tmp_path)), executor="processes")


def test_a_worker_that_dies_after_a_timeout_has_not_timed_out(tmp_path: Path) -> None:
    """What ends a worker is only taken for the timeout where nothing else can have been it."""
    assert 3 == run(programs.die_late_once(3, str(tmp_path)), executor="processes")


def test_a_timeout_ends_a_coroutine() -> None:
    """On an event loop a coroutine is cancelled after its timeout."""

    @memo(timeout=0.05)
    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TaskTimeoutError):
        waits().run(executor="async")


def test_a_timeout_that_cannot_be_enforced_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """In the caller's own thread nothing is stopped: the result is kept and the log says so."""

    @memo(timeout=1e-9)
    def late() -> int:
        return 5

    with caplog.at_level(logging.WARNING, "checkpoint"):
        assert late().run(executor="serial") == 5
    assert "its timeout is 1e-09 s" in caplog.text


def test_a_clear_during_a_computation_wins() -> None:
    """A result whose instance was cleared while it was computed is not kept; it is computed again."""
    attempts = []

    @memo
    def slow() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            slow().clear()
        return len(attempts)

    assert slow().run(executor="serial") == 2


# --- damage ----------------------------------------------------------------------------------------------


def damage(instance: Any, store: Path) -> None:
    """Overwrite the stored frame of an instance."""
    import sqlite3

    (folder,) = (store / "checkpoint").glob(f"*{instance.task.name.split('.')[-1]}")
    with sqlite3.connect(folder / "cache.db") as connection:
        connection.execute("UPDATE Cache SET value = x'00' WHERE key > ? AND key < ? || '$'", [instance.key] * 2)
    connection.close()


@pytest.mark.parametrize("kind", ["serial", "threads", "processes"])
def test_a_damaged_result_is_computed_again_with_a_warning(kind: str, store: Path) -> None:
    """A damaged value counts as missing when somebody needs it; nothing below reruns as it comes out equal. [43]"""
    wanted = total([square(2), square(3)])
    assert wanted.run(executor=kind) == 13
    damage(square(2), store)
    damage(wanted, store)
    with pytest.warns(DamagedEntryWarning) as caught:
        assert wanted.run(executor=kind) == 13
    assert {"total", "square"} == {str(warning.message).split("(")[0].split()[-1] for warning in caught}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_report(wanted, executor=kind).computed == 0


def test_a_damaged_result_that_is_read_directly_is_missing(store: Path) -> None:
    """`result()` warns of a damaged entry and raises as if there were none."""
    square(2).run(executor="serial")
    damage(square(2), store)
    with pytest.warns(DamagedEntryWarning), pytest.raises(KeyError):
        square(2).result()
    assert not square(2).is_cached()


# --- scale -----------------------------------------------------------------------------------------------


@pytest.mark.stress
def test_a_chain_of_100_000_runs_at_the_default_recursion_limit() -> None:
    """Depth is limited by memory, not by the stack."""
    assert sys.getrecursionlimit() <= 1000
    assert chain(100_000).run(executor="serial") == 100_000


@pytest.mark.parametrize("count", [5_000, pytest.param(50_000, marks=pytest.mark.stress)])
def test_a_fan_in_of_thousands(count: int) -> None:
    """One instance may require 50,000 others."""

    @task
    def everything(n: int) -> Any:
        return requires([square(i) for i in range(n)])(len)

    assert everything(count).run(executor="serial") == count


# --- calling from elsewhere ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::checkpoint.UnseenCodeWarning")
def test_run_async_does_not_block_the_event_loop() -> None:
    """`await instance.run_async()` lets other coroutines go on, and uses the store of its caller."""

    async def main() -> tuple[int, int, list[int]]:
        went_on = threading.Event()

        @memo
        def waits() -> bool:
            return went_on.wait(10)

        running = asyncio.create_task(waits().run_async(executor="serial"))
        await asyncio.sleep(0)
        went_on.set()
        return await running, await choose(6, 3).run_async(executor="threads"), await run_async([square(2)])

    assert asyncio.run(main()) == (True, 20, [4])


def test_run_from_a_running_event_loop() -> None:
    """`.run()` with coroutines works where a loop is running already, as in a notebook."""

    async def main() -> int:
        return programs.fetch_sum(4).run(executor="serial")

    assert asyncio.run(main()) == 6


def test_thousands_of_calls_share_an_event_loop() -> None:
    """With "async", as many coroutines run at once as max_workers says."""
    running, most = 0, 0

    @memo
    async def call(i: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return i

    assert list(range(1000)) == run([call(i) for i in range(1000)], executor="async", max_workers=500)
    assert 100 < most <= 500


def test_run_from_several_threads() -> None:
    """Runs may be started from several threads at once."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: choose(8, i).run(executor="serial"), range(9)))
    assert found == [1, 8, 28, 56, 70, 56, 28, 8, 1]


# --- reports, events, logs -------------------------------------------------------------------------------


def test_a_report_counts_by_task() -> None:
    """A report has computed, hit, failed, seconds and bytes per task, and the events."""
    square(1).run(executor="serial")
    report = run_report(total([square(1), square(2)]), executor="serial")
    assert report.value == 5
    counts = report.counts[square.name]
    assert (counts.computed, counts.hit, counts.failed) == (1, 1, 0)
    assert counts.size > 0
    assert report.seconds > 0
    assert [event.kind for event in report.events] == [EventKind.COMPUTED] * 2
    assert report.size == sum(count.size for count in report.counts.values())


def test_observers_are_told_everything() -> None:
    """Observers see the counts, a hit, start or end of each instance, and the end of the run."""
    square(1).run(executor="serial")
    recorder = Recorder()
    run(total([square(1), square(2)]), executor="serial", observers=[recorder])
    assert {square.name: 2, total.name: 1} == recorder.counts
    started_and_computed = [EventKind.STARTED, EventKind.COMPUTED]
    assert [EventKind.HIT, *started_and_computed, *started_and_computed] == [event.kind for event in recorder.events]
    assert recorder.is_over


def test_one_logger_and_nothing_printed(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Runs are logged by the logger "checkpoint" alone: INFO for a run, DEBUG for an instance; nothing is printed."""
    with caplog.at_level(logging.DEBUG, "checkpoint"):
        run([square(1), square(2)], executor="processes")
    assert {"checkpoint"} == {record.name for record in caplog.records}
    assert {logging.INFO, logging.DEBUG} == {record.levelno for record in caplog.records}
    assert tuple(capfd.readouterr()) == ("", "")


def test_task_directory_inside_a_process(store: Path) -> None:
    """`task_directory()` works in every worker."""
    path = Path(run([programs.writes_file("hi")], executor="processes")[0])
    assert path.read_text() == "hi"
    assert path.is_relative_to(store)


def test_a_store_that_cannot_be_written_stops_the_run(store: Path) -> None:
    """An unusable store is a StoreError that names the folder, from every kind of worker."""
    store.parent.joinpath("cache").write_text("a file")
    for kind in ("serial", "threads", "processes"):
        with pytest.raises(StoreError, match="cache"):
            run([square(1), square(2)], executor=kind)


def test_a_store_of_ones_own_serves_this_process(tmp_path: Path) -> None:
    """Any object that follows the protocol is a store; executors with other processes say that they can't reach it."""

    class Relay:
        url = "relay:"

        def __init__(self) -> None:
            self.calls: list[str] = []

        def __getattr__(self, name: str) -> Any:
            self.calls.append(name)
            return getattr(store_at(tmp_path / "behind"), name)

    relay = Relay()
    for kind in ("serial", "threads", "async"):
        assert 13 == total([square(2), square(3)]).run(executor=kind, store=relay)
    assert {"lookup", "epochs", "read", "write"} <= set(relay.calls)
    with pytest.raises(TypeError, match="other processes cannot open the store"):
        square(4).run(executor="processes", store=relay)


def test_references_resolve_to_the_same_task() -> None:
    """A task and an instance survive pickling as themselves."""
    assert choose is pickle.loads(pickle.dumps(choose))
    assert choose(3, 1) == pickle.loads(pickle.dumps(choose(3, 1)))
    assert pickle.loads(pickle.dumps(choose(3, 1))).run(executor="serial") == 3


# --- code that cannot be seen ----------------------------------------------------------------------------


def test_what_no_fingerprint_can_see_is_named_once() -> None:
    """A captured lock is named in one warning that points here and says what to do; pinned code needs none."""
    lock = threading.Lock()

    def locked(n: int) -> int:
        with lock:
            return n

    with pytest.warns(UnseenCodeWarning, match=r"locked.*lock.*depends_on=") as caught:
        assert memo(name="lab.locked")(locked)(1).run(executor="serial") == 1
    memo(name="lab.locked")(locked)(2).run(executor="serial")
    memo(name="lab.pinned", version=1)(locked)(1).run(executor="serial")
    assert [__file__] == [warning.filename for warning in caught]


# --- batches that hold a chain ---------------------------------------------------------------------------


@memo
def broken_at_thirty(before: Any, number: int) -> int:
    """Fail at one link of a chain."""
    if number == 30:
        raise LookupError("link 30")
    return int(before) + 1


def links(count: int) -> Any:
    """Return the end of a chain."""
    instance: Any = broken_at_thirty(0, 0)
    for number in range(1, count):
        instance = broken_at_thirty(instance, number)
    return instance


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_failure_inside_a_chain_keeps_what_is_above_it(executor: str) -> None:
    """Links before the one that fails are kept, those after it are skipped, however many were sent along."""
    report = run_report(links(60), executor=executor, max_workers=2, on_error="continue")
    counts = next(iter(report.counts.values()))

    assert (30, 1, 29) == (counts.computed, counts.failed, counts.skipped)
    assert 30 == len(list(broken_at_thirty.entries()))


@task
def clearing(number: int) -> Callable[[], int]:
    """Count up a chain; one link clears an earlier one the first time it is computed."""
    if number == 0:
        return lambda: 0

    def compute(before: int) -> int:
        marker = task_directory().parent / "cleared"
        if number == 40 and not marker.exists():
            marker.touch()
            clearing(35).clear()
        return before + 1

    return requires(clearing(number - 1))(compute)


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_what_was_computed_from_a_cleared_link_is_computed_again(executor: str) -> None:
    """A clear of a link, while those after it are computed in the same go, leaves a chain in which all is fresh."""
    assert clearing(60).run(executor=executor, max_workers=2) == 60
    assert clearing(60).run(executor=executor, max_workers=2) == 60
    assert [] == list(clearing(60).plan().compute)
