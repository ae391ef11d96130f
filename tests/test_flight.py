"""Several runs on one store at once: each instance is computed by one of them. Letters in brackets name promises."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import checkpoint
from checkpoint import collect, memo, parking, run, run_report
from checkpoint.events import Event, Observer
from checkpoint.store import WriteBehind, behind, current_store, disk
from checkpoint.store.claims import open_claims

WAIT_S = 60
FOLDER = Path(__file__).parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these tests need the locks of Linux")


class Watcher(Observer):
    """An observer that keeps the kinds of events, and sets an event of its own once something is parked."""

    def __init__(self) -> None:
        self.kinds: list[tuple[str, str]] = []
        self.parked = threading.Event()

    def notify(self, event: Event) -> None:
        self.kinds.append((event.kind.value, repr(event.instance)))
        if event.kind.value == "parked":
            self.parked.set()


class Gate:
    """What the runners of these tests wait at; the names of those that came, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.turns: list[threading.Event] = []
        self.begun = threading.Event()
        self.opened = threading.Event()

    def wait(self, name: str) -> None:
        self.calls.append(name)
        self.begun.set()
        assert self.opened.wait(WAIT_S)


gate = Gate()


@pytest.fixture(autouse=True)
def new_gate() -> Iterator[None]:
    """Give each test a gate of its own."""
    global gate
    gate = Gate()
    yield
    gate.opened.set()


@memo
def slow(name: str) -> str:
    gate.wait(name)
    if name.startswith("bad"):
        raise OSError(name)
    return name


@memo
def quick(name: str) -> str:
    gate.calls.append(name)
    return name


class Background:
    """A run in another thread."""

    def __init__(self, instances: Any, **options: Any) -> None:
        self.watcher = Watcher()
        self._found: list[Any] = []
        options = {"executor": "serial", "observers": [self.watcher], **options}
        self._thread = threading.Thread(target=self._run, args=(instances, options))
        self._thread.start()

    def _run(self, instances: Any, options: dict[str, Any]) -> None:
        try:
            self._found.append(run_report(instances, **options))
        except BaseException as error:
            self._found.append(error)

    def report(self) -> Any:
        """Wait for the end; return the report, or what was raised."""
        self._thread.join(WAIT_S)
        return self._found[0]


def begun(instances: Any, **options: Any) -> Background:
    """Start a run in another thread and wait until a runner is at the gate."""
    found = Background(instances, **options)
    assert gate.begun.wait(WAIT_S)
    return found


# --- one waits for the other -----------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["serial", "threads", "async"])
def test_what_another_run_computes_is_waited_for_and_found(executor: str) -> None:
    """A busy instance is parked; when its result is there it counts as a hit that was found. [T3]"""
    first = begun(slow("a"))
    second = Background(slow("a"), executor=executor)
    assert second.watcher.parked.wait(WAIT_S)
    gate.opened.set()
    reports = first.report(), second.report()
    assert [(1, 0, 0), (0, 1, 1)] == [(report.computed, report.hit, report.found) for report in reports]
    assert (["a"], "a") == (gate.calls, reports[1].value)
    kinds = [kind for kind, _ in second.watcher.kinds]
    assert ["started", "parked", "started", "found"] == kinds


def test_a_busy_instance_blocks_nothing_else() -> None:
    """While one instance is parked, everything that doesn't depend on it is computed, in one single worker. [T3]"""
    first = begun(slow("a"))
    second = Background([slow("a"), quick("b"), quick("c")])
    deadline = time.monotonic() + WAIT_S
    while not (quick("b").is_cached() and quick("c").is_cached()):
        assert time.monotonic() < deadline
    assert ["a", "b", "c"] == gate.calls
    gate.opened.set()
    assert ["a", "b", "c"] == second.report().value
    first.report()


def test_who_waits_takes_over_after_a_failure() -> None:
    """When the other run's attempt failed, the waiting run makes its own. [T3]"""
    first = begun(slow("bad"))
    second = Background(slow("bad"))
    assert second.watcher.parked.wait(WAIT_S)
    gate.opened.set()
    failures = [list(found.report().failures.values()) for found in (first, second)]
    assert [["bad"], ["bad"]] == [[str(error) for error in errors] for errors in failures]
    assert ["bad", "bad"] == gate.calls


