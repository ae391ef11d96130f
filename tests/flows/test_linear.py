"""Linear flows: sessions of several runs, what each step sees, and what errors, kills and edits leave behind."""

from __future__ import annotations

import collections
import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import checkpoint
from checkpoint import (
    BusyFlowError,
    ChangedFlowError,
    DamagedSnapshotError,
    FlowWarning,
    StoreError,
    UnknownSnapshotError,
    UnsavableError,
)
from checkpoint.flows.linear import CheckpointFlow, LocalStateHandler

ROOT = Path(checkpoint.__file__).parents[1]
WAIT_S = 60

State = dict[Any, Any]
Log = list[Any]


def add_three(flow: CheckpointFlow, log: Log, *, broken: str = "", names: str = "pqr") -> CheckpointFlow:
    """Add three steps, the first and last with loader and saver, which tell the log what they see."""

    def loader(name: str) -> Callable[[State], State]:
        def load(state: State) -> State:
            log.append(f"load {name}")
            check(f"load {name}")
            return {name.upper(): [1, 2]}

        return load

    def saver(name: str) -> Callable[[State, State], None]:
        def save(state: State, data: State) -> None:
            log.append((f"save {name}", dict(data)))
            check(f"save {name}")

        return save

    def check(place: str) -> None:
        if place == broken:
            raise ZeroDivisionError(place)

    def step(name: str) -> Callable[[State, State], None]:
        def run(state: State, data: State) -> None:
            log.append((name, dict(state), dict(data)))
            state[f"by {name}"] = len(log)
            data[f"from {name}"] = name
            check(name)

        run.__name__ = name
        return run

    for name in names:
        if name == names[1]:
            flow.add_step()(step(name))
        else:
            flow.add_step(load=loader(name), save=saver(name))(step(name))
    return flow


def flow_of(log: Log, **options: Any) -> CheckpointFlow:
    return add_three(CheckpointFlow("state.pkl"), log, **options)


def order(log: Log) -> list[str]:
    """Return what ran, in order."""
    return [each if isinstance(each, str) else each[0] for each in log]


def seen(log: Log, name: str) -> State:
    """Return the state that a step saw last."""
    return [each[1] for each in log if each[0] == name][-1]


def data_seen(log: Log, name: str) -> State:
    return [each[2] for each in log if each[0] == name][-1]


def fail(log: Log, state: State | None = None, broken: str = "q", **options: Any) -> CheckpointFlow:
    """Run a flow that breaks; return it."""
    flow = flow_of(log, broken=broken)
    with pytest.raises(ZeroDivisionError, match=broken):
        flow.run({"a": 1} if state is None else state, **options)
    return flow


def run_program(text: str, folder: Path, *arguments: str, succeeds: bool = True, name: str = "program.py") -> str:
    """Run a script in a folder; return what it printed."""
    (folder / name).write_text(textwrap.dedent(text))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, name, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip
    if succeeds:
        assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


# --- a first run, a failure, a resume --------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: CheckpointFlow("s.pkl", handler="local"), lambda: CheckpointFlow("s.pkl")])
def test_a_flow_is_made_of_a_path(make: Callable[[], CheckpointFlow]) -> None:
    """The handler may be left out; nothing is on disk before something is saved. [G1]"""
    flow = make()
    assert isinstance(flow.handler, LocalStateHandler)
    assert ([], 0, []) == (flow.fs, flow.ckp_index, os.listdir())


def test_steps_run_in_the_order_of_their_definition() -> None:
    """With and without loader and saver; inside a step: loader, function, saver. [G2, G4]"""
    log: Log = []
    flow_of(log).run({})
    assert ["load p", "p", "save p", "q", "r", "save r"] == order(log)
    assert ("save p", {"P": [1, 2], "from p": "p"}) == log[2]


def test_a_step_can_be_added_in_each_spelling() -> None:
    """Bare, called, with the loader in first place; a step stays a step, and a loader a loader. [G2]"""
    ran: Log = []
    flow = CheckpointFlow("s.pkl")

    @flow.add_step
    def bare(state: State, data: State) -> None:
        ran.append("bare")

    def load(state: State) -> State:
        return {"x": 1}

    @flow.add_step(load, lambda state, data: ran.append(data))
    def both(state: State, data: State) -> None:
        ran.append("both")

    @flow.add_step(load)
    def loaded(state: State, data: State) -> None:
        ran.append("loaded")

    flow.run({}, "always")
    assert ["bare", "both", {"x": 1}, "loaded"] == ran
    assert ["bare", "both", "loaded"] == flow.step_names


def test_the_first_step_sees_the_state_as_it_was_given() -> None:
    """Nothing is added to it, and the data are those of its loader. [G3]"""
    log: Log = []
    flow_of(log).run({"a": 1})
    assert ({"a": 1}, {"P": [1, 2]}) == (seen(log, "p"), data_seen(log, "p"))


def test_an_exception_comes_out_as_it_is() -> None:
    """Type and text are those of the step; later steps don't run. [G5]"""
    log: Log = []
    fail(log)
    assert ["load p", "p", "save p", "q"] == order(log)


def test_a_failure_leaves_the_state_of_the_step_before() -> None:
    """The saved state has what complete steps made, in order, and how many they are. [G6, G16, G17]"""
    given: State = {"a": 1}
    flow = fail([], given)
    expected = [("a", 1), ("by p", 2), ("checkpoint_index", 1)]
    assert expected == list(LocalStateHandler("state.pkl").read().items())
    assert expected == list(flow.handler.read().items()) == list(flow.check_point().items())
    assert 1 == flow.ckp_index
    assert expected == list(flow.state_at("q").items())
    assert "by q" in given


