"""What pipelines promise. Labels in brackets name the promise that a test proves."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import types
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import stages
from contract_store import CHECKS
from stages import add, double, meet_left, meet_right, one, process_of, scale, ten

import checkpoint
from checkpoint import CodeChangedWarning, DamagedEntryWarning, StoreError, UnstorableError
from checkpoint.flows.pipeline import Config, Pipeline, Stage
from checkpoint.flows.pipeline.overlay import Overlay
from checkpoint.store import Store
from checkpoint.store.disk import DiskStore

ROOT = Path(checkpoint.__file__).parent.parent

ALWAYS = Config(load=True)


@pytest.fixture
def ran() -> list[str]:
    """The names of the stages that ran, in order."""
    stages.ran.clear()
    return stages.ran


def made(source: str, name: str = "program") -> types.ModuleType:
    """Return a module made of source, as if it had been imported."""
    module = types.ModuleType(name)
    exec(compile(textwrap.dedent(source), f"<{name}>", "exec"), module.__dict__)
    return module


def run_program(folder: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script `program.py` in a folder."""
    file = folder / "program.py"
    file.write_text(textwrap.dedent(source), encoding="utf-8")
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(file), *arguments],
        cwd=folder, env=surroundings, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def entries(folder: Path) -> dict[str, int]:
    """Return task name -> number of results in a store."""
    with checkpoint.open_store(folder) as opened:
        found = {name: len(list(opened.store.scan(name))) for name in opened.store.tasks()}
    return {name.rpartition(".")[2]: count for name, count in found.items() if count}


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines on standard error without their times; there are none on standard output."""
    output, errors = capsys.readouterr()
    assert output == ""
    return [line.partition(" after ")[0] for line in errors.splitlines()]


# --- stages ----------------------------------------------------------------------------------------------


def test_wrap_makes_a_stage_of_a_function() -> None:
    """`Stage.wrap()` gives a Stage whose `func` is the function itself. [C1]"""

    def text() -> str:
        return "123"

    stage = Stage.wrap()(text)
    assert (True, text, "123") == (isinstance(stage, Stage), stage.func, stage.func())


def test_wrap_needs_its_parentheses() -> None:
    """`@Stage.wrap` without parentheses is a TypeError that says so. [C1]"""
    with pytest.raises(TypeError, match=r"write @Stage.wrap\(\), with parentheses, above function"):

        @Stage.wrap  # type: ignore[arg-type]
        def text() -> str:
            return "123"


def test_a_stage_shows_its_name() -> None:
    """`str` is the function's name, `repr` has it in brackets, constants with it. [C20]"""
    assert ("one", "Stage[one]", "Stage[scale(by=5)]") == (str(one), repr(one), repr(scale.bind(by=5)))


def test_stages_of_one_function_are_equal() -> None:
    """Equality and hash are those of the function. [C20]"""
    again = Stage(one.func)
    assert (again, hash(again)) == (one, hash(one))
    assert one != ten
    assert len({one, again, ten}) == 2


@pytest.mark.parametrize("thing", [one, one >> double, Config()], ids=["Stage", "Pipeline", "Config"])
@pytest.mark.parametrize("attribute", ["func", "name", "stage", "args", "load"])
def test_nothing_can_be_set(thing: object, attribute: str) -> None:
    """Stage, Pipeline and Config are immutable. [C20, C23]"""
    with pytest.raises((AttributeError, TypeError)):
        setattr(thing, attribute, 1)


def test_a_direct_call_calls_the_function(store: Path, capsys: pytest.CaptureFixture[str], ran: list[str]) -> None:
    """`stage(x)` keeps nothing, looks nothing up, says nothing. [C21]"""
    assert (8, 8, ["double", "double"], []) == (double(4), double(4), ran, told(capsys))
    assert not store.exists()


@pytest.mark.filterwarnings("ignore::checkpoint.UnseenCodeWarning")
@pytest.mark.parametrize(
    "function",
    [lambda: 1, functools.partial(max, 1, 2), [].__len__, type("Odd", (), {"__call__": lambda self: 1})()],
    ids=["lambda", "partial", "method", "object"],
)
def test_what_has_no_name_needs_one(function: Any, store: Path) -> None:
    """Lambdas, partials, methods and callable objects are stages once they are given a name. [C28]"""
    with pytest.raises(TypeError, match=r"Stage.wrap\(name=...\)"):
        Stage.wrap()(function)
    named = Stage.wrap(name="named")(function)
    assert ("named", function()) == (str(named), Pipeline(named)())
    assert {"named": 1} == entries(store)


def test_callables_with_a_name_are_stages(store: Path) -> None:
    """Builtins, classes and cached functions go under their own names. [C28]"""

    @functools.cache
    def nine() -> int:
        return 9

    assert (9, [9], 1) == (
        Pipeline(Stage.wrap()(nine))(ALWAYS),
        (Stage.wrap()(nine) >> Stage.wrap(name="row")(lambda x: [x]) >> Stage.wrap()(list))(ALWAYS),
        (Stage.wrap()(list) >> Stage.wrap()(len) >> Stage.wrap(name="more")(lambda x: x + 1))(ALWAYS),
    )
    assert {"nine": 1, "row": 1, "list": 2, "len": 1, "more": 1} == entries(store)


def test_a_default_may_be_anything(ran: list[str]) -> None:
    """What cannot be part of a key, as the default of a parameter, is part of the code. [C34]"""

    @Stage.wrap()
    def apply(number: int, how: Any = abs, lock: Any = threading.Lock()) -> int:  # noqa: B008
        return int(how(number))

    assert (1, 1, ["one"]) == ((one >> apply)(ALWAYS), (one >> apply)(ALWAYS), ran)


def test_a_partial_with_other_arguments_is_changed_code() -> None:
    """What is set in a partial counts as its code. [C34]"""
    Pipeline(Stage.wrap(name="most")(functools.partial(max, 1, 2)))(ALWAYS)
    other = Pipeline(Stage.wrap(name="most")(functools.partial(max, 5, 2)))
    assert 5 == other(ALWAYS, on_change="rerun")


@pytest.mark.parametrize("thing", [3, None, "one", one, one >> double], ids=repr)
def test_a_stage_is_made_of_a_function(thing: Any) -> None:
    """Anything that is no function is a TypeError. [C33]"""
    with pytest.raises(TypeError, match="a stage is made of a function"):
        Stage(thing)


