"""The public names: complete, documented, picklable where they must be, and cheap to import."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import checkpoint
import checkpoint.errors
import checkpoint.flows.pipeline

ROOT = Path(checkpoint.__file__).parent.parent

ERRORS: list[tuple[checkpoint.CheckpointError, type[Exception], dict[str, Any], str]] = [
    (
        checkpoint.UnkeyableError("argument 'x' of m.f(): x[0]", "object", "pass plain data"),
        TypeError,
        {"where": "argument 'x' of m.f(): x[0]", "type_name": "object", "advice": "pass plain data"},
        "cannot make a key of argument 'x' of m.f(): x[0]: object has no stable text; pass plain data",
    ),
    (
        checkpoint.CycleError(("a()", "b()", "a()")),
        ValueError,
        {"path": ("a()", "b()", "a()")},
        "tasks require each other in a cycle: a() -> b() -> a(); remove one of the requirements on this path",
    ),
    (
        checkpoint.UnstorableError("f(1)", "['a']", "cannot pickle 'generator' object"),
        TypeError,
        {"call": "f(1)", "where": "['a']", "reason": "cannot pickle 'generator' object"},
        "result of f(1) cannot be stored: cannot pickle 'generator' object at ['a']; return plain data "
        "(a list instead of a generator, a path instead of an open file)",
    ),
    (
        checkpoint.NotCachedError("f(1)"),
        KeyError,
        {"call": "f(1)"},
        "f(1) has no result in the store; compute it with .run()",
    ),
    (
        checkpoint.StoreError("/data", "disk full", "free some space"),
        OSError,
        {"folder": "/data", "reason": "disk full", "advice": "free some space"},
        "store in '/data' failed: disk full; free some space",
    ),
    (
        checkpoint.BundleError("best.zip", "it has format 2", "this version reads format 1"),
        ValueError,
        {"path": "best.zip", "reason": "it has format 2", "advice": "this version reads format 1"},
        "'best.zip' is no complete export: it has format 2; this version reads format 1",
    ),
    (
        checkpoint.DamagedEntryError("its header does not match its digest"),
        ValueError,
        {"reason": "its header does not match its digest"},
        "its header does not match its digest",
    ),
    (
        checkpoint.TaskFailedError("Odd", "it is odd", "Traceback ..."),
        RuntimeError,
        {"type_name": "Odd", "message": "it is odd", "traceback_text": "Traceback ..."},
        "Odd: it is odd (this exception cannot be pickled)\nTraceback ...",
    ),
    (
        checkpoint.FileChangedError("/data/a.csv"),
        RuntimeError,
        {"path": "/data/a.csv"},
        "/data/a.csv was changed since the call that takes it was made, so the result is not kept; run again",
    ),
    (
        checkpoint.FunctionChangedError("lab.fit"),
        RuntimeError,
        {"name": "lab.fit"},
        "lab.fit, or what it uses, is not the same in the worker process as where it was made an argument; "
        "start a new executor if its file was edited since, and don't rebind at run time what it uses",
    ),
    (
        checkpoint.MutatedInputError("f(1)", "the value of g()"),
        RuntimeError,
        {"call": "f(1)", "what": "the value of g()"},
        "f(1) changed the value of g(), which it was given; work on a copy and return that",
    ),
    (
        checkpoint.TaskLostError("f(1)", "its worker died"),
        RuntimeError,
        {"call": "f(1)", "reason": "its worker died"},
        "f(1) was lost: its worker died",
    ),
    (
        checkpoint.TaskTimeoutError("f(1)", 2.5),
        TimeoutError,
        {"call": "f(1)", "seconds": 2.5},
        "f(1) was stopped: it ran longer than its timeout of 2.5 seconds",
    ),
    (
        checkpoint.UnknownTaskError("m.f", "12.0.ab"),
        LookupError,
        {"name": "m.f", "token": "12.0.ab"},
        "task m.f is not defined in this process, or not in the same form; import it first",
    ),
    (
        checkpoint.UnsavableError("a.pkl", "state['x']", "cannot pickle 'generator' object"),
        TypeError,
        {"flow": "a.pkl", "key": "state['x']", "reason": "cannot pickle 'generator' object"},
        "state['x'] of flow a.pkl cannot be saved: cannot pickle 'generator' object; remove it before the step ends, "
        "or keep plain data in its place (what was saved before is untouched)",
    ),
    (
        checkpoint.DamagedSnapshotError("snapshot 3", "it is cut off", "start from another one"),
        ValueError,
        {"place": "snapshot 3", "reason": "it is cut off", "advice": "start from another one"},
        "snapshot 3 is damaged: it is cut off; start from another one",
    ),
    (
        checkpoint.UnknownSnapshotError("snapshot 3", "look at history()"),
        LookupError,
        {"wanted": "snapshot 3", "advice": "look at history()"},
        "there is no snapshot 3; look at history()",
    ),
    (
        checkpoint.ChangedFlowError("a.pkl", ("f", "g"), ("f",), "'g' is missing"),
        ValueError,
        {"flow": "a.pkl", "saved": ("f", "g"), "current": ("f",), "difference": "'g' is missing"},
        "flow a.pkl was saved with the steps f, g and now has f: 'g' is missing; restore its steps, or run it with "
        'on_change="ignore" to go on by name, or with on_change="restart"',
    ),
    (
        checkpoint.BusyFlowError("a.pkl", "process 12"),
        RuntimeError,
        {"flow": "a.pkl", "holder": "process 12"},
        "flow a.pkl is being run by process 12; wait for its end, or end it",
    ),
]
each_error = pytest.mark.parametrize(
    ("error", "builtin", "attributes", "text"), ERRORS, ids=[type(case[0]).__name__ for case in ERRORS]
)


def run_python(code: str, folder: Path) -> str:
    """Run code in a new interpreter in a folder; return what it prints."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