def test_a_new_object_resumes_where_the_run_broke() -> None:
    """Complete steps don't run, nor do their loaders and savers; the state is the one that was left. [G7, G8, G10]"""
    fail([])
    log: Log = []
    flow = flow_of(log)
    flow.run({"a": 1})
    assert ["q", "r", "save r"] == order(log)
    assert [("a", 1), ("by p", 2), ("checkpoint_index", 1)] == list(seen(log, "q").items())
    assert {"a": 1, "by p": 2, "checkpoint_index": 2, "by q": 1} == seen(log, "r")
    assert 1 == flow.ckp_index


def test_a_resumed_step_without_loader_gets_no_data() -> None:
    """Nor do the later ones by default: their loaders aren't called, their savers are. [G9]"""
    fail([])
    log: Log = []
    flow_of(log).run({"a": 1})
    assert ({}, {"from q": "q"}) == (data_seen(log, "q"), data_seen(log, "r"))
    assert ("save r", {"from q": "q", "from r": "r"}) == log[-1]


def test_a_finished_flow_runs_everything_again() -> None:
    """The saved index is 0 then. [G11]"""
    log: Log = []
    flow = flow_of(log)
    flow.run({"a": 1})
    assert 0 == flow.handler.read()["checkpoint_index"]
    log.clear()
    flow.run({"a": 1})
    assert ["p", "q", "r"] == [name for name in order(log) if len(name) == 1]


def test_always_runs_the_loader_of_each_executed_step() -> None:
    """Data add up over the steps. [G12]"""
    log: Log = []
    flow_of(log).run({}, load_policy="always")
    assert ["load p", "p", "save p", "q", "load r", "r", "save r"] == order(log)
    assert {"P": [1, 2], "from p": "p"} == data_seen(log, "q")
    assert {"P": [1, 2], "from p": "p", "from q": "q", "R": [1, 2]} == data_seen(log, "r")


@pytest.mark.parametrize(("start", "loads"), [(0, ["load p"]), (1, []), (2, ["load r"])])
def test_by_default_only_the_first_executed_step_loads(start: int, loads: list[str]) -> None:
    """At most one loader is called. [G13]"""
    log: Log = []
    flow_of(log).run({}, checkpoint=start)
    assert loads == [name for name in order(log) if name.startswith("load")]


def test_a_start_by_index_takes_the_callers_state_after_a_finished_run() -> None:
    """Its first step sees the index of the finished run, the next one counts on. [G14]"""
    flow_of([]).run({"a": 1})
    log: Log = []
    given = {"mine": True, "checkpoint_index": 0}
    flow_of(log).run(given, checkpoint=1)
    assert ["q", "r", "save r"] == order(log)
    assert {"mine": True, "checkpoint_index": 0} == seen(log, "q")
    assert {"mine": True, "checkpoint_index": 2, "by q": 1} == seen(log, "r")
    flow_of(log).run({"new": 1}, checkpoint=True)
    assert {"new": 1} == seen(log, "q")


SESSION = """
    import sys
    from checkpoint.flows.linear import CheckpointFlow, LocalStateHandler

    def define(fixed):
        flow = CheckpointFlow("session.pkl", handler="local")

        def read_rows(state):
            print("reading rows")
            return {"rows": [3, 1, 2]}

        def write_rows(state, data):
            print(f"writing {data}")

        def read_names(state):
            print("reading names")
            return {"names": ["u", "v"]}

        @flow.add_step(load=read_rows, save=write_rows)
        def sort(state, data):
            print(f"sort: {state} {data}")
            state["sorted"] = "yes"

        if fixed:
            @flow.add_step()
            def check(state, data):
                print(f"check: {state} {data}")
        else:
            @flow.add_step()
            def check(state, data):
                raise RuntimeError("not written yet")

        @flow.add_step(load=read_names, save=write_rows)
        def score(state, data):
            print(f"score: {state} {data}")
            state["score"] = 4.5

        return flow

    settings = dict(title="t")
    try:
        define(fixed=False).run(settings)
    except RuntimeError as error:
        print(error)
    flow = define(fixed=True)
    print("-- again")
    flow.run(settings)
    if "between" in sys.argv:
        print("-- between")
        flow.run(settings)
    print("-- always")
    flow.run(settings, load_policy="always")
    print("-- from 1")
    flow.run(settings, checkpoint=1)
"""
BEGUN = """\
reading rows
sort: {'title': 't'} {'rows': [3, 1, 2]}
writing {'rows': [3, 1, 2]}
not written yet
-- again
check: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 1} {}
score: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 2} {}
writing {}
"""
BETWEEN = """\
-- between
reading rows
sort: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 0, 'score': 4.5} {'rows': [3, 1, 2]}
writing {'rows': [3, 1, 2]}
check: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 1, 'score': 4.5} {'rows': [3, 1, 2]}
score: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 2, 'score': 4.5} {'rows': [3, 1, 2]}
writing {'rows': [3, 1, 2]}
"""
ENDED = """\
-- always
reading rows
sort: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 0, 'score': 4.5} {'rows': [3, 1, 2]}
writing {'rows': [3, 1, 2]}
check: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 1, 'score': 4.5} {'rows': [3, 1, 2]}
reading names
score: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 2, 'score': 4.5} {'rows': [3, 1, 2], 'names': ['u', 'v']}
writing {'rows': [3, 1, 2], 'names': ['u', 'v']}
-- from 1
check: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 0, 'score': 4.5} {}
score: {'title': 't', 'sorted': 'yes', 'checkpoint_index': 2, 'score': 4.5} {}
writing {}
"""


