"""The journal: what it keeps, what that costs, and what processes, disks and damage do to it."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

import checkpoint
from checkpoint import (
    BusyFlowError,
    DamagedSnapshotError,
    StoreError,
    UnknownSnapshotError,
    UnsavableError,
    codec,
    open_store,
)
from checkpoint.journal import Difference, Journal, Recorder, Snapshot, journal_at

ROOT = Path(checkpoint.__file__).parents[1]
WAIT_S = 60
LARGE = b"large" * 60_000


@pytest.fixture
def journal(store: Path) -> Iterator[Journal]:
    """Return the journal of the test's own store."""
    found = journal_at()
    yield found
    found.close()


def folder_of(journal: Journal) -> Path:
    return Path(journal.folder)


def blob_files(journal: Journal) -> list[Path]:
    return sorted(folder_of(journal).glob("blobs/*/*"))


def append(recorder: Recorder, state: dict[str, object], index: int = 0, **kwargs: Any) -> Snapshot:
    return recorder.append(state, index=index, **kwargs)


def sql(journal: Journal, statement: str, *values: object) -> list[Any]:
    """Change the journal's tables behind its back."""
    connection = sqlite3.connect(folder_of(journal) / "journal.db")
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def blob_bytes(journal: Journal) -> int:
    """Return how many bytes the blobs of a journal have."""
    if not folder_of(journal).exists():
        return 0
    ((total,),) = sql(journal, "SELECT coalesce(sum(size), 0) FROM blob")
    return int(total)