# --- names -----------------------------------------------------------------------------------------------


def test_public_names_are_sorted() -> None:
    """`__all__` is in the order of the alphabet."""
    assert sorted(checkpoint.__all__) == checkpoint.__all__


def test_public_names_are_complete() -> None:
    """`__all__` has every name that the package's top level imports from its own files."""
    origins = {name: getattr(getattr(checkpoint, name), "__module__", None) for name in dir(checkpoint)}
    assert set(checkpoint.__all__) == {
        name for name, origin in origins.items() if str(origin).startswith("checkpoint.")
    }


def test_every_error_and_warning_is_public() -> None:
    """What can be raised can be caught by a name of the top level."""
    assert set() == set(checkpoint.errors.__all__) - set(checkpoint.__all__)


def test_the_package_says_that_it_is_typed() -> None:
    """Type checkers find `py.typed`."""
    assert (ROOT / "checkpoint" / "py.typed").is_file()


def documented_things() -> Iterator[tuple[str, Any]]:
    """Yield what the top level and the flows offer: functions, classes, their public methods and properties."""
    for name, thing in [
        *((name, getattr(checkpoint, name)) for name in checkpoint.__all__),
        *((name, getattr(checkpoint.flows.pipeline, name)) for name in checkpoint.flows.pipeline.__all__),
    ]:
        yield name, thing
        if inspect.isclass(thing):
            for attribute, value in vars(thing).items():
                if not attribute.startswith("_") and (callable(value) or isinstance(value, (property, classmethod))):
                    yield f"{name}.{attribute}", value


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*pair, id=pair[0]) for pair in documented_things()])
def test_every_public_thing_is_documented(name: str, thing: Any) -> None:
    """Each public function, class, method and property has a docstring of its own."""
    assert (thing.__doc__ or "").strip()


# --- errors ----------------------------------------------------------------------------------------------


def test_the_table_of_errors_is_complete() -> None:
    """Each error class is tested below."""
    classes = {getattr(checkpoint.errors, name) for name in checkpoint.errors.__all__}
    errors = {cls for cls in classes if issubclass(cls, checkpoint.CheckpointError)}
    assert errors == {type(case[0]) for case in ERRORS} | {checkpoint.CheckpointError}