@pytest.mark.parametrize("arguments", [[], ["between"]], ids=["as it is", "with a run in between"])
def test_a_whole_session_prints_what_it_should(arguments: list[str], tmp_path: Path) -> None:
    """A failure, a resume, a run with all loaders and one from an index, to the character. [G15]"""
    expected = BEGUN + (BETWEEN if arguments else "") + ENDED
    assert expected == run_program(SESSION, tmp_path, *arguments)


# --- the rules of a run ----------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["load r", "save r", "r"])
def test_a_failing_loader_or_saver_redoes_its_whole_step(broken: str) -> None:
    """The index stays where it was. [G18]"""
    flow = fail([], broken=broken, load_policy="always")
    assert 2 == flow.handler.read()["checkpoint_index"]
    log: Log = []
    flow_of(log).run(load_policy="always")
    assert ["load r", "r", "save r"] == order(log)


def test_a_resume_puts_the_saved_state_into_the_callers_dict() -> None:
    """What the caller gave is replaced, in the same dict. [G19]"""
    fail([], {"a": "saved"})
    log: Log = []
    given: State = {"a": "mine", "more": 1}
    flow_of(log).run(given)
    assert {"a": "saved", "by p": 2, "checkpoint_index": 1} == seen(log, "q")
    assert {"a": "saved", "by p": 2, "by q": 1, "by r": 2, "checkpoint_index": 0} == given


def test_a_run_without_state_takes_the_saved_one() -> None:
    """Or an empty dict, where there is none. [G20]"""
    log: Log = []
    flow_of(log).run()
    assert {} == seen(log, "p")
    flow_of(log).run()
    assert {"by p", "by q", "by r", "checkpoint_index"} == set(seen(log, "p"))


def test_ctrl_c_resumes_at_the_step_it_stopped() -> None:
    """An interrupt is no different from an error. [G21]"""
    flow = CheckpointFlow("s.pkl")
    ran: Log = []

    @flow.add_step
    def one(state: State, data: State) -> None:
        ran.append("one")

    @flow.add_step
    def two(state: State, data: State) -> None:
        ran.append("two")
        if ran.count("two") == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        flow.run({})
    flow.run({})
    assert ["one", "two", "two"] == ran


def test_a_list_chooses_the_loaders() -> None:
    """It has a bool for each step, those that are skipped included. [G22]"""
    log: Log = []
    flow_of(log).run({}, [False, True, True])
    assert ["p", "save p", "q", "load r", "r", "save r"] == order(log)
    log.clear()
    flow_of(log).run({}, [True, False, False], checkpoint=2)
    assert ["r", "save r"] == order(log)


@pytest.mark.parametrize("policy", [[True, False], (True, False, True), [1, 0, 1], None, True])
def test_another_list_is_refused(policy: Any) -> None:
    """Wrong length, other items, or no list: TypeError, and nothing runs. [G22]"""
    log: Log = []
    with pytest.raises(TypeError, match="list of 3 bools, one for each step"):
        flow_of(log).run({}, policy)
    assert [] == log


def test_an_unknown_policy_is_refused() -> None:
    """A misspelt name is a ValueError that lists the names, and nothing runs."""
    log: Log = []
    with pytest.raises(ValueError, match="must be one of 'first only', 'always', 'restore', not 'allways'"):
        flow_of(log).run({}, "allways")  # type: ignore[arg-type]
    assert [] == log


@pytest.mark.parametrize("start", [-1, 3, 1.0, "z", [1]])
def test_an_impossible_start_is_ignored_with_a_warning(start: Any) -> None:
    """The flow starts where it would have without it. [G23]"""
    fail([])
    log: Log = []
    with pytest.warns(FlowWarning, match="has no step") as caught:
        flow_of(log).run({}, checkpoint=start)
    assert ["q", "r", "save r"] == order(log)
    assert [__file__] == [warning.filename for warning in caught]


def test_a_loader_overrides_some_data() -> None:
    """Keys that it doesn't return stay; one that returns None adds nothing. [G24]"""
    flow = CheckpointFlow("s.pkl")
    found: Log = []
    returned: list[Any] = [{"a": 1, "b": 1}, {"b": 2}, None]
    for result in returned:
        flow.add_step(load=lambda state, result=result: result)(lambda state, data: found.append(dict(data)))  # type: ignore[misc]
    flow.run({}, "always")
    assert [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}] == found


def test_loaders_and_savers_may_change_the_state() -> None:
    """What they add is saved with the step. [G25]"""
    flow = CheckpointFlow("s.pkl")

    def load(state: State) -> State:
        state["loaded"] = True
        return {}

    @flow.add_step(load=load, save=lambda state, data: state.update(saved=True))
    def step(state: State, data: State) -> None:
        pass

    flow.run({})
    assert {"loaded": True, "saved": True, "checkpoint_index": 0} == flow.handler.read()


def test_an_empty_flow_does_nothing() -> None:
    """There is no error, and nothing is made. [G34]"""
    CheckpointFlow("s.pkl").run({"a": 1})
    assert [] == os.listdir()


@pytest.mark.parametrize("state", [[], "state", 1])
def test_a_state_is_a_dict(state: Any) -> None:
    """Anything else is a TypeError before a step runs."""
    with pytest.raises(TypeError, match="state must be a dict or None, not"):
        flow_of([]).run(state)


def test_fresh_starts_over() -> None:
    """Whatever was saved; the index that an earlier run left in the caller's dict is taken out. [G3]"""
    fail([])
    log: Log = []
    flow_of(log).run({"b": 2, "checkpoint_index": 1}, fresh=True)
    assert {"b": 2} == seen(log, "p")
    flow_of(log).run(fresh=True)
    assert {} == seen(log, "p")