def test_a_stage_pickles_by_name() -> None:
    """A decorated stage of a module comes back as itself, a bound one as its equal. [C35]"""
    bound = scale.bind(by=5)
    assert (True, bound) == (pickle.loads(pickle.dumps(one)) is one, pickle.loads(pickle.dumps(bound)))


def test_a_stage_without_a_place_pickles_by_value() -> None:
    """A stage of a closure comes back as one that does the same. [C35]"""
    base = 40

    @Stage.wrap()
    def answer() -> int:
        return base + 2

    assert 42 == pickle.loads(pickle.dumps(answer))()
    assert copy.deepcopy(answer) is answer


def test_bound_constants_are_part_of_the_key(ran: list[str]) -> None:
    """Two constants are two results; the function gets them by keyword. [C27]"""
    five, seven = one >> scale.bind(by=5), one >> scale.bind(by=7)
    assert [5, 7, 5, 7] == [pipeline(ALWAYS) for pipeline in (five, seven, five, seven)]
    assert ["one", "scale", "scale"] == ran


def test_a_constant_is_a_copy() -> None:
    """Later changes of what was bound don't reach the stage, nor does what a function does to it."""

    @Stage.wrap()
    def grown(items: list[int]) -> list[int]:
        items.append(9)
        return items

    given = [1]
    bound = grown.bind(items=given)
    given.append(2)
    assert [[1, 9], [1, 9], [1, 9]] == [bound(), Pipeline(bound)(), Pipeline(bound)()]


def test_bind_refuses_what_the_function_does_not_take() -> None:
    """A wrong name is a TypeError that shows the function. [C33]"""
    with pytest.raises(TypeError, match=r"stage scale\(number, by=3\): got an unexpected keyword argument 'to'"):
        scale.bind(to=3)


# --- joining ---------------------------------------------------------------------------------------------


def test_all_spellings_of_a_chain_are_equal() -> None:
    """Both operators, a tuple of one and an empty start give equal pipelines and results. [C2, C13, C20]"""
    chains = [
        one >> double,
        double << one,
        double << (one,),
        (one,) >> double,
        () >> one >> double,
        double << [one],
        {one} >> double,
        (part for part in [one]) >> double,
        Pipeline(double, (Pipeline(one),)),
    ]
    assert {one >> double} == set(chains)
    assert [2] * len(chains) == [chain() for chain in chains]
    assert one >> double >> scale == scale << (double << one)
    assert one >> double != ten >> double


def test_the_stages_of_the_page() -> None:
    """A stage that makes a text and one that adds to it give both. [C3]"""

    @Stage.wrap()
    def first() -> str:
        return "123"

    @Stage.wrap()
    def second(text: str) -> list[str]:
        return [text, "456"]

    assert ["123", "456"] == (first >> second)()


def test_inputs_arrive_in_their_order() -> None:
    """`(a, b) >> c` calls c with the results of a and b. [C4]"""

    @Stage.wrap()
    def pair(left: int, right: int) -> list[int]:
        return [left, right]

    assert ([1, 10], [10, 1], [1, 1]) == (((one, ten) >> pair)(), ((ten, one) >> pair)(), ((one, one) >> pair)())


def test_a_pipeline_is_an_input_like_a_stage(ran: list[str]) -> None:
    """Pipelines join with stages, and go on, three joins deep. [C5, C12]"""
    first = (one, ten) >> add
    second = (first, one) >> add
    third = (second, first >> double) >> add
    assert 34 == (third >> double >> Stage.wrap(name="less")(lambda x: x - 34))()
    assert ["one", "ten", "add", "add", "double", "add", "double"] == ran


def test_a_source_needs_no_inputs() -> None:
    """A stage alone is a pipeline. [C12]"""
    assert (1, 1) == (Pipeline(one)(), (one << ())())


@pytest.mark.parametrize(
    "join",
    [
        lambda: 5 >> double,
        lambda: None >> double,
        lambda: "one" >> double,
        lambda: double << 5,
        lambda: (one, 5) >> add,
        lambda: (one, "ten") >> add,
        lambda: (one, (one, ten)) >> add,
        lambda: one >> (double, double),
        lambda: one >> 5,
        lambda: one.func >> double,
        lambda: one >> double.func,
        lambda: (one, ten.func) >> add,
        lambda: double << one << ten,
        lambda: (one >> double) << ten,
        lambda: Pipeline(one.func),
        lambda: Pipeline(double, (1,)),
    ],
)
def test_what_is_no_stage_cannot_be_joined(join: Any, ran: list[str]) -> None:
    """Numbers, texts, functions, nested tuples are a TypeError when they are joined; nothing has run. [C33]"""
    with pytest.raises(TypeError):
        join()
    assert [] == ran


def test_an_error_of_joining_tells_what_to_do() -> None:
    """The text names the stage, the thing and the cure. [C33]"""
    with pytest.raises(TypeError, match=r"input of stage add must be a stage or a pipeline, not tuple .* one level"):
        (one, (one, ten)) >> add
    with pytest.raises(TypeError, match=r"not function 'one' .*make it a stage with @Stage.wrap\(\)"):
        (one.func, ten) >> add


@pytest.mark.parametrize(
    "join",
    [
        lambda: one >> add,
        lambda: (one, ten) >> double,
        lambda: () >> double,
        lambda: one >> ten,
        lambda: (one, double) >> add,
        lambda: (one, ten >> add.bind(right=1), one) >> add,
        lambda: one >> double >> add,
    ],
)
def test_a_wrong_number_of_inputs_is_an_error_of_joining(join: Any, ran: list[str]) -> None:
    """What a function cannot take is a TypeError that names the stage; nothing has run. [C25]"""
    with pytest.raises(TypeError, match=r"stage (add|double|ten)\(.*\) receives (no|1|2|3) inputs?"):
        join()
    assert [] == ran


def test_what_stands_before_a_chain_feeds_its_head() -> None:
    """`stage >> chain` gives the chain's first stage its input; so chains are parts to build with. [C33]"""
    chain = double >> scale
    assert one >> double >> scale == one >> chain
    assert one >> double >> double >> scale == (one >> double) >> chain
    assert (one, ten) >> add >> double == (one, ten) >> (add >> double)


