"""Claims: one holder at a time, and nothing left of them when their process ends. Letters in brackets name promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule, run_state_machine_as_test

import checkpoint
from checkpoint.store import Claims, Standing, claim_name
from checkpoint.store.claims import changes_at, open_claims
from checkpoint.store.shared.claims import LeasedClaims
from checkpoint.store.shared.memory import MemoryObjects
from checkpoint.store.shared.owner import Owner

HAS_LOCKS = sys.platform == "linux"
T = TypeVar("T")
NAME = claim_name("lab.fit", '{"n":1}#0')


@pytest.fixture(params=["locks", "process", "leases"])
def new_holder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Claims]]:
    """Return a function that makes holders: on locks of the system, within this process, on locks and leases."""
    if request.param != "process" and not HAS_LOCKS:
        pytest.skip("this system has no locks of open files")
    path = tmp_path / ("claims" if request.param != "process" else "no such folder/claims")
    owner = Owner(MemoryObjects(), 600)
    made: list[Claims] = []

    def make() -> Claims:
        local = open_claims(str(path))
        made.append(LeasedClaims(local, owner) if request.param == "leases" else local)
        return made[-1]

    yield make
    for holder in made:
        holder.close()
    assert (request.param != "process") == path.exists()


def standing_of(holder: Claims, name: int) -> Standing:
    """Tell how one thing stands."""
    return holder.standings([name])[name]


def in_thread(call: Callable[[], T]) -> T:
    """Return what a call returns in another thread."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_a_claim_has_one_holder(new_holder: Callable[[], Claims]) -> None:
    """What one holds another can't take, until it is given back. [T3]"""
    one, other = new_holder(), new_holder()
    answers = [one.take(NAME), other.take(NAME), other.take(NAME + 1)]
    one.release([NAME])
    assert [True, False, True, True, False] == [*answers, other.take(NAME), one.take(NAME)]


def test_closing_gives_everything_back(new_holder: Callable[[], Claims]) -> None:
    """A holder that is closed holds nothing. [T3]"""
    one, other = new_holder(), new_holder()
    one.take(NAME)
    one.take(NAME + 1)
    one.close()
    assert [True, True] == [other.take(NAME), other.take(NAME + 1)]


def test_others_see_how_a_claim_stands(new_holder: Callable[[], Claims]) -> None:
    """Free, running, waiting, running again, gathered: each is told apart from outside. [T3]"""
    one, other = in_thread(new_holder), new_holder()
    seen = [standing_of(other, NAME)]
    one.take(NAME)
    seen.append(standing_of(other, NAME))
    for standing in (Standing.WAITING, Standing.RUNNING, Standing.GATHERED):
        one.mark(NAME, standing)
        seen.append(standing_of(other, NAME))
    one.release([NAME])
    seen.append(standing_of(other, NAME))
    expected = ["FREE", "RUNNING", "WAITING", "RUNNING", "GATHERED", "FREE"]
    assert expected == [standing.name for standing in seen]


def test_a_claim_of_the_same_thread_is_told_apart(new_holder: Callable[[], Claims]) -> None:
    """A thread that would wait for itself can see that. [T3]"""
    one, other = new_holder(), new_holder()
    one.take(NAME)
    assert (Standing.OWN, Standing.RUNNING) == (
        standing_of(other, NAME),
        in_thread(lambda: standing_of(new_holder(), NAME)),
    )


def test_changes_count_what_others_commit(new_holder: Callable[[], Claims]) -> None:
    """A commit of another holder is seen, one's own is not. [T3]"""
    one, other = new_holder(), new_holder()
    before = one.changes(), other.changes()
    one.committed()
    assert (True, False) == (one.changes() == before[0], other.changes() == before[1])


@pytest.mark.skipif(not HAS_LOCKS, reason="this system has no locks of open files")
def test_looking_for_changes_makes_no_file(tmp_path: Path) -> None:
    """Before anything was claimed there is no file, and what a first holder sees is the same. [T3]"""
    path = tmp_path / "claims"
    before, exists = changes_at(str(path)), path.exists()
    holder = open_claims(str(path))
    assert (False, before) == (exists, holder.changes())
    holder.close()