def test_clear_forgets_everything() -> None:
    """The state, its file and the history. [G11]"""
    flow = fail([])
    flow.clear()
    assert ({}, [], False) == (flow.handler.read(), flow.history(), Path("state.pkl").exists())
    log: Log = []
    flow_of(log).run({"b": 2})
    assert {"b": 2} == seen(log, "p")


def test_removing_the_file_starts_afresh() -> None:
    """Also for an object that has run before. [G29]"""
    flow = fail(log := [])
    Path("state.pkl").unlink()
    with pytest.raises(ZeroDivisionError):
        flow.run({"b": 2})
    assert {"b": 2} == seen(log, "p")


def test_restore_replays_the_loaders_before() -> None:
    """A resumed step finds the data of all loaders up to it, as if the run had not been interrupted."""
    fail([], broken="r")
    log: Log = []
    flow_of(log).run(load_policy="restore")
    assert ["load p", "load r", "r", "save r"] == order(log)
    assert {"P": [1, 2], "R": [1, 2]} == data_seen(log, "r")


# --- handlers --------------------------------------------------------------------------------------------


def test_an_unknown_handler_is_refused() -> None:
    """A name that isn't there lists those that are; what is neither name nor class is a TypeError. [G26]"""
    with pytest.raises(NotImplementedError, match="no state handler 'remote'; there are local"):
        CheckpointFlow("s.pkl", handler="remote")
    for handler in (LocalStateHandler("s.pkl"), None, 3):
        with pytest.raises(TypeError, match="must be a name or a class"):
            CheckpointFlow("s.pkl", handler=handler)  # type: ignore[arg-type]


class JsonHandler:
    """Keeps the state as JSON, in a folder of its own."""

    def __init__(self, path: str) -> None:
        self.file = Path(f"{path}.json")

    def read(self) -> State:
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    def write(self, state: State) -> None:
        self.file.write_text(json.dumps(state))