def test_a_chain_whose_head_lacks_its_input_does_not_run(ran: list[str]) -> None:
    """It is a TypeError to call it, before anything runs. [C25, C33]"""
    with pytest.raises(TypeError, match=r"cannot run: stage double\(number\) receives no inputs"):
        (double >> scale)()
    assert [] == ran


def test_a_head_that_takes_nothing_cannot_be_fed() -> None:
    """`stage >> pipeline` is a TypeError where the pipeline is complete, or has several heads. [C33]"""
    with pytest.raises(TypeError, match=r"stage one\(\) receives 1 input"):
        ten >> (one >> double)
    with pytest.raises(TypeError, match="it has several first stages"):
        ten >> ((one, ten) >> add)


# --- configuration ---------------------------------------------------------------------------------------


def test_config_has_its_fields_in_order() -> None:
    """`Config(load, store, dir)` by position; what is left out is off, on and the current store. [C9, C23]"""
    config = Config(True, False, "folder")
    assert (True, False, "folder") == (config.load, config.store, config.dir)
    assert (False, True, None) == (Config().load, Config().store, Config().dir)
    assert ((one,), True) == (Config(load=[one]).load, Config(load=[one]).store)
    assert (False, ("one",)) == (Config(store={"one"}).load, Config(store={"one"}).store)


@pytest.mark.parametrize(
    "options",
    [{"load": "one"}, {"store": "one"}, {"load": None}, {"store": 3}, {"load": one}, {"dir": 3}, {"max_workers": "2"},
     {"executor": ThreadPoolExecutor}, {"codec": 3}, {"progress": "yes"}],
    ids=repr,
)  # fmt: skip
def test_config_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    """A bare text, None or a number to load, and the like, are a TypeError at once. [C33]"""
    with pytest.raises(TypeError):
        Config(**options)


@pytest.mark.parametrize("options", [{"codec": "xml"}, {"executor": "gpu"}, {"on_change": "guess"}], ids=repr)
def test_config_refuses_unknown_names(options: dict[str, Any]) -> None:
    """A name that means nothing is a ValueError at once. [C33]"""
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        Config(**options)


@pytest.mark.parametrize("cfg", [1, True, "x", {}, []], ids=repr)
def test_a_pipeline_is_called_with_a_config(cfg: Any) -> None:
    """Anything else is a TypeError, falsy or not. [C33]"""
    with pytest.raises(TypeError, match="a pipeline is called with a Config"):
        (one >> double)(cfg)


def test_a_config_can_be_given_by_name_and_overridden(tmp_path: Path, ran: list[str]) -> None:
    """`pipeline(cfg=...)` works, and keywords go before its fields. [C23]"""
    config = Config(dir=tmp_path / "a")
    assert (2, 2, 2) == ((one >> double)(cfg=config), (one >> double)(config, load=True), (one >> double)(load=[]))
    assert ["one", "double"] * 2 == ran


# --- what is kept and what is loaded ---------------------------------------------------------------------


def test_a_bare_call_runs_everything_and_keeps_it(store: Path, ran: list[str]) -> None:
    """`pipeline()` is `pipeline(Config())`: it never reads old results, and stores new ones. [C6]"""
    pipeline = one >> double
    assert (2, 2, 2) == (pipeline(), pipeline(), pipeline(Config()))
    assert ["one", "double"] * 3 == ran
    assert {"one": 1, "double": 1} == entries(store)


def test_a_bare_call_replaces_what_is_kept(tmp_path: Path) -> None:
    """A stage that runs again leaves its new result. [C6]"""
    number = tmp_path / "number"

    @Stage.wrap()
    def read() -> int:
        return int(number.read_text())

    number.write_text("1")
    assert 2 == (read >> double)()
    number.write_text("5")
    assert (10, 10) == ((read >> double)(), (read >> double)(ALWAYS))


def test_a_second_call_with_load_runs_nothing(tmp_path: Path, ran: list[str]) -> None:
    """With store and load on, each function runs once. [C7, C22]"""
    pipeline, config = (one, ten) >> add >> double, Config(store=True, load=True, dir=tmp_path / "a" / "b")
    assert (22, 22) == (pipeline(config), pipeline(config))
    assert ["one", "ten", "add", "double"] == ran
    assert {"one": 1, "ten": 1, "add": 1, "double": 1} == entries(tmp_path / "a" / "b")


PROGRAM = """
import sys
from checkpoint.flows.pipeline import Config, Pipeline, Stage

@Stage.wrap()
def first():
    print("first runs")
    return 1

@Stage.wrap()
def second():
    print("second runs")
    return (2, {3: 4})

@Stage.wrap()
def both(a, b):
    print("both runs")
    return a, b

print(((first, second) >> both)(Config(load=[first, second])))
"""


def test_loaded_inputs_run_in_the_first_process_only(tmp_path: Path) -> None:
    """With `load=[a, b]` what is below them runs each time, they run once. [C8]"""
    runs = [run_program(tmp_path, PROGRAM) for _ in range(2)]
    assert [0, 0] == [run.returncode for run in runs]
    assert "first runs\nsecond runs\nboth runs\n(1, (2, {3: 4}))\n" == runs[0].stdout
    assert "both runs\n(1, (2, {3: 4}))\n" == runs[1].stdout
    assert "[first] no stored result\n" in runs[0].stderr
    assert "[first] loaded\n" in runs[1].stderr


@pytest.mark.parametrize("name", ["load", "store"])
@pytest.mark.parametrize(
    "kind", [list, tuple, set, frozenset, iter], ids=["list", "tuple", "set", "frozenset", "iterator"]
)
@pytest.mark.parametrize("chosen", [[one, ten], ["one", "ten"], [one, "ten"], [one.func, ten, "nobody"]])
def test_stages_are_chosen_by_themselves_or_by_name(
    name: str, kind: Any, chosen: list[Any], store: Path, ran: list[str]
) -> None:
    """`load` and `store` take stages and names, mixed, in any collection; unknown names don't matter. [C14]"""
    pipeline = (one, ten) >> add
    if name == "load":
        pipeline()
        ran.clear()
        assert (11, ["add"]) == (pipeline(Config(load=kind(chosen))), ran)
    else:
        assert (11, {"one": 1, "ten": 1}) == (pipeline(Config(store=kind(chosen))), entries(store))