def test_a_run_that_fails_does_not_wait_for_what_is_parked() -> None:
    """With on_error="raise" a failure ends the run, although another run still computes something of it. [T3]"""
    first = begun(slow("a"))
    gate.calls.clear()

    @memo
    def broken() -> int:
        raise KeyError("broken")

    report = run_report([slow("a"), broken()], executor="serial")
    assert (["KeyError('broken')"], []) == ([repr(error) for error in report.failures.values()], gate.calls)
    gate.opened.set()
    first.report()


def test_a_run_that_continues_waits_for_what_is_parked() -> None:
    """With on_error="continue" what another run computes is waited for, failures or not. [T3]"""
    first = begun(slow("a"))

    @memo
    def broken() -> int:
        raise KeyError("broken")

    second = Background([slow("a"), broken()], on_error="continue")
    assert second.watcher.parked.wait(WAIT_S)
    gate.opened.set()
    report = second.report()
    assert (1, 1, 1) == (report.failed, report.hit, report.found)
    first.report()


def test_two_forced_runs_compute_one_after_the_other() -> None:
    """force=True waits for who computes the same, and computes it nevertheless. [T3]"""
    first = begun(slow("a"), force=True)
    second = Background(slow("a"), force=True)
    assert second.watcher.parked.wait(WAIT_S)
    assert ["a"] == gate.calls
    gate.opened.set()
    assert [1, 1] == [first.report().computed, second.report().computed]
    assert ["a", "a"] == gate.calls


def test_a_result_of_the_other_run_that_was_cleared_is_computed_again() -> None:
    """A clear while both runs are under way: the result from before is not kept, so it is computed anew, once. [T3]"""
    first = begun(slow("a"))
    second = Background(slow("a"))
    assert second.watcher.parked.wait(WAIT_S)
    slow("a").clear()
    gate.opened.set()
    assert ["a", "a"] == [first.report().value, second.report().value]
    assert ["a", "a"] == gate.calls


def test_an_instance_that_is_not_stored_waits_for_nobody() -> None:
    """With store=False each consumer computes the value for itself; only the consumers are claimed. [T3]"""

    @memo(store=False)
    def passing(name: str) -> str:
        gate.calls.append("passing")
        return name

    @memo
    def held(name: str) -> str:
        gate.wait(name)
        return name

    first = begun(held(passing("x")))
    second = run_report(quick(passing("x")), executor="serial")
    gate.opened.set()
    assert (0, 1, "x") == (second.found, second.computed, first.report().value)
    assert ["passing", "passing"] == [name for name in gate.calls if name == "passing"]


def test_a_collected_value_is_not_taken_for_found() -> None:
    """What is known of a value that was collected doesn't stand for the value, whatever others commit. [T3]"""

    @memo
    def commits_of_others() -> int:
        holder = current_store().claims()
        holder.committed()
        holder.close()
        return 0

    run(quick("a"), executor="serial")
    assert 1 == len(collect(tasks=[quick], older_than=0, apply=True).values)
    report = run_report([commits_of_others(), quick("a")], executor="serial")
    assert (2, 0, "a") == (report.computed, report.found, report.value[1])


def test_a_plain_run_finds_nothing_of_others() -> None:
    """Where nobody else is at work, nothing is counted as found. [T3]"""
    report = run_report([quick("a"), quick("b")], executor="serial")
    again = run_report([quick("a"), quick("b")], executor="serial")
    assert [(2, 0, 0), (0, 2, 0)] == [(found.computed, found.hit, found.found) for found in (report, again)]


# --- where claims were lost ------------------------------------------------------------------------------


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[threading.Event]]:
    """Let everything be granted, and return what lets the first and the second call of `told` go on."""
    numbers = itertools.count()
    monkeypatch.setattr(disk, "open_claims", lambda path: open_claims(f"{tmp_path}/claims-{next(numbers)}"))
    monkeypatch.setattr(behind, "_LONG_SECONDS", -1.0)
    gate.turns = [threading.Event(), threading.Event()]
    yield gate.turns
    for turn in gate.turns:
        turn.set()


@memo
def told(name: str) -> str:
    """Return another result each time."""
    number = len(gate.calls)
    gate.calls.append(name)
    assert gate.turns[number].wait(WAIT_S)
    return f"{name} {number}"