def run_program(text: str, folder: Path, *arguments: str) -> str:
    """Run a program that knows the package; return what it printed."""
    command = [sys.executable, "-c", textwrap.dedent(text), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.stderr == ""
    return done.stdout


# --- what it keeps ---------------------------------------------------------------------------------------


def test_nothing_is_made_by_reading(journal: Journal, store: Path) -> None:
    """A journal that nobody wrote to is empty and not there."""
    assert ([], [], None, 0) == (journal.snapshots(), journal.runs(), journal.newest(), journal.prune())
    with pytest.raises(UnknownSnapshotError, match="no snapshot 1"):
        journal.state(1)
    assert not store.exists()


def test_a_state_comes_back_equal_and_in_order(journal: Journal) -> None:
    """Values and the order of keys are those that were appended, whatever came before."""
    recorder = journal.begin("f")
    states = [
        {"b": 1, "a": [1, (2, {3})], "c": None},
        {"b": 1, "a": [1, (2, {3})], "c": None, "new": LARGE},
        {"new": LARGE, "b": 2, "c": None},
        {"c": None, "x": 0.5, "b": 2, "new": LARGE},
        {},
    ]
    made = [append(recorder, dict(state), index) for index, state in enumerate(states)]
    read = [journal.state(snapshot.id) for snapshot in made]
    assert [list(state.items()) for state in states] == [list(state.items()) for state in read]


def test_what_only_dill_can_pickle_comes_back(journal: Journal) -> None:
    """Locks and functions without an importable name are values like others."""
    offset = 3
    snapshot = append(journal.begin("f"), {"lock": threading.Lock(), "f": lambda x: x + offset})
    state = journal.state(snapshot.id)
    assert (True, 5) == (state["lock"].acquire(blocking=False), state["f"](2))


def test_a_frame_is_kept_as_it_is(journal: Journal) -> None:
    """A front-end may encode values itself, in a format of its own."""
    frame = codec.encode({"a": [1]}, "value", codec=codec.check_codec("json"))
    snapshot = append(journal.begin("f"), {"event": frame})
    assert {"event": {"a": [1]}} == journal.state(snapshot.id)


@pytest.mark.parametrize("head", [{"a": 1}, [["3.1"]], ["2.7"], [None, 1]])
def test_a_head_that_no_flow_wrote_is_damage(journal: Journal, head: object) -> None:
    """A frame that says something else than a Python's version before its value is refused, whatever it says."""
    snapshot = append(journal.begin("f"), {"event": codec.encode(1, "value", head=head)})
    with pytest.raises(DamagedSnapshotError, match=r"holds functions that Python .* saved"):
        journal.state(snapshot.id)


@pytest.mark.parametrize("number", [0, -1, 9, 2**63 - 1, 2**63, -(10**30), 10**30])
def test_a_snapshot_that_cannot_be_is_unknown(journal: Journal, number: int) -> None:
    """Any whole number may be asked for; one that no row can have is not there, like any other."""
    there = append(journal.begin("f"), {"a": 1}).id
    for ask in (
        lambda: journal.snapshot(number),
        lambda: journal.state(number),
        lambda: journal.diff(there, number),
        lambda: journal.diff(number, there),
    ):
        with pytest.raises(UnknownSnapshotError, match=f"no snapshot {number};"):
            ask()
    journal.delete([number])
    assert [there] == [snapshot.id for snapshot in journal.snapshots()]


def test_an_update_changes_only_what_it_names(journal: Journal) -> None:
    """The other keys stay, in their order; new and renewed ones come last."""
    recorder = journal.begin("f")
    append(recorder, {"a": 1, "b": 2, "c": 3})
    changed = recorder.update({"b": 20, "d": 4}, ["c"], index=1)
    renewed = recorder.update({"a": 10}, ["a"], index=2)
    assert [("a", 1), ("b", 20), ("d", 4)] == list(journal.state(changed.id).items())
    assert [("b", 20), ("d", 4), ("a", 10)] == list(journal.state(renewed.id).items())


def test_some_keys_can_be_read_alone(journal: Journal) -> None:
    """Only what is asked for is decoded; sizes are told without reading a value."""
    snapshot = append(journal.begin("f"), {"a": 1, "b": LARGE})
    blob_files(journal)[0].write_bytes(b"damaged")
    assert {"a": 1} == journal.state(snapshot.id, ["a", "none"])
    assert ["a", "b"] == list(journal.keys(snapshot.id))
    assert sum(journal.keys(snapshot.id).values()) == snapshot.size > len(LARGE)


def test_large_arrays_come_back_as_private_maps(journal: Journal) -> None:
    """An array of megabytes is mapped, can be changed, and the change stays out of the journal."""
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(500_000)
    snapshot = append(journal.begin("f"), {"x": array, "small": numpy.arange(20_000)})
    state = journal.state(snapshot.id)
    assert not state["x"].flags.owndata
    state["x"][0] = state["small"][0] = 7
    again = journal.state(snapshot.id)
    assert (0, 0, 124_999_750_000) == (again["x"][0], again["small"][0], int(again["x"].sum()))


def test_what_cannot_be_encoded_leaves_everything_as_it_was(journal: Journal) -> None:
    """The error names the flow and the key, and the snapshot before is still the newest."""
    recorder = journal.begin("f")
    before = append(recorder, {"a": 1})
    with pytest.raises(UnsavableError, match=r"'bad' of flow f cannot be saved: .*generator") as caught:
        append(recorder, {"a": LARGE, "bad": (i for i in range(3))})
    assert ("f", "'bad'") == (caught.value.flow, caught.value.key)
    assert ([before], []) == (journal.snapshots(), blob_files(journal))
    assert before.id == append(recorder, {"a": 2}).parent


def test_keys_are_text(journal: Journal) -> None:
    """A state with other keys is a TypeError."""
    with pytest.raises(TypeError, match="keys of a state are text, not int: 1"):
        append(journal.begin("f"), {1: 2})  # type: ignore[dict-item]


# --- runs, resuming, forking -----------------------------------------------------------------------------


def test_a_run_is_resumed_where_it_was(journal: Journal, store: Path) -> None:
    """Its newest snapshot is the parent of the next one, also in another process."""
    first = append(journal.begin("f", run_id="mine", metadata={"n": 1}), {"a": 1})
    program = """
        import sys
        from checkpoint.journal import journal_at
        recorder = journal_at(sys.argv[1]).resume("mine")
        print(recorder.append({"a": 2}, index=1, step="s").parent, dict(recorder.run.metadata))
    """
    assert f"{first.id} {{'n': 1}}\n" == run_program(program, store.parent, str(store))
    assert ["mine", "mine"] == [snapshot.run for snapshot in journal.snapshots()]
    with pytest.raises(UnknownSnapshotError, match="no run other"):
        journal.resume("other")


def test_a_fork_starts_at_any_snapshot(journal: Journal) -> None:
    """It has a run of its own whose source and first parent is that snapshot; the other run is as it was."""
    recorder = journal.begin("f")
    made = [append(recorder, {"n": n, "same": LARGE}, n) for n in range(3)]
    fork = journal.begin("f", source=made[1])
    child = append(fork, {"n": 10, "same": LARGE}, 2)
    assert (made[1].id, made[1].id) == (child.parent, journal.run(child.run).source)
    assert [0, 1, 2, 10] == [journal.state(snapshot.id)["n"] for snapshot in journal.snapshots("f")]
    assert 1 == len(blob_files(journal))


def test_two_recorders_of_one_run_never_mix(journal: Journal) -> None:
    """Who is late learns it by an error, and nothing is appended."""
    append(journal.begin("f", run_id="r"), {"a": 1})
    early, late = journal.resume("r"), journal.resume("r")
    append(early, {"a": 2})
    with pytest.raises(BusyFlowError, match="gone on with run r"):
        append(late, {"a": 3})
    assert [1, 2] == [journal.state(snapshot.id)["a"] for snapshot in journal.snapshots()]


def test_listing_filters_and_reads_no_value(journal: Journal) -> None:
    """Conditions on flow, run, step, index, status, time and metadata are met together; nothing is decoded."""
    for flow in ("f", "g"):
        recorder = journal.begin(flow, run_id=f"run of {flow}")
        for n in range(4):
            status = "finished" if n == 3 else "running"
            append(recorder, {"n": n, "x": LARGE}, n, step=f"s{n % 2}", status=status, metadata={"n": n, "flow": flow})
    for file in blob_files(journal):
        file.unlink()
    sql(journal, "UPDATE blob SET data = x'00' WHERE data IS NOT NULL")

    def ids(**conditions: Any) -> list[int]:
        return [snapshot.id for snapshot in journal.snapshots(**conditions)]

    assert [1, 2, 3, 4] == ids(flow="f") == ids(run="run of f")
    assert [6, 8] == ids(flow="g", step="s1")
    assert [4, 8] == ids(status="finished") == ids(index=3)
    assert [3] == ids(metadata={"n": 2, "flow": "f"})
    assert [8, 7] == ids(newest_first=True, limit=2)
    assert ([4, 8], [4], []) == (ids(is_newest=True), ids(flow="f", is_newest=True), ids(step="s0", is_newest=True))
    assert [] == ids(step="none") == ids(flow="none") == ids(metadata={"other": None})
    times = [snapshot.stored_at for snapshot in journal.snapshots()]
    assert [3, 4] == [n for n in ids(since=times[2], until=times[3]) if n in (3, 4)]
    assert [] == ids(since=times[-1] + 1)
    newest = journal.newest("f")
    assert newest is not None
    assert (4, "s1", 3, {"n": 3, "flow": "f"}) == (newest.id, newest.step, newest.index, newest.metadata)


def test_two_states_are_compared_by_their_bytes(journal: Journal) -> None:
    """Keys that were added, removed and changed; values are not read."""
    recorder = journal.begin("f")
    before = append(recorder, {"a": 1, "b": LARGE, "c": 3})
    after = append(recorder, {"c": 4, "b": LARGE, "d": 5})
    other = append(journal.begin("g"), {"b": LARGE})
    blob_files(journal)[0].unlink()
    assert Difference(("d",), ("a",), ("c",)) == journal.diff(before.id, after.id)
    assert Difference((), ("c", "d"), ()) == journal.diff(after.id, other.id)
    assert not journal.diff(after.id, after.id)


def test_the_export_mark_is_kept(journal: Journal) -> None:
    """A snapshot is exported when the front-end says so."""
    snapshot = append(journal.begin("f"), {})
    assert not snapshot.is_exported
    journal.mark_exported(snapshot)
    assert journal.snapshot(snapshot.id).is_exported


# --- cost ------------------------------------------------------------------------------------------------


def bytes_on_disk(journal: Journal) -> int:
    """Return the bytes of all of the journal's files, once its log is merged."""
    journal.close()
    sql(journal, "PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(path.stat().st_size for path in folder_of(journal).rglob("*") if path.is_file())


def test_a_snapshot_costs_what_changed(journal: Journal) -> None:
    """100 snapshots of an unchanged state of 5 MB take less than 600 bytes each."""
    recorder = journal.begin("f")
    state: dict[str, object] = {f"k{n}": os.urandom(200_000) for n in range(25)}
    assert append(recorder, state).written > 5_000_000
    before = bytes_on_disk(journal)
    assert [0] * 100 == [append(recorder, {**state}, n).written for n in range(100)]
    assert (bytes_on_disk(journal) - before) / 100 < 600


def test_reading_a_state_costs_the_same_however_long_its_history_is(journal: Journal) -> None:
    """The rows that are read for one state stay below twice its keys and 64 more."""
    recorder = journal.begin("f")
    worst = 0
    for n in range(150):
        snapshot = append(recorder, {"a": 0, "b": 0, "n": n}, n)
        rows = 1
        base = sql(journal, "SELECT base FROM snapshot WHERE id = ?", snapshot.id)[0][0]
        while base is not None:
            rows += 2
            base = sql(journal, "SELECT base FROM snapshot WHERE id = ?", base)[0][0]
        worst = max(worst, rows)
    assert 30 < worst < 2 * 3 + 64 + 2
    assert {"a": 0, "b": 0, "n": 149} == journal.state(snapshot.id)


# --- deleting --------------------------------------------------------------------------------------------


def test_deleting_keeps_what_others_need(journal: Journal) -> None:
    """The states that stay are as they were, and only blobs that nothing names any more are gone."""
    recorder = journal.begin("f")
    made = [append(recorder, {"x": LARGE, "y": bytes([n]) * 200_000, "n": n}, n) for n in range(5)]
    assert 6 == len(blob_files(journal))
    assert 3 == journal.delete([made[0].id, made[2].id, made[3].id, 999])
    assert [made[1].id, made[4].id] == [snapshot.id for snapshot in journal.snapshots()]
    assert [made[1].id, None] == [snapshot.parent for snapshot in journal.snapshots(newest_first=True)]
    assert 3 == len(blob_files(journal))
    assert {"x": LARGE, "y": b"\4" * 200_000, "n": 4} == journal.state(made[4].id)
    assert [] == journal.verify()
    assert 2 == journal.delete_flow("f")
    assert ([], [], []) == (journal.snapshots(), journal.runs(), blob_files(journal))
    assert made[4].id < append(journal.begin("f"), {}).id


def test_pruning_keeps_the_newest_of_each_run(journal: Journal) -> None:
    """Beside those: what is spared by name, and what is not old enough."""
    for run in ("r", "s"):
        recorder = journal.begin("f", run_id=run)
        for n in range(4):
            append(recorder, {"n": n}, n)
    assert 0 == journal.prune(before=journal.snapshots()[0].stored_at)
    assert 5 == journal.prune("f", keep=1, spare=[2])
    assert [2, 4, 8] == [snapshot.id for snapshot in journal.snapshots()]
    with pytest.raises(ValueError, match="at least 1"):
        journal.prune(keep=0)


def test_what_a_deletion_frees_is_known_before(journal: Journal) -> None:
    """Only what no other snapshot needs counts, as itself or through a difference from what goes; nothing is read."""
    recorder = journal.begin("f")
    append(recorder, {"x": LARGE, "y": b"\1" * 200_000})
    append(recorder, {"x": LARGE, "y": b"\2" * 200_000})
    sizes = journal.keys(1)
    for file in blob_files(journal):
        file.unlink()
    assert [0, sizes["y"], sizes["y"]] == [journal.freed(ids) for ids in ([], [1], [2, 999])]
    assert sum(sizes.values()) + sizes["y"] == journal.freed([1, 2])


def test_a_sweep_takes_leftovers_and_waits_for_no_writer(journal: Journal) -> None:
    """Files without a row go at the next deletion, unless somebody is just writing."""
    recorder = journal.begin("f")
    append(recorder, {"n": 0})
    append(recorder, {"x": LARGE})
    leftover = blob_files(journal)[0].with_name("leftover.blob")
    leftover.touch()
    program = """
        import fcntl, sys
        with open(sys.argv[1]) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            print("locked", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(folder_of(journal) / "blobs" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert "locked\n" == writer.stdout.readline()
        journal.prune()
        assert leftover.exists()
        writer.communicate()
    append(recorder, {"x": LARGE})
    journal.prune()
    assert (False, 1) == (leftover.exists(), len(blob_files(journal)))


# --- a slow oracle ---------------------------------------------------------------------------------------

POOL: dict[str, object] = {"0": 0, "1": 1, "1.0": 1.0, "pair": (1, 2), "x": b"x" * 150_000, "y": b"y" * 150_000}
STATES = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(sorted(POOL))), max_size=8).map(dict)


def valued(names: dict[str, str]) -> dict[str, object]:
    """Return a state with values for their short names."""
    return {key: POOL[name] for key, name in names.items()}


class Histories(RuleBasedStateMachine):
    """Random appends, forks, resumes, deletions and prunings, beside dicts that hold every state whole."""

    snapshots = Bundle("snapshots")
    folders = itertools.count()

    @initialize()
    def start(self) -> None:
        root = Path.cwd() / f"store-{os.getpid()}-{next(self.folders)}"
        self.journal = journal_at(root)
        self.states: dict[int, dict[str, str]] = {}
        self.run_of: dict[int, str] = {}
        self.recorders: dict[str, Recorder] = {}

    def keep(self, recorder: Recorder, snapshot: Snapshot, state: dict[str, str]) -> int:
        self.recorders[recorder.run.id] = recorder
        self.states[snapshot.id], self.run_of[snapshot.id] = state, recorder.run.id
        return snapshot.id

    @rule(target=snapshots, state=STATES)
    def begin(self, state: dict[str, str]) -> int:
        recorder = self.journal.begin("f")
        return self.keep(recorder, append(recorder, valued(state)), state)

    @rule(target=snapshots, at=snapshots, state=STATES)
    def fork(self, at: int, state: dict[str, str]) -> Any:
        if at not in self.states:
            with pytest.raises(UnknownSnapshotError):
                self.journal.snapshot(at)
            return multiple()
        recorder = self.journal.begin("f", source=self.journal.snapshot(at))
        return self.keep(recorder, append(recorder, valued(state)), state)

    @rule(target=snapshots, at=snapshots, state=STATES, is_new=st.booleans())
    def go_on(self, at: int, state: dict[str, str], is_new: bool) -> Any:
        run = self.run_of.get(at)
        if run is None:
            return multiple()
        recorder = self.journal.resume(run) if is_new else self.recorders[run]
        newest = max(each for each in self.run_of if self.run_of[each] == run)
        if recorder.newest is None or recorder.newest.id != newest:
            with pytest.raises((BusyFlowError, UnknownSnapshotError)):
                append(recorder, valued(state))
            return multiple()
        return self.keep(recorder, append(recorder, valued(state)), state)

    @rule(target=snapshots, at=snapshots, changes=STATES, removed=st.sets(st.sampled_from("abcdef")))
    def change(self, at: int, changes: dict[str, str], removed: set[str]) -> Any:
        run = self.run_of.get(at)
        if run is None:
            return multiple()
        recorder = self.journal.resume(run)
        assert recorder.newest is not None
        before = self.states[recorder.newest.id]
        state = {key: changes.get(key, value) for key, value in before.items() if key not in removed}
        state |= {key: value for key, value in changes.items() if key not in state}
        return self.keep(recorder, recorder.update(valued(changes), removed, index=0), state)

    @rule(picked=st.lists(snapshots, max_size=4))
    def delete(self, picked: list[int]) -> None:
        known = {each for each in picked if each in self.states}
        freed, before = self.journal.freed(picked), blob_bytes(self.journal)
        assert len(known) == self.journal.delete(picked)
        assert before - freed == blob_bytes(self.journal)
        self.forget(known)

    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        gone = set()
        for run in set(self.run_of.values()):
            gone |= set(sorted(each for each in self.run_of if self.run_of[each] == run)[:-keep])
        assert sorted(gone) == [snapshot.id for snapshot in self.journal.old("f", keep=keep)]
        assert len(gone) == self.journal.prune("f", keep=keep)
        self.forget(gone)

    def forget(self, gone: set[int]) -> None:
        for each in gone:
            del self.states[each], self.run_of[each]

    @rule(one=snapshots, other=snapshots)
    def compare(self, one: int, other: int) -> None:
        if one not in self.states or other not in self.states:
            return
        before, after = self.states[one], self.states[other]
        expected = Difference(
            tuple(key for key in after if key not in before),
            tuple(key for key in before if key not in after),
            tuple(key for key in after if key in before and after[key] != before[key]),
        )
        assert expected == self.journal.diff(one, other)

    def teardown(self) -> None:
        if not hasattr(self, "journal"):
            return
        for each, state in self.states.items():
            assert repr(valued(state)) == repr(self.journal.state(each))
        assert sorted(self.states) == [snapshot.id for snapshot in self.journal.snapshots()]
        large = {name for state in self.states.values() for name in state.values() if name in "xy"}
        self.journal.prune(keep=10_000)
        assert len(large) == len(blob_files(self.journal))
        assert [] == self.journal.verify()
        self.journal.close()


Histories.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestHistories = Histories.TestCase


# --- killed ----------------------------------------------------------------------------------------------

WRITER = """
    import sys
    from checkpoint.journal import journal_at
    journal = journal_at("store")
    newest = journal.newest("f")
    recorder = journal.begin("f", run_id="r") if newest is None else journal.resume("r")
    n = 0 if newest is None else journal.state(newest.id)["n"]
    print("begun", n, flush=True)
    while True:
        n += 1
        state = {"n": n, "large": n.to_bytes(8, "little") * 20_000, "small": [n] * 10, "same": b"same" * 50_000}
        recorder.append(state, index=n, step=f"s{n}")
        print(n, flush=True)
        if n % 5 == 0:
            journal.prune("f", keep=3)
"""


@contextmanager
def started(text: str, folder: Path, *arguments: str, name: str = "-c") -> Iterator[subprocess.Popen[str]]:
    """Start a program that is killed when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("rounds", [12, pytest.param(400, marks=pytest.mark.stress)])
def test_a_killed_writer_loses_no_snapshot(rounds: int, tmp_path: Path) -> None:
    """After SIGKILL at random moments each committed snapshot is there, whole, and the next writer goes on from it."""
    dice = random.Random(rounds)
    reached = 0
    for number in range(rounds):
        with started(WRITER, tmp_path) as process:
            assert process.stdout is not None
            begun = process.stdout.readline().split()
            assert "begun" == begun[0]
            assert reached <= int(begun[1])
            if number % 3 == 0:  # a slow machine gets somewhere as well
                reached = int(process.stdout.readline())
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(dice.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split("\n")[:-1]
            reached = int(lines[-1]) if lines else max(reached, int(begun[1]))
    journal = journal_at(tmp_path / "store")
    newest = journal.newest("f")
    assert newest is not None
    assert reached <= newest.index <= reached + 1
    for snapshot in journal.snapshots():
        n = snapshot.index
        expected = {"n": n, "large": n.to_bytes(8, "little") * 20_000, "small": [n] * 10, "same": b"same" * 50_000}
        assert expected == journal.state(snapshot.id)
    assert [] == journal.verify()
    kept = len(journal.snapshots())
    journal.prune(keep=10_000)  # nothing to delete, so nothing is swept
    journal.delete([journal.snapshots()[0].id])
    assert kept - 1 + 1 == len(blob_files(journal))
    journal.close()


def test_pruning_beside_a_writer_takes_nothing_that_is_used(tmp_path: Path) -> None:
    """While one process appends states that come and go, another prunes: everything that is listed can be read."""
    writer = """
        import itertools
        from checkpoint.journal import journal_at
        journal = journal_at("store")
        recorder = journal.begin("f")
        for n in range(60):
            recorder.append({"x": bytes([n % 3]) * 200_000, "n": n}, index=n)
        print("done", journal.verify())
    """
    journal = journal_at(tmp_path / "store")
    with started(writer, tmp_path) as process:
        assert process.stdout is not None
        while process.poll() is None:
            journal.prune("f", keep=2)
            newest = journal.newest("f")
            if newest is not None:
                assert {"x", "n"} == set(journal.keys(newest.id))
        assert "done []\n" == process.stdout.read()
    newest = journal.newest("f")
    assert newest is not None
    assert {"x": bytes([59 % 3]) * 200_000, "n": 59} == journal.state(newest.id)
    journal.close()


# --- the lease -------------------------------------------------------------------------------------------

CONTENDER = """
    import sys
    from checkpoint import BusyFlowError
    from checkpoint.journal import journal_at
    sys.stdin.readline()
    try:
        with journal_at("store").lease("f"):
            print("got", flush=True)
            sys.stdin.readline()
    except BusyFlowError as error:
        print("busy", error.flow, error.holder, flush=True)
"""


def test_one_of_two_processes_gets_the_lease(tmp_path: Path) -> None:
    """The other one is told who holds it; when the holder is killed, the next one gets it at once."""
    for _ in range(3):
        with started(CONTENDER, tmp_path) as one, started(CONTENDER, tmp_path) as other:
            lines = []
            for process in (one, other):
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            for process in (one, other):
                assert process.stdout is not None
                lines.append(process.stdout.readline())
            assert ["busy", "got"] == sorted(line.split()[0] for line in lines)
            winner = (one, other)[lines.index("got\n")]
            with pytest.raises(BusyFlowError, match=f"is being run by process {winner.pid} on "):
                journal_at(tmp_path / "store").lease("f").__enter__()
            winner.kill()
            winner.wait()
            with journal_at(tmp_path / "store").lease("f"):
                pass


def test_a_lease_leaves_no_file(journal: Journal) -> None:
    """What tells who holds it goes when it is given back."""
    folder = Path(journal.folder, "leases")
    with journal.lease("f"):
        assert 1 == len(list(folder.iterdir()))
    assert [] == list(folder.iterdir())


def test_a_lease_excludes_threads_of_its_own_process(journal: Journal) -> None:
    """A second holder in the same process is refused as one in another process is; other flows are free."""
    with journal.lease("f"), journal.lease("g"), pytest.raises(BusyFlowError, match=f"process {os.getpid()} on"):
        journal.lease("f").__enter__()
    with journal.lease("f"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_holds_no_lease(tmp_path: Path) -> None:
    """A child that outlives its parent doesn't keep the flow locked, and can use the journal itself."""
    program = """
        import os, sys
        from checkpoint.journal import journal_at
        journal = journal_at("store")
        recorder = journal.begin("f")
        recorder.append({"a": 1}, index=0)
        with journal.lease("f"):
            if os.fork():
                os._exit(0)
            print(journal.newest("f").index, flush=True)
            sys.stdin.readline()
        os._exit(0)
    """
    with started(program, tmp_path) as process:
        assert process.stdout is not None
        assert "0\n" == process.stdout.readline()
        assert 0 == process.wait(WAIT_S)
        with journal_at(tmp_path / "store").lease("f"):
            pass
        assert process.stdin is not None
        process.stdin.write("end\n")


# --- disks that fail, damage -----------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="other systems have other permissions")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A read-only folder is a StoreError with advice, at once."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    for path in tmp_path.parents:
        if path != Path(path.anchor) and path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    program = """
        import os, sys
        from checkpoint import StoreError
        from checkpoint.journal import journal_at
        if os.getuid() == 0:
            os.setuid(65534)
        journal = journal_at(sys.argv[1])
        for attempt in (lambda: journal.begin("f").append({}, index=0), lambda: journal.lease("f").__enter__()):
            try:
                attempt()
            except StoreError as error:
                print(error.folder, error.advice)
    """
    output = run_program(program, Path("/"), str(folder))
    folder.chmod(0o755)
    expected = f"{folder}/checkpoint/.journal make the folder writable for this user, "
    assert [expected, expected] == [line.partition("or name")[0] for line in output.splitlines()]


@pytest.mark.parametrize("size", [3_000_000, 60_000], ids=["in files", "in rows"])
def test_a_full_disk_loses_nothing_but_what_is_new(size: int, tmp_path: Path) -> None:
    """A full disk is a StoreError with advice; the newest snapshot stays, and with space all goes on."""
    program = """
        import resource, signal, sys
        from checkpoint import StoreError
        from checkpoint.journal import journal_at
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal, size = journal_at("store"), int(sys.argv[1])
        recorder = journal.begin("f")
        recorder.append({"n": 0}, index=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        n = failures = 0
        while failures < 2:
            try:
                recorder.append({"n": n + 1, "x": (n + 1).to_bytes(4, "little") * (size // 4)}, index=n + 1)
                n += 1
            except StoreError as error:
                failures += 1
                print(error.advice.partition(",")[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        newest = journal.newest("f")
        print(newest.index == n, journal.state(newest.id)["n"] == n, journal.verify())
        print(recorder.append({"n": "last", "x": b"x" * size}, index=n + 1).parent == newest.id, journal.verify())
    """
    lines = run_program(program, tmp_path, str(size)).splitlines()
    assert ["free some space", "free some space", "True True []", "True []"] == lines
    assert (1 if size > 1_000_000 else 0) == len(list(tmp_path.glob("store/checkpoint/.journal/blobs/*/*")))


def test_an_unknown_schema_is_refused(journal: Journal) -> None:
    """A journal of another version is a StoreError that says both numbers; it isn't touched."""
    append(journal.begin("f"), {"a": 1})
    journal.close()
    sql(journal, "PRAGMA user_version = 7")
    content = (folder_of(journal) / "journal.db").read_bytes()
    for use in (journal.snapshots, lambda: append(journal.begin("g"), {})):
        with pytest.raises(StoreError, match=r"has schema 7 and this version of checkpoint reads 3; use the version"):
            use()
    journal.close()
    assert content == (folder_of(journal) / "journal.db").read_bytes()


@pytest.mark.parametrize("content", [b"", b"garbage " * 1000, None], ids=["empty", "garbage", "cut off"])
def test_a_damaged_database_is_never_a_fresh_start(content: bytes | None, journal: Journal) -> None:
    """Whatever is read or appended then is a StoreError that says what to do."""
    recorder = journal.begin("f")
    for n in range(300):
        append(recorder, {"n": n, "x": os.urandom(1000)}, n)
    journal.close()
    sql(journal, "PRAGMA wal_checkpoint(TRUNCATE)")
    file = folder_of(journal) / "journal.db"
    file.write_bytes(file.read_bytes()[:100_000] if content is None else content)

    def read_all() -> None:
        for snapshot in journal.snapshots():
            journal.state(snapshot.id)

    for use in (read_all, lambda: append(journal.begin("f"), {"x": os.urandom(1000)})):
        with pytest.raises(StoreError, match="move the folder away"):
            use()


DAMAGES: dict[str, Callable[[Journal], object]] = {
    "a file is cut off": lambda journal: os.truncate(blob_files(journal)[0], 1000),
    "a file is empty": lambda journal: os.truncate(blob_files(journal)[0], 0),
    "a file is missing": lambda journal: blob_files(journal)[0].unlink(),
    "a file has other bytes": lambda journal: blob_files(journal)[0].write_bytes(
        blob_files(journal)[0].read_bytes()[:-9] + b"different"
    ),
    "a row has other bytes": lambda journal: sql(
        journal, "UPDATE blob SET data = CAST(substr(data, 1, 70) || x'ff' || substr(data, 72) AS BLOB)"
        " WHERE id > 1 AND data IS NOT NULL",
    ),
    "rows have each other's bytes": lambda journal: sql(
        journal, "UPDATE blob SET data = (SELECT data FROM blob AS other WHERE other.id = 1)"
        " WHERE id > 1 AND data IS NOT NULL",
    ),
    "a part is missing": lambda journal: sql(journal, "DELETE FROM part WHERE key = 'a'"),
    "a part has another value": lambda journal: sql(
        journal, "UPDATE part SET blob = (SELECT max(blob) FROM part) WHERE key = 'a'"
    ),
    "the order is changed": lambda journal: sql(journal, "UPDATE part SET place = 9 WHERE key = 'a'"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_an_error_and_never_a_value(damage: Callable[[Journal], object], journal: Journal) -> None:
    """Reading the state names the snapshot; verifying lists it; other snapshots can be read."""
    good = append(journal.begin("other"), {"z": "fine"})
    snapshot = append(journal.begin("f"), {"a": "first value", "b": "other value", "x": LARGE})
    damage(journal)
    with pytest.raises(DamagedSnapshotError, match=f"snapshot {snapshot.id}.* is damaged: .*; start from another"):
        journal.state(snapshot.id)
    assert {snapshot.id} == {int(error.place.split()[1]) for error in journal.verify()}
    assert {"z": "fine"} == journal.state(good.id)


def test_metadata_that_cannot_be_read_are_an_error(journal: Journal) -> None:
    """A damaged row is reported with the snapshot's name."""
    snapshot = append(journal.begin("f"), {})
    sql(journal, "UPDATE snapshot SET metadata = '{'")
    with pytest.raises(DamagedSnapshotError, match=f"snapshot {snapshot.id} of flow f is damaged: its metadata"):
        journal.newest("f")


def test_a_journal_needs_a_folder() -> None:
    """A store elsewhere is refused with advice."""

    class Elsewhere:
        url = "s3://bucket"

        def lookup(self) -> None: ...

    with pytest.raises(StoreError, match="needs a folder on a local disk"):
        journal_at(Elsewhere())  # type: ignore[arg-type]


def test_the_journal_lies_beside_the_results_of_the_current_store(tmp_path: Path) -> None:
    """`open_store` chooses it; its folders are for this user alone, and tasks don't see it."""
    with open_store(tmp_path / "other"):
        append(journal_at().begin("f"), {"x": LARGE})
        folder = tmp_path / "other" / "checkpoint" / ".journal"
        assert (folder / "journal.db").exists()
        assert {0o700} == {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_dir()}
        assert [] == checkpoint.store.current_store().tasks()
        journal_at().close()


def test_a_journal_that_was_removed_starts_anew(journal: Journal) -> None:
    """Deleting the folder while a program runs is no error."""
    append(journal.begin("f"), {"a": 1})
    for file in sorted(folder_of(journal).rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    assert [] == journal.snapshots()
    assert {"a": 2} == journal.state(append(journal.begin("f"), {"a": 2}).id)


def test_threads_share_a_journal(journal: Journal) -> None:
    """Runs that are appended to from several threads at once don't disturb each other."""
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            recorder = journal.begin(name)
            for n in range(20):
                append(recorder, {"n": n, "name": name}, n)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"f{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failures
    assert [list(range(20))] * 4 == [[s.index for s in journal.snapshots(f"f{n}")] for n in range(4)]


def test_a_busy_database_is_an_error_in_the_end(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for another process's transaction is bounded, and the error says what holds things up."""
    append(journal.begin("f"), {})
    journal.close()
    monkeypatch.setattr("checkpoint.journal.database.LOCK_SECONDS", 0.05)
    other = sqlite3.connect(folder_of(journal) / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreError, match="held its lock"):
        append(journal.begin("f"), {})
    assert time.monotonic() - began < 30
    other.close()
    assert 2 == append(journal.begin("f"), {}).id


def test_the_space_of_what_was_deleted_is_given_back(journal: Journal) -> None:
    """The database is smaller after old snapshots have gone. [T7]"""
    recorder = journal.begin("f")
    for number in range(100):
        recorder.append({"a": bytes([number]) * 50_000}, index=number)
    journal.close()
    before = (folder_of(journal) / "journal.db").stat().st_size
    journal.prune("f", keep=1)
    journal.close()
    assert before - (folder_of(journal) / "journal.db").stat().st_size > 4_000_000