class _Walk(RuleBasedStateMachine):
    """Three holders take and release a few names beside a dict."""

    holders = Bundle("holders")

    def __init__(self, new_holder: Callable[[], Claims]) -> None:
        super().__init__()
        self.new_holder = new_holder
        self.owners: dict[int, Claims] = {}
        self.opened: list[Claims] = []

    @rule(target=holders)
    def open(self) -> Claims:
        is_here = len(self.opened) % 2
        self.opened.append(self.new_holder() if is_here else in_thread(self.new_holder))
        return self.opened[-1]

    @rule(holder=holders, name=st.integers(0, 5))
    def take(self, holder: Claims, name: int) -> None:
        assert (self.owners.get(name, holder) is holder) == holder.take(name)
        self.owners.setdefault(name, holder)

    @rule(holder=holders, names=st.sets(st.integers(0, 5)))
    def release(self, holder: Claims, names: set[int]) -> None:
        own = {name for name in names if self.owners.get(name) is holder}
        holder.release(own)
        self.owners = {name: owner for name, owner in self.owners.items() if name not in own}

    @rule(holder=consumes(holders))
    def close(self, holder: Claims) -> None:
        holder.close()
        self.owners = {name: owner for name, owner in self.owners.items() if owner is not holder}

    @rule(holder=holders, name=st.integers(0, 5), standing=st.sampled_from([Standing.GATHERED, Standing.WAITING]))
    def mark(self, holder: Claims, name: int, standing: Standing) -> None:
        if self.owners.get(name) is holder:
            holder.mark(name, standing)

    @rule(name=st.integers(0, 5))
    def look(self, name: int) -> None:
        onlooker = self.new_holder()
        assert (name in self.owners) == (standing_of(onlooker, name) is not Standing.FREE)
        onlooker.close()

    def teardown(self) -> None:
        for holder in self.opened:
            holder.close()


def test_holders_agree_with_a_dict(new_holder: Callable[[], Claims]) -> None:
    """Whatever is taken, marked and given back in whatever order: a name has the holder that a dict says. [T3]"""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: _Walk(new_holder), settings=settings(max_examples=30, stateful_step_count=30, deadline=None)
    )


# --- processes -------------------------------------------------------------------------------------------

HOLD = """
import os, subprocess, sys
from checkpoint.store.claims import open_claims
holder = open_claims(sys.argv[1])
assert holder.take(int(sys.argv[2]))
if sys.argv[3] == "fork" and os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
if sys.argv[3] == "subprocess":
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"])
    print(child.pid, flush=True)
if sys.argv[3] == "alone":
    print(0, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not HAS_LOCKS, reason="this system has no locks of open files")
@pytest.mark.parametrize("children", ["alone", "fork", "subprocess"])
def test_a_claim_ends_with_its_process(children: str, tmp_path: Path) -> None:
    """After SIGKILL the claim is free at once, although a child of the dead process lives on. [T3]"""
    path = str(tmp_path / "claims")
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path, str(NAME), children],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        holder = open_claims(path)
        before = holder.take(NAME)
        process.send_signal(signal.SIGKILL)
        process.wait()
        is_child_alive = child == 0 or Path(f"/proc/{child}").exists()
        assert (False, True, True) == (before, is_child_alive, holder.take(NAME))
        holder.close()


@pytest.mark.skipif(not HAS_LOCKS, reason="this system has no locks of open files")
def test_a_forked_child_holds_nothing_and_can_claim(tmp_path: Path) -> None:
    """A child made by fork is refused what its parent holds, and its end frees nothing of that. [T3]"""
    path = str(tmp_path / "claims")
    holder = open_claims(path)
    holder.take(NAME)
    child = os.fork()
    if child == 0:
        os._exit(10 * holder.take(NAME) + holder.take(NAME + 1))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    other = open_claims(path)
    assert (1, False, True) == (status, other.take(NAME), other.take(NAME + 1))
    holder.close()
    other.close()


@pytest.mark.skipif(not HAS_LOCKS, reason="this system has no locks of open files")
def test_holders_of_one_thread_share_an_open_file(tmp_path: Path) -> None:
    """A thousand holders of a thread, as coroutines have them, open the file once; it is closed with the last. [T3]"""
    path = str(tmp_path / "claims")
    before = len(os.listdir("/proc/self/fd"))
    holders = [open_claims(path) for _ in range(1_000)]
    answers = [holder.take(number) for number, holder in enumerate(holders)]
    during = len(os.listdir("/proc/self/fd"))
    for holder in holders:
        holder.close()
    assert (True, 1, 0) == (all(answers), during - before, len(os.listdir("/proc/self/fd")) - before)


WITHOUT_INPUT = """
import os, sys, threading
from checkpoint.store.claims import open_claims
os.close(0)
holder = open_claims(sys.argv[1])
answers = [holder.take(7)]
thread = threading.Thread(target=lambda: answers.append(open_claims(sys.argv[1]).take(7)))
thread.start()
thread.join()
holder.committed()
print(os.path.samefile("/proc/self/fd/0", sys.argv[1]), answers, os.path.getsize(sys.argv[1]))
"""


@pytest.mark.skipif(not HAS_LOCKS, reason="this system has no locks of open files")
def test_claims_hold_in_a_program_without_input(tmp_path: Path) -> None:
    """Where standard input is closed, the file of claims takes its number, 0, and excludes as any other. [T3]"""
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parents[1])}
    command = [sys.executable, "-c", WITHOUT_INPUT, str(tmp_path / "claims")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert "True [True, False] 1\n" == done.stdout