@memo
def used(text: str) -> str:
    return f"{text}, used"


def both_begun(instance: Any, **options: Any) -> list[Background]:
    """Start two runs that both compute the same thing; the options are those of the second."""
    found: list[Background] = []
    for own in ({}, options):
        found.append(Background(instance, **own))
        deadline = time.monotonic() + WAIT_S
        while len(gate.calls) < len(found):
            assert time.monotonic() < deadline
            os.sched_yield()
    return found


@pytest.mark.parametrize("executor", ["serial", "threads", "async"])
def test_the_first_result_stays(executor: str, turns: list[threading.Event]) -> None:
    """Of two runs that compute the same instance at once the first to commit wins; both go on with its result. [T3]"""
    first, second = both_begun(used(told("a")), executor=executor)
    turns[1].set()
    values = [second.report().value]
    turns[0].set()
    report = first.report()
    assert ["a 1, used"] * 3 == [*values, report.value, used(told("a")).result()]
    assert report.found >= 1


def test_a_forced_run_replaces_what_came_first(turns: list[threading.Event]) -> None:
    """With force=True the later result counts: it was asked for whatever there is. [T3]"""
    first, second = both_begun(told("a"), force=True)
    turns[0].set()
    values = [first.report().value]
    turns[1].set()
    assert ["a 0", "a 1", "a 1"] == [*values, second.report().value, told("a").result()]


def test_a_result_from_before_a_clear_is_not_the_first(turns: list[threading.Event]) -> None:
    """What was begun before a clear counts for nothing, so the first result after it stays. [T3]"""
    first = Background(told("a"))
    while not gate.calls:
        os.sched_yield()
    told("a").clear()
    turns[1].set()
    turns[0].set()
    assert ("a 1", "a 1") == (first.report().value, told("a").result())


# --- runs inside of runners ------------------------------------------------------------------------------


@memo
def asks_for(name: str, wanted: str) -> str:
    gate.calls.append(name)
    return quick(wanted).run()


@memo
def asks_for_slow(name: str) -> str:
    gate.calls.append(name)
    return slow("inner").run()


def test_what_an_inner_run_has_computed_is_not_computed_again() -> None:
    """An instance that an earlier one's runner has run meanwhile is found in the same batch. [T3]"""
    warm = [asks_for(f"warm {number}", "w") for number in range(40)]
    report = run_report([*warm, asks_for("x", "y"), quick("y")], executor="serial")
    assert (1, 1) == (gate.calls.count("y"), gate.calls.count("w"))
    assert 1 == report.found


def test_an_inner_run_waits_for_another_process_or_thread() -> None:
    """Two runners that run the same instance compute it once. [T3]"""
    first = begun(asks_for_slow("one"))
    second = Background(asks_for_slow("two"))
    deadline = time.monotonic() + WAIT_S
    while "two" not in gate.calls:
        assert time.monotonic() < deadline
    gate.opened.set()
    assert ["inner", "inner"] == [first.report().value, second.report().value]
    assert ["inner", "one", "two"] == sorted(gate.calls)


def test_inner_runs_that_wait_for_each_other_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A holds a and wants b, B holds b and wants a: one of them computes without a claim, and both end. [T3]"""
    monkeypatch.setattr(parking, "_PATIENCE_SECONDS", 0.2)
    both, inner = threading.Barrier(2), threading.local()

    @memo(on_change="ignore")
    def left() -> str:
        if getattr(inner, "is_on", False):
            return "left"
        inner.is_on = True
        both.wait(WAIT_S)
        return "left of " + right().run()

    @memo(on_change="ignore")
    def right() -> str:
        if getattr(inner, "is_on", False):
            return "right"
        inner.is_on = True
        both.wait(WAIT_S)
        return "right of " + left().run()

    reports = [Background(left()).report, Background(right()).report]
    values = {report().value for report in reports}
    assert values & {"left of right", "right of left"}


def test_runs_in_one_event_loop_do_not_wait_for_themselves() -> None:
    """A coroutine that runs what another coroutine of the same loop is computing computes it as well. [T3]"""
    held, calls = asyncio.Event(), []

    @memo(on_change="ignore")
    async def first(name: str) -> str:
        calls.append("first")
        if len(calls) == 1:
            await held.wait()
        return name

    @memo(on_change="ignore")
    async def second(name: str) -> str:
        value = first(name).run()
        held.set()
        return value + "!"

    assert ["x", "x!"] == run([first("x"), second("x")], executor="async")


def test_a_quick_result_is_not_held_back_by_a_long_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was computed and waits for its group is computed by who needs it, after a while. [T3]"""
    monkeypatch.setattr(parking, "_PATIENCE_SECONDS", 0.1)
    found: list[Any] = []

    @memo
    def step(number: int) -> int:
        gate.calls.append(str(number))
        if number == 1:  # a thread knows nothing of the runner that it belongs to
            thread = threading.Thread(target=lambda: found.append(run_report(step(0), executor="serial")))
            thread.start()
            thread.join(WAIT_S)
        return number

    assert [0, 1] == run([step(0), step(1)], executor="serial")
    assert [0] == [report.value for report in found]