@pytest.mark.parametrize(("chosen", "kept"), [(False, {}), ([], {}), ([one], {"one": 1}), (["add"], {"add": 1})])
@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_only_what_is_chosen_is_kept(chosen: Any, kept: dict[str, int], executor: str, store: Path) -> None:
    """Nothing else is written to the store. [C15]"""
    assert 11 == ((one, ten) >> add)(Config(store=chosen, executor=executor, max_workers=2))
    assert kept == entries(store)
    assert bool(kept) == any(store.glob("checkpoint/[!.]*"))  # a run that took long leaves its record in any case


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_what_is_kept_beside_what_is_not_keeps_the_contract(check: Callable[[Store], None], tmp_path: Path) -> None:
    """For all but the tasks that are not kept, an overlay is a store like any other. [C15]"""
    below, scratch = DiskStore(str(tmp_path / "below")), DiskStore(str(tmp_path / "scratch"))
    with contextlib.closing(below), contextlib.closing(Overlay(below, scratch, frozenset({"other"}))) as overlay:
        check(overlay)


def test_a_result_that_is_not_kept_is_computed_once(ran: list[str]) -> None:
    """Without a store as well, a shared part runs once per run. [C15, C29]"""
    shared = one >> double
    assert 4 == ((shared, shared >> scale.bind(by=1)) >> add)(store=False)
    assert ["one", "double", "scale", "add"] == ran


def test_what_is_not_kept_may_be_anything() -> None:
    """With `store=False` sets, classes and functions go from stage to stage. [C15]"""

    @Stage.wrap()
    def things() -> Any:
        return {1, 2}, Counter("aa"), lambda x: x + 1, Path

    @Stage.wrap()
    def use(found: Any) -> list[Any]:
        return [sorted(found[0]), found[1].most_common(1), found[2](1), found[3] is Path]

    assert [[1, 2], [("a", 2)], 2, True] == (things >> use)(store=False)


def test_a_loaded_result_is_used_whatever_became_of_its_inputs(store: Path, ran: list[str]) -> None:
    """The last stage is loaded although everything above it is gone, and nothing above it runs. [C16]"""
    pipeline = one >> double >> scale
    assert 6 == pipeline()
    with checkpoint.open_store(store) as opened:
        opened.store.clear("stages.one")
        opened.store.clear("stages.double")
    ran.clear()
    assert (6, 6, []) == (pipeline(ALWAYS), pipeline(load=["scale"]), ran)


def test_only_what_is_missing_runs(store: Path, ran: list[str]) -> None:
    """With everything above it in the store, the last stage alone runs. [C17]"""
    pipeline = one >> double >> scale
    pipeline()
    checkpoint.open_store(store).store.clear("stages.scale")
    ran.clear()
    assert (6, ["scale"]) == (pipeline(ALWAYS), ran)


def test_none_is_a_result(ran: list[str]) -> None:
    """A stored None is loaded. [C18]"""

    @Stage.wrap()
    def nothing() -> None:
        ran.append("nothing")

    assert (None, None) == (Pipeline(nothing)(ALWAYS), Pipeline(nothing)(ALWAYS))
    assert ["nothing"] == ran


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_a_run_goes_on_at_the_stage_that_failed(executor: str, ran: list[str], tmp_path: Path) -> None:
    """The stage's own exception arrives, what was done is kept, and the next run begins there. [C19]"""
    flag = tmp_path / "flag"

    @Stage.wrap()
    def fragile(number: int) -> int:
        ran.append("fragile")
        if not flag.exists():
            raise KeyError("not yet")
        return number

    pipeline = one >> double >> fragile >> scale
    with pytest.raises(KeyError) as raised:
        pipeline(ALWAYS, executor=executor)
    assert (KeyError, ("not yet",), "'not yet'") == (type(raised.value), raised.value.args, str(raised.value))
    flag.touch()
    assert 6 == pipeline(ALWAYS, executor=executor)
    assert ["one", "double", "fragile", "fragile", "scale"] == ran


KILLED = """
import sys, time
from pathlib import Path
from checkpoint.flows.pipeline import Config, Stage

@Stage.wrap()
def first():
    print("first runs")
    return "x" * 40_000

@Stage.wrap()
def second(text):
    print("second runs")
    if not Path("go").exists():
        Path("begun").touch()
        time.sleep(600)
    return len(text)

if __name__ == "__main__":
    print((first >> second)(Config(load=True, executor=sys.argv[1])))
"""


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_killed_run_goes_on_at_the_stage_that_ran(executor: str, tmp_path: Path) -> None:
    """After `kill -9` in the second stage, a new process loads the first. [C19]"""
    (tmp_path / "program.py").write_text(KILLED)
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "program.py", executor]
    with subprocess.Popen(
        command, cwd=tmp_path, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        while not (tmp_path / "begun").exists():
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(timeout=0.02)} before its second stage")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    (tmp_path / "go").touch()
    run = run_program(tmp_path, KILLED, executor)
    assert "40000\n" == run.stdout.replace("second runs\n", "")
    assert "[first] loaded\n" in run.stderr


def test_a_result_of_older_inputs_is_not_loaded(tmp_path: Path) -> None:
    """After a run that broke between a new input and what is below it, the old result below is computed again. [C19]"""
    number, flag = tmp_path / "number", tmp_path / "flag"

    @Stage.wrap()
    def read() -> int:
        return int(number.read_text())

    @Stage.wrap()
    def triple(found: int) -> int:
        if flag.exists():
            raise OSError("broken")
        return 3 * found

    pipeline = read >> triple >> double
    number.write_text("1")
    assert 6 == pipeline()
    number.write_text("5")
    flag.touch()
    with pytest.raises(OSError, match="broken"):
        pipeline()
    flag.unlink()
    assert (("triple",), ("double",), ("read",)) == dataclasses.astuple(pipeline.plan(ALWAYS))
    assert (30, 30) == (pipeline(ALWAYS), pipeline(load=["double"]))


def test_a_missing_input_does_not_excuse_a_stale_one(tmp_path: Path, store: Path) -> None:
    """With one input gone and the other one out of date, the result below is not loaded. [C16, C19]"""
    number = tmp_path / "number"

    @Stage.wrap()
    def read() -> int:
        return int(number.read_text())

    pipeline = (read >> double, one) >> add
    number.write_text("1")
    assert 3 == pipeline()
    checkpoint.open_store(store).store.clear("stages.one")
    assert (("add",), 3) == (pipeline.plan(ALWAYS).load, pipeline(ALWAYS))
    number.write_text("5")
    Pipeline(read)()
    assert 11 == pipeline(ALWAYS)