@pytest.mark.parametrize("is_named", [False, True])
def test_a_handler_of_the_users_own(is_named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any class with read and write and one argument works, by itself or under a name. [G27]"""
    monkeypatch.setitem(CheckpointFlow.state_handler_constructors, "json", JsonHandler)
    handler: Any = "json" if is_named else JsonHandler
    with pytest.raises(ZeroDivisionError):
        add_three(CheckpointFlow("j", handler), [], broken="q").run({"a": 1})
    assert {"a": 1, "by p": 2, "checkpoint_index": 1} == json.loads(Path("j.json").read_text())
    log: Log = []
    flow = add_three(CheckpointFlow("j", handler=handler), log)
    flow.run({"a": 1})
    assert ["q", "r", "save r"] == order(log)
    flow.clear()
    assert {} == flow.handler.read()


def test_the_local_handler_keeps_a_dict(tmp_path: Path) -> None:
    """Two objects of one path see the same; an empty file and a missing one hold nothing. [G28]"""
    path = tmp_path / "deep" / "er" / "s.pkl"
    assert {} == LocalStateHandler(path).read()
    LocalStateHandler(str(path)).write({"a": (1, {2})})
    assert {"a": (1, {2})} == LocalStateHandler(path).read()
    path.write_bytes(b"")
    assert {} == LocalStateHandler(path).read()
    assert ["s.pkl"] == os.listdir(path.parent)


def test_an_empty_file_is_a_fresh_start() -> None:
    """A flow may be given the name of a file that was made for it. [G28]"""
    Path("state.pkl").touch()
    log: Log = []
    flow_of(log).run({"a": 1})
    assert {"a": 1} == seen(log, "p")


@pytest.mark.parametrize("dump", [pickle.dumps, __import__("dill").dumps], ids=["pickle", "dill"])
def test_a_file_that_another_program_pickled_is_resumed(dump: Callable[[Any], bytes]) -> None:
    """A plain pickle of a state is read, and the flow goes on from its index. [G28]"""
    Path("state.pkl").write_bytes(dump({"a": 1, "checkpoint_index": 1}))
    log: Log = []
    flow_of(log).run({"other": 1})
    assert {"a": 1, "checkpoint_index": 1} == seen(log, "q")
    assert ["q", "r", "save r"] == order(log)


def test_editing_the_saved_state_is_honoured() -> None:
    """Values and index that are written through the handler count, and the history has them. [G29]"""
    fail([])
    handler = LocalStateHandler("state.pkl")
    handler.write({**handler.read(), "a": "edited"})
    log: Log = []
    flow = flow_of(log)
    flow.run()
    assert {"a": "edited", "by p": 2, "checkpoint_index": 1} == seen(log, "q")
    assert ["running", "running", "edited", "running", "finished"] == [each.status for each in flow.history()]
    assert "edited" == flow.state_at("q")["a"]
    handler.write({"b": 1, "checkpoint_index": 2})
    flow.run()
    assert {"b": 1, "checkpoint_index": 2} == seen(log, "r")
    assert ["r", "save r"] == order(log)[-2:]


def test_values_that_only_dill_can_pickle_survive(tmp_path: Path) -> None:
    """Lambdas, locks and data frames are there after a resume in a new process. [G30]"""
    pytest.importorskip("pandas")
    program = """
        import sys, threading
        import pandas
        from checkpoint.flows.linear import CheckpointFlow
        flow = CheckpointFlow("s.pkl")
        class Point:
            def __init__(self, x): self.x = x
        @flow.add_step()
        def make(state, data):
            state["double"] = lambda x: 2 * x
            state["lock"] = threading.Lock()
            state["frame"] = pandas.DataFrame({"x": range(3)})
            state["point"] = Point(4)
        @flow.add_step()
        def use(state, data):
            if "stop" in sys.argv:
                sys.exit()
            assert isinstance(state["point"], Point)
            print(state["double"](4), state["lock"].acquire(), int(state["frame"].x.sum()), state["point"].x)
        flow.run({})
    """
    assert "" == run_program(program, tmp_path, "stop")
    assert "8 True 3 4\n" == run_program(program, tmp_path)


def test_objects_that_values_share_are_shared_after_a_resume() -> None:
    """The newest state is kept whole, so two keys with one object have one again."""
    flow = CheckpointFlow("s.pkl")
    shared: list[int] = []
    flow.add_step(lambda state, data: state.update(one=shared, two=shared))

    @flow.add_step
    def use(state: State, data: State) -> None:
        if state["one"] is shared:
            raise InterruptedError
        state["one"].append(1)

    with pytest.raises(InterruptedError):
        flow.run({})
    state: State = {}
    flow.run(state)
    assert ([1], [1], []) == (state["one"], state["two"], shared)


def test_a_step_can_be_called_directly() -> None:
    """It keeps its name and text, has its own data in each call, and returns them. [G31]"""
    flow = CheckpointFlow("s.pkl")
    saved: Log = []

    @flow.add_step(load=lambda state: {"x": 1}, save=lambda state, data: saved.append(dict(data)))
    def named(state: State, data: State) -> str:
        """Do it."""
        data["n"] = data.get("n", 0) + 1
        return "ignored"

    assert ("named", "Do it.") == (named.__name__, named.__doc__)
    assert ({"n": 1}, {"n": 1}) == (named({}), named({}))
    given: State = {"n": 5}
    assert named({}, True, given) is given
    assert {"n": 6, "x": 1} == given == saved[-1]
    with pytest.raises(TypeError, match="data of step named must be a dict, not list"):
        named({}, False, [])  # type: ignore[arg-type]
    assert {"n": 1} == named({}, data=collections.OrderedDict())
    assert [] == os.listdir()


def test_a_step_may_be_added_twice() -> None:
    """It runs twice, and each has a name of its own."""
    flow = CheckpointFlow("s.pkl")
    ran: Log = []

    def step(state: State, data: State) -> None:
        ran.append(dict(state))

    flow.add_step(step)
    flow.add_step()(step)
    flow.run({})
    assert (["step", "step (2)"], 2) == (flow.step_names, len(ran))
    flow.run(checkpoint="step (2)")
    assert {"checkpoint_index": 1} == ran[-1]


def test_a_step_of_another_flow_can_be_added() -> None:
    """With the loader and saver that it has, or others."""
    one, other = CheckpointFlow("one.pkl"), CheckpointFlow("other.pkl")
    seen_data: Log = []

    @one.add_step(load=lambda state: {"x": 1})
    def step(state: State, data: State) -> None:
        seen_data.append(dict(data))

    other.add_step(step)
    other.add_step(load=lambda state: {"x": 2})(step)
    other.run({}, "always")
    assert [{"x": 1}, {"x": 2}] == seen_data


# --- what goes wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["state", "data", "key"])
def test_a_state_that_cannot_be_saved_leaves_the_last_one(place: str) -> None:
    """The error names the key; the checkpoint before is readable, and the step is done again. [G32]"""
    flow = CheckpointFlow("s.pkl", persist_data=True)
    flow.add_step(lambda state, data: state.update(a=1))
    broken = True

    @flow.add_step
    def leave(state: State, data: State) -> None:
        if broken:
            (data if place == "data" else state)[object() if place == "key" else "open"] = (i for i in range(3))

    expected = {"state": r'state\["open"\]', "data": r'data\["open"\]', "key": r"state\[<object object at .*\]"}
    with pytest.raises(UnsavableError, match=f"{expected[place]} of flow .*s.pkl cannot be saved: "):
        flow.run({})
    assert {"a": 1, "checkpoint_index": 1} == flow.handler.read() == LocalStateHandler("s.pkl").read()
    broken = False
    flow.run({})
    assert 0 == flow.handler.read()["checkpoint_index"]


def test_the_local_handler_leaves_a_good_file() -> None:
    """What can't be encoded is an error that names the key, and no temporary file stays. [G32]"""
    handler = LocalStateHandler("s.pkl")
    handler.write({"good": 1})
    with pytest.raises(UnsavableError, match=r"state\['bad'\]\[0\] of flow"):
        handler.write({"bad": [(i for i in range(3))]})
    assert ({"good": 1}, ["s.pkl"]) == (handler.read(), os.listdir())


def test_the_history_has_each_boundary() -> None:
    """A run of 3 steps has 4 snapshots, with the step that ended, index, time and size. [G33]"""
    flow = flow_of([])
    flow.run({"a": "x" * 1000})
    history = flow.history()
    assert [(None, 0), ("p", 1), ("q", 2), ("r", 3)] == [(each.step, each.index) for each in history]
    assert ["running", "running", "running", "finished"] == [each.status for each in history]
    assert all(each.size > 1000 for each in history)
    assert sorted(each.stored_at for each in history) == [each.stored_at for each in history]
    assert [True, False, False, False] == [each.written > 1000 for each in history]


def test_a_run_starts_from_the_name_of_a_step() -> None:
    """With the state as it was before that step, whether the last run has finished or not. [G33]"""
    flow = flow_of(log := [])
    flow.run({"a": 1})
    before = seen(log, "r")
    flow.run({"a": 2}, fresh=True)
    given: State = {"other": 1}
    flow.run(given, checkpoint="r")
    assert {**before, "a": 2} == {**seen(log, "r"), "by p": 2, "by q": 4}
    assert 2 == given["a"]
    assert ["load r", "r", "save r"] == order(log)[-3:]
    with pytest.raises(UnknownSnapshotError, match=r"no snapshot of flow .* before step q; run the flow up to there"):
        add_three(CheckpointFlow("other.pkl"), []).run(checkpoint="q")


def test_a_run_starts_from_any_snapshot() -> None:
    """Also one of an older run; the new run is a fork of it. [G33]"""
    flow = flow_of(log := [])
    flow.run({"a": "old"})
    old = flow.history()
    flow.run({"a": "new"}, fresh=True)
    flow.run(checkpoint=old[1])
    assert ("old", 1) == (seen(log, "q")["a"], seen(log, "q")["checkpoint_index"])
    runs = flow.journal.runs(flow.name)
    assert [None, None, old[1].id] == [run.source for run in runs]
    flow.run(checkpoint=old[-1])
    assert "old" == seen(log, "p")["a"]
    with pytest.raises(ValueError, match=r"one of flow .*state.pkl, not of .*other.pkl"):
        add_three(CheckpointFlow("other.pkl"), []).run(checkpoint=old[1])
    with pytest.raises(ValueError, match="has no step 'z'; it has p, q, r"):
        flow.state_at("z")


@pytest.mark.parametrize(
    ("names", "difference"),
    [
        ("psr", "'q' missing and 's' new"),
        ("sqr", "'p' missing and 's' new"),
        ("pq", "'r' missing"),
        ("pqrs", "'s' new"),
        ("qpr", "their order has changed"),
    ],
)
def test_changed_steps_are_an_error_on_resume(names: str, difference: str) -> None:
    """It names the difference; nothing runs, and the saved state stays. [G34]"""
    fail([])
    log: Log = []
    with pytest.raises(
        ChangedFlowError, match=f"saved with the steps p, q, r and now has .*: {difference}; "
    ) as caught:
        flow_of(log, names=names).run({})
    assert ([], ("p", "q", "r"), tuple(names)) == (log, caught.value.saved, caught.value.current)
    flow_of(log).run({})
    assert ["q", "r", "save r"] == order(log)


@pytest.mark.parametrize(
    ("names", "ran"),
    [("spqr", "qr"), ("pqrs", "qrs"), ("pr", "r"), ("psr", "r"), ("pst", "st"), ("sp", "")],
)
def test_changed_steps_can_be_matched_by_name(names: str, ran: str) -> None:
    """The flow goes on at the first step that was still to come, or after those that are complete. [G34]"""
    fail([])
    log: Log = []
    flow = flow_of(log, names=names)
    flow.run({"a": 1}, on_change="ignore")
    assert list(ran) == [name for name in order(log) if len(name) == 1]
    if ran:
        assert names.index(ran[0]) == seen(log, ran[0])["checkpoint_index"]
    log.clear()
    flow.run({"a": 1})
    assert list(names) == [name for name in order(log) if len(name) == 1]


def test_changed_steps_can_start_over() -> None:
    """With the caller's own state. [G34]"""
    fail([])
    log: Log = []
    flow_of(log, names="pq").run({"b": 2}, on_change="restart")
    assert {"b": 2} == seen(log, "p")
    with pytest.raises(ValueError, match="on_change must be one of"):
        flow_of(log).run({}, on_change="maybe")  # type: ignore[arg-type]


def test_a_finished_flow_may_change() -> None:
    """Another list of steps runs from its beginning. [G34]"""
    flow_of([]).run({})
    log: Log = []
    flow_of(log, names="xyzw").run({})
    assert list("xyzw") == [name for name in order(log) if len(name) == 1]


@pytest.mark.parametrize("index", [4, -1, "1", 1.0, True])
def test_an_impossible_index_is_an_error(index: object) -> None:
    """Where nothing else tells what the steps were; an index of all steps means that they had finished. [G34]"""
    LocalStateHandler("state.pkl").write({"checkpoint_index": index})
    with pytest.raises(DamagedSnapshotError, match=f"its checkpoint_index is {index!r}"):
        flow_of([]).run()
    LocalStateHandler("state.pkl").write({"checkpoint_index": 3, "a": 1})
    flow_of(log := []).run()
    assert {"checkpoint_index": 3, "a": 1} == seen(log, "p")


# --- damage and kills ------------------------------------------------------------------------------------

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[:-5],
    "a byte": lambda content: content[:-5] + b"\xff" + content[-4:],
    "garbage": lambda content: b"garbage",
    "a list": lambda content: pickle.dumps([1]),
    "a class that is gone": lambda content: b"\x80\x05cno_such_module\nThing\n.",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_reported(damage: Callable[[bytes], bytes]) -> None:
    """Never a fresh start; the flow can go on from the journal, or start afresh when asked to. [G35]"""
    fail([])
    file = Path("state.pkl")
    file.write_bytes(damage(file.read_bytes()))
    content = file.read_bytes()
    log: Log = []
    flow = flow_of(log)
    with pytest.raises(DamagedSnapshotError, match=r"state.pkl is damaged: .*; go on from the journal"):
        flow.run({"a": 1})
    with pytest.raises(DamagedSnapshotError):
        flow.check_point()
    assert ([], content) == (log, file.read_bytes())
    flow.run(checkpoint=flow.history()[-1])
    assert ["q", "r", "save r"] == order(log)
    assert {"a": 1, "by p": 2, "checkpoint_index": 1} == seen(log, "q")


def test_functions_of_another_python_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their byte code would crash it: the file is refused. Plain data of another Python are read. [G35]"""
    with monkeypatch.context() as patch:
        patch.setattr("checkpoint.journal.values.PYTHON", "3.8")
        LocalStateHandler("plain.pkl").write({"a": [1]})
        LocalStateHandler("function.pkl").write({"f": lambda: 1})
    assert {"a": [1]} == LocalStateHandler("plain.pkl").read()
    with pytest.raises(DamagedSnapshotError, match=r"holds functions that Python 3\.8 saved and"):
        LocalStateHandler("function.pkl").read()


def test_a_damaged_journal_is_reported(store: Path) -> None:
    """Never a fresh start. [G35]"""
    flow = fail([])
    flow.journal.close()
    (store / "checkpoint" / ".journal" / "journal.db").write_bytes(b"")
    log: Log = []
    with pytest.raises(StoreError, match="cut off"):
        flow_of(log).run({"a": 1})
    assert [] == log


def test_a_lost_journal_loses_only_the_history(store: Path) -> None:
    """The file alone is enough to go on. [G35]"""
    fail([])
    shutil.rmtree(store)
    log: Log = []
    flow = flow_of(log)
    flow.run({"a": 1})
    assert ["q", "r", "save r"] == order(log)
    assert [1, 2, 3] == [each.index for each in flow.history()]


def test_a_path_that_cannot_be_used_is_an_error_at_once(tmp_path: Path) -> None:
    """Before a step has run. [G35]"""
    with pytest.raises(StoreError, match="name a file in it"):
        CheckpointFlow(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name another file"):
        CheckpointFlow(tmp_path / "file" / "s.pkl")


KILLED_AT = """
    import os, signal, sys
    from checkpoint.flows.linear import CheckpointFlow
    from checkpoint.journal import Journal, Recorder
    moment, when = sys.argv[1], int(sys.argv[2])
    flow = CheckpointFlow("s.pkl", persist_data=True)
    calls = {}
    def kill_at(place):
        calls[place] = calls.get(place, 0) + 1
        if (place, calls[place]) == (moment, when):
            os.kill(os.getpid(), signal.SIGKILL)
    def wrap(owner, name):
        real = getattr(owner, name)
        def wrapped(*args, **kwargs):
            kill_at(f"before {name}")
            result = real(*args, **kwargs)
            kill_at(f"after {name}")
            return result
        setattr(owner, name, wrapped)
    wrap(Recorder, "append")
    wrap(type(flow.handler), "write")
    wrap(Journal, "mark_exported")
    def step(index):
        def run(state, data):
            assert state.get("trail", []) == list(range(index)), state
            assert data.get("n", 0) == index, data
            print(index, flush=True)
            state["trail"] = [*range(index + 1)]
            data["n"] = index + 1
        run.__name__ = f"s{index}"
        flow.add_step(run)
    for index in range(3):
        step(index)
    flow.run({})
"""


@pytest.mark.parametrize("place", ["append", "write", "mark_exported"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_kill_between_any_two_writes_redoes_no_complete_step(side: str, place: str, tmp_path: Path) -> None:
    """Journal, file and mark are written in turn; whatever is missing, state and data go on as one. [G35]"""
    for when in range(1, 4):
        first = run_program(KILLED_AT, tmp_path, f"{side} {place}", str(when), succeeds=False).split()
        again = run_program(KILLED_AT, tmp_path, "again", "0").split()
        begun = when - (place == "append")  # the first append is that of the start
        complete = max(0, begun - 1) if (side, place) == ("before", "append") else begun
        assert list(map(str, range(begun))) == first
        assert list(map(str, range(complete % 3, 3))) == again
        for path in (tmp_path / "s.pkl", tmp_path / "cache"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def break_write(flow: CheckpointFlow) -> None:
    """Let the disk fail under the handler of a flow."""

    def fail_to_write(state: State) -> None:
        raise StoreError("state.pkl", "No space left on device", "free some space")

    flow.handler.write = fail_to_write  # type: ignore[method-assign]


def test_a_file_that_was_not_written_is_made_up_for() -> None:
    """The next run writes it before it does anything else, so that what is edited afterwards counts. [G29, G35]"""
    flow = flow_of([])
    break_write(flow)
    with pytest.raises(StoreError, match="free some space"):
        flow.run({"a": 1})
    assert not Path("state.pkl").exists()
    assert {"a": 1, "by p": 2, "checkpoint_index": 1} == flow_of([]).check_point()
    flow = fail(log := [])
    assert ["q"] == order(log)
    flow.handler.write({**flow.handler.read(), "a": "edited"})
    flow_of(log).run()
    assert "edited" == seen(log, "q")["a"]


def test_a_start_from_the_past_is_resumed_where_it_was() -> None:
    """Also if it is cut off before the file has the state that was brought back. [G33, G35]"""
    flow_of([]).run({"a": 1})
    flow = flow_of(log := [])
    break_write(flow)
    with pytest.raises(StoreError):
        flow.run(checkpoint="r")
    assert [] == log
    flow_of(log).run({"b": 2})
    assert ["load r", "r", "save r"] == order(log)
    assert (1, 2) == (seen(log, "r")["a"], seen(log, "r")["checkpoint_index"])
    flow = flow_of([], broken="q")
    with pytest.raises(ZeroDivisionError):
        flow.run(checkpoint="q")
    assert {"a": 1, "by p": 2, "checkpoint_index": 1} == flow.handler.read()
    log.clear()
    flow_of(log).run({"b": 2})
    assert ["q", "r", "save r"] == order(log)


LOOP = """
    import os, sys
    import numpy
    from checkpoint.flows.linear import CheckpointFlow
    COUNT = 8
    flow = CheckpointFlow("s.pkl", persist_data=True)
    def step(index):
        def run(state, data):
            trail = state.get("trail", [])
            assert trail == list(range(index)), (index, trail)
            assert state.get("checkpoint_index", 0) == index, (index, state)
            if index:
                assert data["n"] == index and (data["x"] == index).all(), (index, data)
            print(index, flush=True)
            state["trail"] = [*trail, index]
            data["n"], data["x"] = index + 1, numpy.full(20_000, index + 1)
        run.__name__ = f"s{index}"
        flow.add_step(run)
    for index in range(COUNT):
        step(index)
    print("ready", flush=True)
    while True:
        state = {}
        flow.run(state)
        assert state["trail"] == list(range(COUNT))
"""


@pytest.mark.parametrize("rounds", [8, pytest.param(400, marks=pytest.mark.stress)])
def test_a_flow_that_is_killed_at_random_goes_on(rounds: int, tmp_path: Path) -> None:
    """No complete step runs again, no state is lost, and state and data of two boundaries never mix. [G35]"""
    pytest.importorskip("numpy")
    dice = random.Random(rounds)
    (tmp_path / "loop.py").write_text(textwrap.dedent(LOOP))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begun: list[int] = []
    for number in range(rounds):
        with subprocess.Popen(
            [sys.executable, "loop.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            assert "ready\n" == process.stdout.readline()
            if number % 2 == 0:  # a slow machine gets somewhere as well
                begun.append(int(process.stdout.readline()))
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(dice.uniform(0, 0.12))
            process.kill()
            begun += [int(line) for line in process.stdout.read().split("\n")[:-1]]
            assert "" == process.stderr.read()
    assert len(begun) > rounds // 2
    for before, after in itertools.pairwise(begun):
        assert after in (before, (before + 1) % 8)


# --- data ------------------------------------------------------------------------------------------------


def test_data_can_be_kept() -> None:
    """A resumed step finds the data as they were, writable; loaders that had run aren't run again."""
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    ran: Log = []

    def define(is_fixed: bool) -> CheckpointFlow:
        flow = CheckpointFlow("s.pkl", persist_data=True)

        def load(state: State) -> State:
            ran.append("load")
            return {"x": numpy.arange(100_000), 7: "seven"}

        @flow.add_step(load=load)
        def first(state: State, data: State) -> None:
            data["frame"] = pandas.DataFrame({"n": data["x"][:3]})
            data["y"] = data["x"] * 2

        @flow.add_step(load=lambda state: ran.append("never"))
        def second(state: State, data: State) -> None:
            if not is_fixed:
                data["y"][0] = -1
                raise InterruptedError
            assert ["x", 7, "frame", "y"] == list(data)
            assert not data["y"].flags.owndata
            data["y"][1] += 5
            ran.append((int(data["y"][0]), int(data["y"].sum()), data[7], list(data["frame"].n)))

        return flow

    with pytest.raises(InterruptedError):
        define(False).run({})
    flow = define(True)
    flow.run({})
    assert ["load", (0, 9_999_900_005, "seven", [0, 1, 2])] == ran
    assert [0, 1, 2] == [each.index for each in flow.history()]
    assert "data" not in str(flow.handler.read())


def test_data_are_kept_once(store: Path) -> None:
    """An array that no step changes is written by the first boundary alone."""
    numpy = pytest.importorskip("numpy")
    flow = CheckpointFlow("s.pkl", persist_data=True)
    flow.add_step(load=lambda state: {"x": numpy.arange(1_000_000)})(lambda state, data: None)
    for _ in range(3):
        flow.add_step(lambda state, data: state.update(n=state.get("n", 0) + 1))
    flow.run({})
    assert [True, False, False, False] == [each.written > 10_000 for each in flow.history()[1:]]
    assert 1 == len(list(store.glob("checkpoint/.journal/blobs/*/*")))


# --- together --------------------------------------------------------------------------------------------


def test_two_processes_cannot_run_one_flow(tmp_path: Path) -> None:
    """The second is told who runs it; when that one is killed, the flow goes on where it was."""
    program = """
        import sys
        from checkpoint.flows.linear import CheckpointFlow
        flow = CheckpointFlow("s.pkl")
        flow.add_step(lambda state, data: state.update(a=1))
        @flow.add_step
        def wait(state, data):
            print("waiting", flush=True)
            sys.stdin.readline()
        flow.run({})
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "waiting\n" == process.stdout.readline()
        ran: Log = []
        flow = CheckpointFlow("s.pkl")
        flow.add_step(lambda state, data: ran.append("first"))
        flow.add_step(lambda state, data: ran.append(dict(state)))
        flow.fs[1].__name__ = "wait"
        with pytest.raises(BusyFlowError, match=rf"s.pkl is being run by process {process.pid} on .*program.py"):
            flow.run({})
        with pytest.raises(BusyFlowError):
            flow.clear()
        process.kill()
    flow.run({})
    assert [{"a": 1, "checkpoint_index": 1}] == ran


def test_a_flow_does_not_run_inside_itself() -> None:
    """Nor in two threads of one process; another flow does."""
    flow, other = CheckpointFlow("s.pkl"), CheckpointFlow("other.pkl")
    outcome: Log = []

    @flow.add_step
    def step(state: State, data: State) -> None:
        other.run({})

        def attempt() -> None:
            try:
                flow.run({})
            except BusyFlowError as error:
                outcome.append(error.flow)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        flow.run({})

    other.add_step(lambda state, data: outcome.append("other"))
    with pytest.raises(BusyFlowError):
        flow.run({})
    assert ["other", str(Path("s.pkl").absolute())] == outcome


def test_a_flow_goes_by_its_file_wherever_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path is resolved when the flow is made."""
    flow = fail([])
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    log: Log = []
    same = add_three(CheckpointFlow("../state.pkl"), log)
    assert flow.name == same.name
    same.run()
    assert ["q", "r", "save r"] == order(log)
    assert not (tmp_path / "below" / "state.pkl").exists()