def test_a_result_is_committed_before_something_of_unknown_length_begins() -> None:
    """What another task computed is in the store while the first instance of the next one runs. [T3]"""

    @memo
    def after(name: str) -> str:
        gate.wait(name)
        return name

    other = begun([quick("before"), after("later")])
    assert quick("before").is_cached()
    gate.opened.set()
    assert ["before", "later"] == other.report().value


# --- programs --------------------------------------------------------------------------------------------

HOLD = """
    import os, sys, time
    from pathlib import Path
    from checkpoint import memo, parking, run_report
    from checkpoint.events import Observer

    @memo(name="shared.value")
    def value(number):
        Path(f"begun-{os.getpid()}").touch()
        while not Path("go").exists():
            time.sleep(0.005)
        return number

    if sys.argv[1] in ("left", "right"):
        parking._PATIENCE_SECONDS = 0.5  # with what may never go on by itself

    @memo(name="shared.left")
    def left():
        if sys.argv[1] == "right":
            return "left"
        Path("left").touch()
        while not Path("right").exists():
            time.sleep(0.005)
        return "left of " + right().run()

    @memo(name="shared.right")
    def right():
        if sys.argv[1] == "left":
            return "right"
        Path("right").touch()
        while not Path("left").exists():
            time.sleep(0.005)
        return "right of " + left().run()

    class Watch(Observer):
        def notify(self, event):
            if event.kind.value == "parked":
                Path(f"parked-{os.getpid()}").touch()

    if __name__ == "__main__":
        instance = {"value": lambda: value(1), "left": left, "right": right}[sys.argv[1]]()
        try:
            report = run_report(instance, executor=sys.argv[2], observers=[Watch()])
            print(report.value, report.computed, report.found)
        except KeyboardInterrupt:
            print("interrupted")
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the program above, or the one with a shared graph."""
    started: list[subprocess.Popen[str]] = []
    path = tmp_path / "program.py"
    path.write_text("\n".join(line.removeprefix("    ") for line in HOLD.splitlines()))
    paths = [Path(checkpoint.__file__).parents[1], FOLDER]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "LOG": str(tmp_path / "log"),
    }

    def start_program(*args: str, program: Path = path) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, str(program), *args],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start_program
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(process: subprocess.Popen[str], timeout: float = WAIT_S) -> str:
    """Wait for a program, which must succeed without a word on stderr; return its output."""
    out, err = process.communicate(timeout=timeout)
    assert (process.returncode, err) == (0, "")
    return out