def test_results_of_earlier_inputs_are_found_again(tmp_path: Path, ran: list[str], store: Path) -> None:
    """When an input is again what it was, what was computed from it then is loaded, whatever came between. [C17]"""
    number = tmp_path / "number"

    @Stage.wrap()
    def read() -> int:
        return int(number.read_text())

    pipeline = (read >> double, ten) >> add
    found = []
    for text in ("1", "5", "1"):
        number.write_text(text)
        Pipeline(read)()
        found.append(pipeline(ALWAYS))
    assert ([12, 20, 12], Counter(double=2, add=2, ten=1)) == (found, Counter(ran))
    ten.clear()
    assert ((("add",), 12), Counter(double=2, add=2, ten=1)) == (
        (pipeline.plan(ALWAYS).load, pipeline(ALWAYS)),
        Counter(ran),
    )


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_what_is_not_kept_does_not_run_below_an_equal_result(
    executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `store=False` as well, what is below a stage that gives the same bytes again is loaded. [C15, C17]"""
    number = tmp_path / "number"

    @Stage.wrap()
    def read() -> int:
        return int(number.read_text())

    square = Stage.wrap(name="square")(lambda found: found * found)
    pipeline = read >> square >> double >> scale
    number.write_text("3")
    assert 54 == pipeline()
    number.write_text("-3")
    Pipeline(read)()
    told(capsys)
    assert 54 == pipeline(load=[read, square, "double"], store=False, executor=executor, max_workers=2)
    assert [
        "[read] loaded",
        "[square] no stored result",
        "[square] running",
        "[square] done, not stored,",
        "[double] loaded",
        "[scale] running",
        "[scale] done, not stored,",
    ] == told(capsys)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_files_of_what_is_not_kept_are_not_kept(executor: str, store: Path) -> None:
    """A run with `store=False` writes to folders of its own, and reads those of what it loads. [C15]"""
    pipeline = Pipeline(stages.filed.bind(text="kept"))
    read = pipeline >> stages.content
    assert "kept" == read()
    assert ("kept", "kept") == tuple(
        read(load=load, store=False, executor=executor, max_workers=2) for load in (["filed"], False)
    )
    assert ["kept"] == [file.read_text() for file in store.rglob("text.txt")]


def test_a_result_whose_file_changed_is_not_loaded(store: Path, ran: list[str]) -> None:
    """A `File` that a stage returned is part of its result. [C31]"""
    pipeline = Pipeline(stages.filed.bind(text="kept"))
    pipeline()
    (file,) = store.rglob("text.txt")
    assert ((), ("filed(text='kept')",)) == (pipeline.plan(ALWAYS).run, pipeline.plan(ALWAYS).load)
    file.write_text("other")
    assert ("filed(text='kept')",) == pipeline.plan(ALWAYS).run
    assert "kept" == (pipeline >> stages.content)(ALWAYS)


def test_what_is_below_an_equal_result_does_not_run(tmp_path: Path, ran: list[str]) -> None:
    """A stage that has to run again and gives the same bytes leaves what is below it as it is. [C17]"""
    number = tmp_path / "number"

    @Stage.wrap()
    def read() -> int:
        return int(number.read_text())

    @Stage.wrap()
    def square(found: int) -> int:
        ran.append("square")
        return found * found

    pipeline = read >> square >> double
    for text in ("3", "-3"):
        number.write_text(text)
        Pipeline(read)()
        expected = (("square",), ("double",), ("read",)) if text == "-3" else (("square", "double"), (), ("read",))
        assert expected == dataclasses.astuple(pipeline.plan(ALWAYS))
        assert 18 == pipeline(ALWAYS)
    assert ["square", "double", "square"] == ran


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_what_is_loaded_need_not_be_kept(executor: str, store: Path) -> None:
    """`load` and `store` don't depend on each other: old results are read, new ones are not written. [C9, C15]"""
    pipeline = (one >> process_of, one, ten) >> Stage.wrap(name="three")(lambda *found: list(found))
    first = pipeline(executor=executor, max_workers=2)
    before = entries(store)
    assert first == pipeline(load=True, store=False)
    assert first == pipeline(load=[process_of, "one"], store=False, executor=executor, max_workers=2)
    assert before == entries(store)


@pytest.mark.parametrize(
    "value",
    ["text", "日本 \udc80 é", 1, 2**80, 1.5, float("inf"), True, None, [], {}, [[1, "a"], None], {"b": 1, "a": [2]}],
)
def test_json_results_survive(value: Any) -> None:
    """Plain data comes back equal, of the same types and in the same order. [C10]"""
    pipeline = Pipeline(Stage.wrap(name="give")(lambda: value))
    assert repr(value) == repr(pipeline(ALWAYS)) == repr(pipeline(ALWAYS))


def test_nan_survives() -> None:
    """Not-a-number is a number here. [C10]"""
    pipeline = Pipeline(Stage.wrap(name="give")(lambda: [float("nan")]))
    assert "[nan]" == repr(pipeline(ALWAYS)) == repr(pipeline(ALWAYS))


@pytest.mark.filterwarnings("ignore::checkpoint.UnseenCodeWarning")
@pytest.mark.parametrize("value", [(1, (2,)), {1: "a", None: 2}, Counter("abc"), {1, 2}, b"\x80", Path("a")], ids=repr)
def test_what_json_would_change_survives_as_well(value: Any) -> None:
    """A tuple stays a tuple, a number stays a key, a Counter a Counter: in the first run and when loaded. [C10]"""
    pipeline = Pipeline(Stage.wrap(name="give")(lambda: value))
    for found in (pipeline(ALWAYS), pipeline(ALWAYS)):
        assert (type(value), value) == (type(found), found)


def test_results_are_json_where_they_can_be(store: Path) -> None:
    """The bytes that are kept are JSON for plain data. [C10]"""
    Pipeline(Stage.wrap(name="give")(lambda: {"é": [1, 2]}))()
    with checkpoint.open_store(store) as opened:
        ((row, _),) = opened.store.scan("give")
        found = opened.store.read("give", row)
    assert found is not None
    assert json.dumps({"é": [1, 2]}, ensure_ascii=False).encode() in bytes(found[1])


@pytest.mark.parametrize(
    "options", [{"codec": "pickle"}, {"compress": True}, {"codec": "pickle", "compress": 9}], ids=repr
)
def test_codec_and_compression_are_options(options: dict[str, Any], ran: list[str]) -> None:
    """A Config says how results are kept; reading them does not depend on the compression. [C10]"""
    pipeline = one >> double
    assert (2, 2) == (pipeline(ALWAYS, **options), pipeline(ALWAYS, **options | {"compress": False}))
    assert ["one", "double"] == ran


def test_a_stage_has_options_of_its_own(store: Path) -> None:
    """A stage's codec goes before that of the run; here it refuses what JSON would change. [C30]"""

    class Text:
        name = "text"

        def encode(self, value: str) -> bytes:
            return value.encode()

        def decode(self, data: bytes) -> str:
            return data.decode()

    @Stage.wrap(codec=Text(), retries=1, name="own.name")
    def words() -> str:
        return "a b"

    assert ("a b", "a b") == (Pipeline(words)(ALWAYS), Pipeline(words)(ALWAYS, codec="pickle"))
    assert {"name": 1} == entries(store)


def test_two_folders_are_two_stores(tmp_path: Path, ran: list[str]) -> None:
    """What is kept under one `dir` is not found under another. [C11]"""
    for folder in ("a", "b", "a", "b"):
        assert 1 == Pipeline(one)(Config(load=True, dir=tmp_path / folder))
    assert ["one", "one"] == ran


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    """A Config makes no folder. [C22]"""
    Config(dir=tmp_path / "a")
    (one >> double).plan(Config(load=True, dir=tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_place_of_the_folder_is_an_error_before_anything_runs(tmp_path: Path, ran: list[str]) -> None:
    """`dir` names a file: StoreError, and no stage has run. [C22]"""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        (one >> double)(dir=tmp_path / "file")
    assert [] == ran


def test_consumers_do_not_share_what_they_get(ran: list[str]) -> None:
    """What one stage does to its input, neither the store nor another stage sees. [C26]"""

    @Stage.wrap()
    def items() -> list[int]:
        return [1]

    @Stage.wrap()
    def spoil(found: list[int]) -> int:
        found.append(2)
        return len(found)

    @Stage.wrap()
    def join(count: int, found: list[int]) -> list[Any]:
        return [count, found]

    pipeline = (items >> spoil, items) >> join
    assert ([2, [1]], [1]) == (pipeline(), Pipeline(items)(ALWAYS))
    assert [2, [1]] == pipeline(store=False)


def test_one_stage_on_two_inputs_has_two_results(store: Path, ran: list[str]) -> None:
    """The key has what a result was computed from. [C27]"""
    pipeline = (one >> double, ten >> double) >> add
    assert (22, 22) == (pipeline(ALWAYS), pipeline(ALWAYS))
    assert ["one", "double", "ten", "double", "add"] == ran
    assert {"one": 1, "ten": 1, "double": 2, "add": 1} == entries(store)


def test_functions_of_one_name_in_two_modules_do_not_collide() -> None:
    """The key has the module. [C28]"""
    source = "from checkpoint.flows.pipeline import Stage\n@Stage.wrap()\ndef give():\n    return {}\n"
    ones = [made(source.format(repr(name)), name).give for name in ("m1", "m2")]
    assert ["m1", "m2"] * 2 == [Pipeline(stage)(ALWAYS) for stage in ones * 2]


def test_two_functions_under_one_name_in_a_pipeline_are_an_error(ran: list[str]) -> None:
    """They would share a result: TypeError before anything runs. [C28]"""
    left, right = (Stage.wrap(name="same")(lambda number=number: number) for number in (1, 1))
    with pytest.raises(TypeError, match="two different functions of this pipeline are called same"):
        ((left, right) >> add)()
    assert [] == ran


def test_a_shared_part_runs_once(ran: list[str]) -> None:
    """However often it is referenced, and if it is built twice. [C29]"""
    level = Pipeline(one)
    for _ in range(10):
        level = (level, level) >> add
    again = Pipeline(one)
    for _ in range(10):
        again = (again, again) >> add
    assert 2048 == ((level, again) >> add)()
    assert {"one": 1, "add": 11} == Counter(ran)


def test_two_spellings_of_a_call_are_one(ran: list[str], store: Path) -> None:
    """A constant that is the default makes no other call; what one of them says of loading and keeping holds. [C29]"""
    pipeline = (one >> scale, one >> scale.bind(by=3)) >> add
    assert (6, {"scale": 1}) == (pipeline(store=[scale.bind(by=3)]), entries(store))
    assert (6, ["one", "scale", "add", "add"]) == (pipeline(load=[scale.bind(by=3)]), ran)


@pytest.mark.filterwarnings("ignore::checkpoint.UnseenCodeWarning")
def test_a_result_that_cannot_be_kept_is_an_error_that_leaves_nothing(store: Path, ran: list[str]) -> None:
    """The error names the stage and what to do; the next run works. [C30]"""
    things: list[Any] = [threading.Lock(), 7]

    @Stage.wrap(name="odd")
    def odd(number: int) -> Any:
        ran.append("odd")
        return things.pop(0)

    with pytest.raises(UnstorableError, match=r"result of odd.* cannot be .*Stage.wrap\(codec=...\)"):
        (one >> odd >> double)(ALWAYS)
    assert {"one": 1} == entries(store)
    assert 14 == (one >> odd >> double)(ALWAYS)
    assert ["one", "odd", "odd", "double"] == ran


@pytest.mark.filterwarnings("ignore::checkpoint.UnseenCodeWarning")
def test_a_result_that_cannot_be_kept_leaves_the_old_one(store: Path) -> None:
    """A failing attempt does not touch what is kept. [C30]"""
    things: list[Any] = [7, threading.Lock()]
    pipeline = Pipeline(Stage.wrap(name="odd")(lambda: things.pop(0)))
    assert 7 == pipeline()
    with pytest.raises(UnstorableError):
        pipeline()
    assert 7 == pipeline(ALWAYS)


def damage(folder: Path, task: str) -> None:
    """Change a byte in the middle of a task's only value."""
    connection = sqlite3.connect(folder / "checkpoint" / task / "cache.db")
    with connection:
        ((key, value),) = connection.execute("SELECT key, value FROM Cache WHERE key LIKE '{%'").fetchall()
        spoilt = bytearray(value)
        spoilt[-1] ^= 255
        connection.execute("UPDATE Cache SET value = ? WHERE key = ?", (bytes(spoilt), key))
    connection.close()


@pytest.mark.parametrize("name", ["one", "double", "scale"])
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_damaged_result_is_warned_of_and_computed_again(name: str, executor: str, store: Path) -> None:
    """Wherever it is, the run gives the right result, and the next one is silent. [C31]"""
    pipeline = one >> double >> scale
    pipeline(executor=executor)
    checkpoint.open_store(store).store.close()
    damage(store, f"stages.{name}")
    with pytest.warns(DamagedEntryWarning, match=f"stored result of {name}"):
        assert 6 == pipeline(load=[name], executor=executor, max_workers=2)
    assert 6 == pipeline(ALWAYS, executor=executor)


def test_a_damaged_result_is_an_error_if_warnings_are(store: Path) -> None:
    """Who wants to be strict turns the warning into an error. [C31]"""
    pipeline = one >> double
    pipeline()
    damage(store, "stages.double")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DamagedEntryWarning)
        with pytest.raises(DamagedEntryWarning):
            pipeline(ALWAYS)


# --- changed code ----------------------------------------------------------------------------------------

EDITED = """
from checkpoint.flows.pipeline import Config, Stage

@Stage.wrap()
def first():
    return {}

@Stage.wrap()
def second(x):
    return x + {}

pipeline = first >> second
"""


@pytest.mark.parametrize(
    ("edit", "name", "rerun"), [((1, 5), "second", 6), ((100, 1), "first", 101)], ids=["loaded stage", "above it"]
)
def test_changed_code_is_reported_when_results_are_loaded(
    edit: tuple[int, int], name: str, rerun: int, tmp_path: Path
) -> None:
    """By default with a warning, of the loaded stage and of what is above it; a setting makes it rerun. [C34]"""
    folder = tmp_path / "dir"
    assert 2 == made(EDITED.format(1, 1)).pipeline(dir=folder)
    pipeline = made(EDITED.format(*edit)).pipeline
    config = Config(load=True, dir=folder)
    assert 2 == pipeline(config, on_change="ignore")
    with pytest.warns(
        CodeChangedWarning, match=f"the code of program.{name} changed .* like {name} were .*rerun"
    ) as warned:
        assert 2 == pipeline(config)
    assert [__file__] == [each.filename for each in warned]
    assert (2, rerun, rerun) == (
        pipeline(config),
        pipeline(config, on_change="rerun"),
        pipeline(config, on_change="rerun"),
    )


def test_a_stage_that_is_called_by_another_one_is_code_of_that(tmp_path: Path) -> None:
    """A stage calls another one directly, as a function: an edit of that is a change of both. [C21, C34]"""

    def pipeline_of(number: int) -> Pipeline:
        @Stage.wrap(name="inner")
        def inner() -> int:
            return number

        return Pipeline(Stage.wrap(name="outer")(lambda: inner() + 1))

    config = Config(load=True, on_change="rerun", dir=tmp_path / "dir")
    assert [2, 2, 6, 2] == [pipeline_of(number)(config) for number in (1, 1, 5, 1)]


def test_an_accepted_edit_is_no_change(tmp_path: Path) -> None:
    """After `stage.accept()` what is kept counts as made by the present code, and the other way round. [C34]"""
    folder = tmp_path / "dir"
    assert 2 == made(EDITED.format(1, 1)).pipeline(dir=folder)
    module = made(EDITED.format(100, 1))
    with checkpoint.open_store(folder):
        (change,) = module.first.changes()
        assert [change] == module.first.accept()
        assert [] == module.first.changes()
    assert (2, 2) == (module.pipeline(load=True, dir=folder), module.pipeline(ALWAYS, dir=folder, on_change="rerun"))
    assert 2 == made(EDITED.format(1, 1)).pipeline(ALWAYS, dir=folder, on_change="rerun")


def test_where_changed_code_reruns_a_missing_input_counts_as_changed(tmp_path: Path) -> None:
    """What was computed from a result that is gone may be of its older code, so it is not loaded then. [C34]"""
    folder = tmp_path / "dir"
    assert 2 == made(EDITED.format(1, 1)).pipeline(dir=folder)
    module = made(EDITED.format(100, 1))
    with checkpoint.open_store(folder):
        module.first.clear()
    assert 2 == module.pipeline(ALWAYS, dir=folder)
    assert 101 == module.pipeline(ALWAYS, dir=folder, on_change="rerun")


def test_the_environment_says_what_changed_code_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`CP_ON_CHANGE` is heeded, and a stage's own setting goes before it. [C34]"""
    monkeypatch.setenv("CP_ON_CHANGE", "rerun")
    config = Config(load=True, dir=tmp_path / "dir")
    assert (2, 6) == (made(EDITED.format(1, 1)).pipeline(config), made(EDITED.format(1, 5)).pipeline(config))


# --- where it runs ---------------------------------------------------------------------------------------


def test_a_long_chain_is_one_pipeline(ran: list[str]) -> None:
    """2,000 stages are joined, compared, shown, copied, planned, run and loaded without recursion. [C32]"""
    chain, twin = Pipeline(one), Pipeline(one)
    for _ in range(2000):
        chain, twin = chain >> scale.bind(by=1), twin >> scale.bind(by=1)
    assert (twin, hash(twin)) == (chain, hash(chain))
    assert chain != chain >> double
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert len(repr(chain)) < 200
    assert 2001 + 2000 + 1 == len(chain.draw().splitlines())
    config = Config(load=True, progress=False)
    assert 2001 == len(chain.plan(config).run)
    assert (1, 1, 2001) == (chain(config), chain(config), len(ran))
    assert (double >> scale).lack
    assert chain >> double >> scale == chain >> (double >> scale)


@pytest.mark.parametrize("executor", ["threads", "processes", "async", None])
def test_any_executor_gives_what_serial_gives(executor: Any) -> None:
    """Results don't depend on where stages run. [C32]"""
    tens = [ten >> scale.bind(by=number) for number in range(8)]
    pipeline = functools.reduce(lambda left, right: (left, right) >> add, tens)
    expected = pipeline(progress=False)
    assert expected == pipeline(executor=executor, max_workers=2, progress=False)
    assert expected == pipeline(executor=executor, max_workers=2, store=[add], progress=False)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_branches_run_at_once(executor: str, tmp_path: Path) -> None:
    """Two stages that wait for each other end. [C32]"""
    parts = [one >> stage.bind(folder=str(tmp_path)) for stage in (meet_left, meet_right)]
    pipeline = parts >> Stage.wrap(name="names")(lambda left, right: [left, right])
    watch = threading.Timer(60, (tmp_path / "give-up").touch)
    watch.start()
    try:
        assert ["left", "right"] == pipeline(executor=executor, max_workers=2, progress=False)
    finally:
        watch.cancel()
        watch.join()


def test_limits_are_by_stage_or_name() -> None:
    """A stage that may run once at a time does, also where several of it are ready. [C32]"""
    crowd: list[int] = []
    most: list[int] = []

    @Stage.wrap()
    def crowded(_: int, number: int) -> int:
        crowd.append(number)
        most.append(len(crowd))
        for _ in range(1000):
            crowd.sort()
        crowd.remove(number)
        return number

    parts = [one >> crowded.bind(number=number) for number in range(8)]
    pipeline = parts >> Stage.wrap(name="row")(lambda *found: list(found))
    for key in (crowded, "crowded"):
        most.clear()
        assert list(range(8)) == pipeline(executor="threads", max_workers=4, limits={key: 1})
        assert [1] * 8 == most


def test_an_executor_of_yours_is_used(tmp_path: Path) -> None:
    """Stages of an importable module run in the processes of a pool that stays open. [C35]"""
    with ProcessPoolExecutor(1) as pool:
        worker = pool.submit(os.getpid).result()
        assert (worker, worker) == ((one >> process_of)(executor=pool), (one >> process_of)(executor=pool, store=False))
        assert worker == pool.submit(os.getpid).result()


MAIN = """
import os, sys
from checkpoint.flows.pipeline import Config, Stage

OFFSET = 5

@Stage.wrap()
def number():
    return 1

@Stage.wrap()
def where(x):
    return [os.getpid(), x + OFFSET]

@Stage.wrap()
def join(a, b):
    return [a, b]

if __name__ == "__main__":
    pipeline = (number >> where, number >> where) >> join
    (first, five), (second, six) = pipeline(executor="processes", max_workers=2, store=eval(sys.argv[1]))
    print(first != os.getpid(), five, six)
"""


@pytest.mark.parametrize("kept", ["True", "False", "[join]"])
def test_stages_of_a_script_run_on_a_process_pool(kept: str, tmp_path: Path) -> None:
    """What is defined in `__main__` is computed in other processes. [C35]"""
    run = run_program(tmp_path, MAIN, kept)
    assert ("True 6 6\n", 0) == (run.stdout, run.returncode), run.stderr


def test_async_functions_are_stages() -> None:
    """A coroutine function is awaited. [C32]"""

    @Stage.wrap()
    async def later(number: int) -> int:
        return number + 1

    assert [2, 2] == [(one >> later)(executor=executor) for executor in ("serial", "async")]


def test_a_pipeline_inside_a_stage_keeps_its_own_results(ran: list[str]) -> None:
    """A stage may run a pipeline: it loads and keeps as it would outside. [C15]"""

    @Stage.wrap()
    def outer() -> int:
        return int((one >> double)(ALWAYS)) + 1

    assert (3, 3) == (Pipeline(outer)(store=False), Pipeline(outer)())
    assert 2 == (one >> double)(ALWAYS)
    assert ["one", "double"] == ran


# --- telling ---------------------------------------------------------------------------------------------


def test_each_step_is_told_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """What runs, is stored, is loaded and is missed can be told apart; standard output is the program's. [C24]"""
    pipeline = one >> double
    pipeline(Config(load=["double"]))
    assert [
        "[one] running",
        "[one] stored",
        "[double] no stored result",
        "[double] running",
        "[double] stored",
    ] == told(capsys)
    pipeline(Config(load=["double"]))
    assert ["[double] loaded"] == told(capsys)
    pipeline(Config(store=["double"]))
    assert ["[one] running", "[one] done, not stored,", "[double] running", "[double] stored"] == told(capsys)
    pipeline(Config(progress=False))
    assert [] == told(capsys)


def test_a_failure_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The stage that failed has a line. [C24]"""

    @Stage.wrap()
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Pipeline(fail)()
    assert ["[fail] running", "[fail] failed"] == told(capsys)


def test_a_plan_says_what_would_run_and_what_would_load(ran: list[str]) -> None:
    """`pipeline.plan(cfg)` runs nothing and agrees with the run that follows. [C17]"""
    pipeline = (one >> double, ten) >> add
    assert (("one", "double", "ten", "add"), (), ()) == dataclasses.astuple(pipeline.plan(ALWAYS))
    pipeline()
    assert ((), (), ("add",)) == dataclasses.astuple(pipeline.plan(load=True))
    plan = pipeline.plan(Config(load=[double]))
    assert (("ten", "add"), (), ("double",)) == dataclasses.astuple(plan)
    assert "would run: ten, add\nwould load: double" == str(plan)
    ran.clear()
    pipeline(Config(load=[double]))
    assert ["ten", "add"] == ran


def test_a_pipeline_draws_itself() -> None:
    """`draw()` is a Mermaid flowchart with each distinct part once; texts are escaped. [C29]"""
    named = Stage.wrap(name='say "hi"')(lambda left, right: left)
    expected = """\
        flowchart LR
            s0["one"]
            s1["scale(by=2)"]
            s2["say #34;hi#34;"]
            s0 --> s1
            s0 --> s2
            s1 --> s2
    """
    assert textwrap.dedent(expected).replace("    s", "    s") == ((one, one >> scale.bind(by=2)) >> named).draw()


def test_a_report_tells_what_was_done() -> None:
    """`pipeline.report(cfg)` is a RunReport. [C29]"""
    report = (one >> double).report(load=[one])
    assert (2, 2, 0) == (report.value, report.computed, report.hit)
    again = (one >> double).report(load=[one])
    assert (2, 1, 1) == (again.value, again.computed, again.hit)