@each_error
def test_an_error_is_the_builtin_it_specialises(
    error: checkpoint.CheckpointError, builtin: type[Exception], attributes: dict[str, Any], text: str
) -> None:
    """`except` clauses for the builtin catch it."""
    assert isinstance(error, builtin)


@each_error
def test_an_error_has_its_data_as_attributes_and_arguments(
    error: checkpoint.CheckpointError, builtin: type[Exception], attributes: dict[str, Any], text: str
) -> None:
    """The constructor's arguments are whole in `args`, and by name."""
    assert (tuple(attributes.values()), attributes) == (
        error.args,
        {name: getattr(error, name) for name in attributes},
    )


@each_error
def test_an_error_tells_what_failed_and_what_to_do(
    error: checkpoint.CheckpointError, builtin: type[Exception], attributes: dict[str, Any], text: str
) -> None:
    """The text is made of the data."""
    assert text == str(error)


@each_error
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickle(
    error: checkpoint.CheckpointError,
    builtin: type[Exception],
    attributes: dict[str, Any],
    text: str,
    protocol: int,
) -> None:
    """A copy from another process has the same class, arguments, attributes and text."""
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert (type(error), error.args, attributes, text) == (
        type(copy),
        copy.args,
        {name: getattr(copy, name) for name in attributes},
        str(copy),
    )


def test_a_store_error_claims_no_error_number() -> None:
    """Its arguments are not mistaken for `errno` and `filename` of an OSError."""
    error = checkpoint.StoreError("/data", "disk full", "free some space")
    assert (error.errno, error.filename) == (None, None)


def test_a_long_cycle_is_shown_by_its_ends() -> None:
    """The text of an endless path stays readable."""
    path = tuple(f"f({n})" for n in range(1000))
    assert len(str(checkpoint.CycleError(path))) < 300


# --- imports ---------------------------------------------------------------------------------------------


def test_importing_and_decorating_create_no_files(tmp_path: Path) -> None:
    """Nothing is on disk before the first result is to be kept. [31]"""
    folder = tmp_path / "empty"
    folder.mkdir()
    code = """
import os
os.environ.pop("CP_CACHE_DIR", None)
sys.dont_write_bytecode = True
from checkpoint import memo, open_store, requires, task
@task
def plan(n):
    def run_task():
        return n
    return run_task
@memo(compress=True, max_concurrency=2)
def double(n):
    return 2 * n
double(plan(3)); plan(3).is_cached(); plan(3).clear(); plan.clear(); list(plan.entries()); double(1).plan()
open_store("elsewhere")
print(os.listdir("."))
"""
    assert run_python(code, folder) == "[]\n"


def test_importing_loads_only_what_is_always_needed(tmp_path: Path) -> None:
    """What is large and used by some runs only is imported by those."""
    code = """
import checkpoint
large = ["numpy", "dill", "rich", "zstandard", "pandas", "asyncio", "multiprocessing", "click"]
print([name for name in large if name in sys.modules])
"""
    assert run_python(code, tmp_path) == "[]\n"


def test_a_run_that_computes_nothing_loads_nothing_that_computes(tmp_path: Path) -> None:
    """Over kept results a program needs neither executors nor what they are made of."""
    code = """
from checkpoint import memo, run
@memo
def double(n):
    return 2 * n
print(run([double(double(1)), double(3)], executor="serial"))
computing = ["checkpoint.computing", "checkpoint.executors", "checkpoint.worker", "checkpoint.wire",
             "checkpoint.events", "checkpoint.observe", "concurrent.futures", "logging", "multiprocessing"]
print([name for name in computing if name in sys.modules] if sys.argv[1:] else "")
"""
    first = run_python(code, tmp_path)
    again = run_python("import sys; sys.argv.append('again')" + code, tmp_path)
    assert ("[4, 6]\n\n", "[4, 6]\n[]\n") == (first, again)