def until(path: Path) -> None:
    """Wait until a file exists; fail if it never does."""
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.mark.parametrize("kind", ["serial", "processes"])
def test_a_killed_program_leaves_its_instance_to_who_waits(
    kind: str, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """After SIGKILL of the program that computes, the one that waits takes over. [T3]"""
    first = start("value", "serial")
    until(tmp_path / f"begun-{first.pid}")
    second = start("value", kind)
    until(tmp_path / f"parked-{second.pid}")
    os.killpg(first.pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert "1 1 0\n" == finish(second)


def test_a_program_finds_what_another_one_has_computed(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Two programs at the same instance: one computes it, the other one has it when that ends. [T3]"""
    first = start("value", "serial")
    until(tmp_path / f"begun-{first.pid}")
    second = start("value", "processes")
    until(tmp_path / f"parked-{second.pid}")
    (tmp_path / "go").touch()
    assert ("1 1 0\n", "1 0 1\n") == (finish(first), finish(second))


@pytest.mark.parametrize("kind", ["serial", "processes"])
def test_ctrl_c_ends_a_run_that_waits(kind: str, start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Ctrl-C ends a run that has only parked instances at once, and leaves the other run alone. [T3]"""
    first = start("value", "serial")
    until(tmp_path / f"begun-{first.pid}")
    second = start("value", kind)
    until(tmp_path / f"parked-{second.pid}")
    os.kill(second.pid, signal.SIGINT)
    assert "interrupted\n" == finish(second)
    (tmp_path / "go").touch()
    assert "1 1 0\n" == finish(first)


def test_programs_whose_inner_runs_wait_for_each_other_both_end(start: Callable[..., subprocess.Popen[str]]) -> None:
    """A holds a and wants b, B holds b and wants a, in two processes: both end. [T3]"""
    first, second = start("left", "serial"), start("right", "serial")
    values = {finish(process).rsplit(" ", 2)[0] for process in (first, second)}
    assert values & {"left of right", "right of left"}


# --- many at once ----------------------------------------------------------------------------------------


def attempts(tmp_path: Path) -> list[tuple[int, int]]:
    """Return (process group, cell) of each attempt that the programs of a shared graph have made."""
    lines = (tmp_path / "log").read_text().splitlines()
    return [(int(group), int(cell)) for group, cell in (line.split() for line in lines)]


@pytest.mark.parametrize(
    ("programs", "wanted"), [(3, 60), pytest.param(16, 400, marks=pytest.mark.stress)], ids=["few", "many"]
)
def test_overlapping_runs_compute_each_instance_once(
    programs: int, wanted: int, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Programs with overlapping random graphs, serial, threads and processes: each cell is computed once. [T3]"""
    kinds = ["serial", "threads", "processes"]
    started = [
        start(kinds[seed % 3], str(seed), str(wanted), program=FOLDER / "overlapping.py") for seed in range(programs)
    ]
    outputs = [finish(process, 10 * WAIT_S).split() for process in started]
    computed = Counter(cell for _, cell in attempts(tmp_path))
    assert {1} == set(computed.values())
    assert len(computed) == sum(int(output[1]) for output in outputs)


@pytest.mark.parametrize(
    ("programs", "wanted", "kills"),
    [(3, 60, 2), pytest.param(16, 400, 60, marks=pytest.mark.stress)],
    ids=["few", "many"],
)
def test_a_kill_costs_what_was_running(
    programs: int, wanted: int, kills: int, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """With random kills, only attempts of killed programs are made again, and every program gets its values. [T3]"""
    kinds, dice = ["serial", "threads", "processes"], random.Random(kills)

    def start_one(seed: int) -> subprocess.Popen[str]:
        return start(kinds[seed % 3], str(seed), str(wanted), program=FOLDER / "overlapping.py")

    running = [start_one(seed) for seed in range(programs)]
    killed = set()
    for _ in range(kills):
        seed = dice.randrange(programs)
        try:
            running[seed].wait(timeout=dice.uniform(0.2, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(running[seed].pid, signal.SIGKILL)
            killed.add(running[seed].pid)
            running[seed] = start_one(seed)
    values = [finish(process, 10 * WAIT_S).split()[0] for process in running]
    computed = Counter(cell for group, cell in attempts(tmp_path) if group not in killed)
    assert {1} == set(computed.values()) | {1}
    alone = start("serial", "0", str(wanted), program=FOLDER / "overlapping.py")
    assert [values[0], "0", "0"] == finish(alone).split()


def test_claims_are_given_back(tmp_path: Path) -> None:
    """After a run nothing is claimed any more, whether its instances were computed, failed or found. [T3]"""
    run_report([quick("a"), quick("b"), slow("bad")] if gate.opened.set() is None else [], executor="serial")
    behind = WriteBehind(current_store())
    (rows,) = [[row for row, _ in current_store().scan(quick("a").task.name)]]
    assert [True, True] == [behind.claim(quick("a").task.name, row) for row in rows]
    behind.close()
