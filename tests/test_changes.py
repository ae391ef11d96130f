"""What happens to results when code is edited: real files, edited between real processes."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mutants import KINDS, made, mutating, mutating_while_waiting, reading

import checkpoint
from checkpoint import MutatedInputError, run, run_report

#: Answers each line on its input by a process of its own, forked before any file of a project was loaded.
SERVER = """
import importlib, json, os, sys, traceback, warnings
import checkpoint

def observe(step):
    computed = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = eval(step["code"], {"tasks": importlib.import_module("lab.tasks")})
        if isinstance(found, checkpoint.TaskInstance):
            report = checkpoint.run_report(found, executor="serial", **step["options"])
            found = report.value
            computed = {name.rpartition(".")[2]: n.computed for name, n in report.counts.items() if n.computed}
    told = [f"{warning.category.__name__}: {warning.message}" for warning in caught]
    return [found, computed, told]

for line in sys.stdin:
    request = json.loads(line)
    if os.fork() == 0:
        try:
            os.chdir(request["folder"])
            os.environ.update(request["environment"])
            sys.path.insert(0, request["folder"])
            print(json.dumps([observe(step) for step in request["steps"]]), flush=True)
        except BaseException:
            print(json.dumps(traceback.format_exc()), flush=True)
        os._exit(0)
    os.wait()
"""

PROJECT = {
    "lab/__init__.py": "",
    "lab/far.py": "def scale(n):\n    return n * 3\n",
    "lab/near.py": "from lab import far\n\n\ndef weigh(n):\n    return far.scale(n)\n",
    "lab/shapes.py": "class Square:\n    def __init__(self, side):\n        self.side = side\n\n"
    "    def area(self):\n        return self.side**2\n",
    "lab/wrap.py": """import functools


def doubled(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args) * 2

    return call


def passed(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args) + 0

    return call
""",
    "lab/tasks.py": '''from checkpoint import memo
from lab.near import weigh
from lab.shapes import Square
from lab.wrap import doubled, passed

RATE = 5
low, high = lambda x: x + 100, lambda x: x + 200


@doubled
def raised(x):
    return x + 1


@memo
@passed
def total(n):
    """Add a share of every file."""
    parts=[ weigh(n), raised(n), RATE, Square(n).area(), low(n) ]
    return sum( parts )


@memo
def report(total):
    return f"total: {total}"


@memo(on_change="warn")
def insistent(n):
    return weigh(n)
''',
}


class Seen(NamedTuple):
    """What a step showed: a value, how often each task was computed, and the warnings."""

    value: Any
    computed: dict[str, int]
    told: list[str]


class Project:
    """Source files that are edited, and processes that import them."""

    def __init__(self, server: subprocess.Popen[str], folder: Path, store: Path) -> None:
        self.folder, self.store = folder, store
        self._server = server

    def write(self, files: dict[str, str]) -> None:
        """Write files."""
        for name, text in files.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the one place that has a text."""
        text = (self.folder / file).read_text()
        assert text.count(old) == 1
        (self.folder / file).write_text(text.replace(old, new))

    def see(self, *steps: str | tuple[str, str], **environment: str) -> list[Seen]:
        """Let one new process run instances, each perhaps under a policy, or call what else is in an expression."""
        given = [(step, None) if isinstance(step, str) else step for step in steps]
        request = {
            "folder": str(self.folder),
            "environment": {"CP_CACHE_DIR": str(self.store), **environment},
            "steps": [{"code": code, "options": {"on_change": policy} if policy else {}} for code, policy in given],
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        assert isinstance(answer, list), answer
        return [Seen(*found) for found in answer]


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """Start the process that forks the others."""
    root = str(Path(checkpoint.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("CP_ON_CHANGE", None)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def project(server: subprocess.Popen[str], tmp_path: Path, store: Path) -> Project:
    """Write the project as it is before any edit."""
    made = Project(server, tmp_path / "project", store)
    made.write(PROJECT)
    return made


TOTAL, REPORT = "tasks.total(2)", "tasks.report(tasks.total(2))"
BOTH = {"total": 1, "report": 1}


# --- each kind of edit -----------------------------------------------------------------------------------

#: Edits that change what `total` does: file, old, new, what a warning names, the new value instead of 123.
REAL = {
    "helper two modules away": ("lab/far.py", "n * 3", "n * 4", "lab.far.scale", 125),
    "decorator of a helper": ("lab/wrap.py", "* 2", "* 3", "lab.wrap.doubled.<locals>.call", 126),
    "constant": ("lab/tasks.py", "RATE = 5", "RATE = 6", "RATE", 124),
    "method of a class": ("lab/shapes.py", "**2", "**3", "lab.shapes.Square", 127),
    "lambda": ("lab/tasks.py", "x + 100", "x + 101", "lab.tasks.<lambda>", 124),
    "the function itself": ("lab/tasks.py", "sum( parts )", "sum(parts) + 1", "lab.tasks.total", 124),
    "decorator of the function": ("lab/wrap.py", "+ 0", "+ 1", "lab.wrap.passed.<locals>.call", 124),
}


@pytest.mark.parametrize("edit", REAL)
def test_an_edit_counts(edit: str, project: Project) -> None:
    """Results are used silently, used with one warning, or computed again; after a revert everything is found."""
    file, old, new, name, value = REAL[edit]
    assert [("total: 123", BOTH, []), ("total: 123", {}, [])] == project.see(REPORT, (REPORT, "rerun"))
    project.edit(file, old, new)
    steps = [(REPORT, "ignore"), (REPORT, "warn"), (REPORT, "warn"), (REPORT, "rerun"), (REPORT, "rerun")]
    ignored, warned, again, rerun, found = project.see(*steps, (REPORT, "warn"))[:5]
    assert ("total: 123", {}, []) == ignored == again
    assert ("total: 123", {}) == warned[:2]
    (text,) = warned.told
    assert re.match(r"CodeChangedWarning: the code of lab\.tasks\.total changed \(.*\) since", text)
    assert name in re.split(r"[(),] ?", text)
    assert re.search(r"total\(n=2\) were made \(\d{4}-\d\d-\d\d \d\d:\d\d\)", text)
    cures = ["total.accept()", "total.clear()", 'on_change="rerun"', 'on_change="ignore"', ".changes()"]
    assert [cure for cure in cures if cure not in text] == []
    assert (f"total: {value}", BOTH, []) == rerun
    assert (f"total: {value}", {}, []) == found
    project.edit(file, new, old)
    assert [("total: 123", {}, [])] * 2 == project.see((REPORT, "rerun"), (REPORT, "warn"))


HARMLESS = {
    "nothing": ("lab/tasks.py", "x + 100", "x + 100"),
    "the other lambda on the line": ("lab/tasks.py", "x + 200", "x + 201"),
    "comment": ("lab/far.py", "    return", "    # triple\n    return"),
    "docstring": ("lab/far.py", "    return", '    """Triple."""\n    return'),
    "docstring of the function": ("lab/tasks.py", "Add a share", "Add one share"),
    "annotation": ("lab/far.py", "scale(n)", "scale(n: int) -> int"),
    "option of the task": ("lab/tasks.py", "@memo\n@passed", "@memo(compress=True, retries=2)\n@passed"),
    "something unused": ("lab/far.py", "def scale", "UNUSED = 1\n\n\ndef scale"),
    "another way to import": ("lab/near.py", "from lab import far", "import lab.far as far"),
}


@pytest.mark.parametrize("edit", HARMLESS)
def test_an_edit_that_changes_nothing_does_not_count(edit: str, project: Project) -> None:
    """Results are found silently under every policy."""
    project.see(REPORT)
    project.edit(*HARMLESS[edit])
    assert [("total: 123", {}, [])] * 2 == project.see((REPORT, "warn"), (REPORT, "rerun"))


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="needs ruff, of the extra lint")
def test_formatting_does_not_count(project: Project) -> None:
    """What a formatter does to all files of a project is no change."""
    project.see(REPORT)
    before = (project.folder / "lab/tasks.py").read_text()
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", "--isolated", "."], cwd=project.folder, check=True)
    assert before != (project.folder / "lab/tasks.py").read_text()
    assert [("total: 123", {}, [])] * 2 == project.see((REPORT, "warn"), (REPORT, "rerun"))


def test_moving_a_helper_to_another_file_does_not_count(project: Project) -> None:
    """Where a helper stands is no part of what it does."""
    project.see(REPORT)
    project.write({"lab/scales.py": PROJECT["lab/far.py"], "lab/far.py": "from lab.scales import scale\n"})
    assert [("total: 123", {}, [])] == project.see((REPORT, "rerun"))


# --- policies --------------------------------------------------------------------------------------------


def test_the_run_decides_before_the_task_and_the_task_before_the_environment(project: Project) -> None:
    """`run(on_change=)`, then the task's `on_change=`, then `$CP_ON_CHANGE`."""
    project.see(TOTAL, "tasks.insistent(2)")
    project.edit("lab/far.py", "n * 3", "n * 4")
    total, insistent = project.see(TOTAL, "tasks.insistent(2)", CP_ON_CHANGE="ignore")
    assert (123, [], 6, 1) == (total.value, total.told, insistent.value, len(insistent.told))
    insistent, by_run, total = project.see(
        "tasks.insistent(2)", ("tasks.insistent(2)", "rerun"), (TOTAL, "ignore"), CP_ON_CHANGE="rerun"
    )
    assert (6, 1, 8, 123) == (insistent.value, len(insistent.told), by_run.value, total.value)
    assert [(125, {"total": 1}, [])] == project.see(TOTAL, CP_ON_CHANGE="rerun")


def test_an_edit_that_gives_the_same_value_reruns_nothing_below(project: Project) -> None:
    """Early cutoff: the edited task is computed again, and what requires it is not."""
    project.see(REPORT)
    project.edit("lab/far.py", "n * 3", "n + n + n")
    assert [("total: 123", {"total": 1}, []), ("total: 123", {}, [])] == project.see((REPORT, "rerun"), REPORT)


def test_what_one_policy_made_another_finds(project: Project) -> None:
    """Which policy was in force when an entry was made doesn't matter, as long as the code is the same."""
    first, second = "tasks.total(1)", "tasks.total(2)"
    project.see((first, "warn"), (second, "rerun"))
    assert [{}, {}] == [seen.computed for seen in project.see((first, "rerun"), (second, "warn"))]
    project.edit("lab/far.py", "n * 3", "n * 4")
    project.see((first, "rerun"))
    assert [{}, {}] == [seen.computed for seen in project.see((first, "warn"), (first, "rerun"))]


def test_going_back_and_forth_finds_what_is_below_an_edit(project: Project) -> None:
    """Each version of the code keeps its results, and those computed from them."""
    codes = ["n * 3", "n * 4", "n * 5"]
    totals = []
    for before, now in [
        ("n * 3", "n * 3"),
        *itertools.pairwise(codes),
        ("n * 5", "n * 4"),
        ("n * 4", "n * 3"),
    ]:
        project.edit("lab/far.py", before, now)
        (seen,) = project.see((REPORT, "rerun"))
        totals.append((seen.value, seen.computed))
    made = [(f"total: {value}", BOTH) for value in (123, 125, 127)]
    assert [*made, ("total: 125", {}), ("total: 123", {})] == totals


def test_two_checkouts_share_a_store(project: Project) -> None:
    """Two branches of a project alternate without computing anything again."""
    other = Project(project._server, project.folder.parent / "branch", project.store)
    other.write(PROJECT)
    other.edit("lab/far.py", "n * 3", "n * 4")
    both = [project.see((REPORT, "rerun")), other.see((REPORT, "rerun"))]
    again = [project.see((REPORT, "rerun")), other.see((REPORT, "rerun"))]
    assert [[("total: 123", BOTH, [])], [("total: 125", BOTH, [])]] == both
    assert [[("total: 123", {}, [])], [("total: 125", {}, [])]] == again


def test_why_shows_the_function_that_changed(project: Project) -> None:
    """The difference is that of the helper, and of nothing else."""
    project.see(REPORT)
    project.edit("lab/far.py", "n * 3", "n * 4")
    why = 'str(tasks.total(2).why(on_change="rerun"))'
    below = 'str(tasks.report(tasks.total(2)).why(on_change="rerun"))'
    plan = 'str(tasks.report(tasks.total(2)).plan(on_change="rerun"))'
    reason, pending, forecast = [seen.value.splitlines() for seen in project.see(why, below, plan)]
    assert reason[0].startswith("total(n=2): code changed, entry made ")
    assert [
        "  --- lab.far.scale (before)",
        "  +++ lab.far.scale (now)",
        "  @@ -1,2 +1,2 @@",
        "   def scale(n):",
        "  -    return n * 3",
        "  +    return n * 4",
    ] == reason[1:]
    assert ["report(total=total(...)): upstream to be computed", "  total(n=2)"] == pending
    assert forecast[0].startswith("1 to compute, 1 to compute after these, 0 to load, 0 to skip; ")
    assert ["  1 lab.tasks.total: code changed"] == forecast[1:]


# --- accept ----------------------------------------------------------------------------------------------


def test_an_accepted_edit_holds_in_later_processes(project: Project) -> None:
    """`accept()` is silent from then on, under "rerun" too, in both directions, and until the next real edit."""
    project.see(TOTAL)
    project.edit("lab/far.py", "n * 3", "n + n + n")
    accepted, again = project.see("[c.name for c in tasks.total.accept()]", "tasks.total.accept()")
    assert (["lab.far.scale"], []) == (accepted.value, again.value)
    other = "tasks.total(1)"
    hit, _, made = project.see((TOTAL, "rerun"), (TOTAL, "warn"), (other, "rerun"))
    assert ((123, {}, []), {"total": 1}) == (hit, made.computed)
    project.edit("lab/far.py", "n + n + n", "n * 3")
    assert [({}, [])] * 2 == [seen[1:] for seen in project.see((other, "rerun"), (other, "warn"))]
    project.edit("lab/far.py", "n * 3", "n * 4")
    warned, rerun = project.see((TOTAL, "warn"), (TOTAL, "rerun"))
    assert (123, 1, 125) == (warned.value, len(warned.told), rerun.value)


def test_accepting_every_edit(project: Project) -> None:
    """`accept()` is about the newest of the older codes, `accept(every=True)` about all of them."""
    project.see("tasks.total(1)")
    project.edit("lab/far.py", "n * 3", "n * 4")
    project.see((TOTAL, "rerun"))
    project.edit("lab/far.py", "n * 4", "n * 5")
    first, second, one, all_of_them, last = project.see(
        "len(tasks.total.accept())",
        (TOTAL, "rerun"),
        'str(tasks.total(1).why(on_change="rerun").cue)',
        "len(tasks.total.accept(every=True))",
        ("tasks.total(1)", "rerun"),
    )
    assert (1, 125, {}, "Cue.CODE") == (first.value, second.value, second.computed, one.value)
    assert (1, 114, {}) == (all_of_them.value, last.value, last.computed)


# --- what is declared ------------------------------------------------------------------------------------

READER = {
    "lab/tasks.py": """
        from checkpoint import memo
        from lab import plugins

        @memo(on_change="rerun")
        def loaded(name):
            return getattr(__import__("lab.plugins", fromlist=["x"]), name)()
    """,
    "lab/plugins.py": """
        def one():
            return 1
    """,
}


def test_what_is_newly_named_is_no_change(project: Project) -> None:
    """`depends_on=` that is added changes nothing by itself; a later edit of what it names does."""
    project.write(READER)
    assert [(1, {"loaded": 1}, [])] == project.see("tasks.loaded('one')")
    project.edit("lab/tasks.py", '(on_change="rerun")', '(on_change="rerun", depends_on=[plugins.one])')
    assert [(1, {}, [])] == project.see("tasks.loaded('one')")
    project.edit("lab/plugins.py", "return 1", "return 2")
    assert [(2, {"loaded": 1}, [])] == project.see("tasks.loaded('one')")
    project.edit("lab/plugins.py", "return 2", "return 1")
    assert [(1, {}, [])] == project.see("tasks.loaded('one')")


SCALED = """
    from checkpoint import memo

    @memo
    def scaled(n):
        return n * 2
"""


@pytest.mark.parametrize("policy", ["warn", "rerun"])
def test_a_parameter_that_is_declared_as_added(policy: str, project: Project) -> None:
    """Results from before stand for the value that is given, and for no other; later edits count."""
    project.write({"lab/tasks.py": SCALED})
    project.see("tasks.scaled(3)")
    project.edit("lab/tasks.py", "@memo", '@memo(defaults_added={"alpha": 0.5})')
    project.edit("lab/tasks.py", "(n)", "(n, alpha=0.5)")
    project.edit("lab/tasks.py", "n * 2", "n * 4 * alpha")
    old, same, new = project.see(*((f"tasks.scaled({a})", policy) for a in ("3", "3, alpha=0.5", "3, alpha=1.0")))
    assert ((6, {}, []), (6, {}, []), (12.0, {"scaled": 1}, [])) == (old, same, new)
    project.edit("lab/tasks.py", "n * 4", "n * 5")
    warned, rerun = project.see(("tasks.scaled(3)", "warn"), ("tasks.scaled(3)", "rerun"))
    assert (6, 1, 7.5) == (warned.value, len(warned.told), rerun.value)


ADDED = '@memo(on_change="rerun", defaults_added={"alpha": 0})'


def test_an_added_parameter_accepts_no_other_edit(project: Project) -> None:
    """Only the code from just before counts, not older code, and not code that used other helpers."""
    project.write({"lab/tasks.py": SCALED.replace("n * 2", "weigh(n)")})
    project.edit("lab/tasks.py", "import memo", "import memo\nfrom lab.near import weigh")
    project.see("tasks.scaled(1)", "tasks.scaled(2)")
    project.edit("lab/tasks.py", "weigh(n)", "weigh(n) + 1")
    project.see(("tasks.scaled(2)", "rerun"))
    project.edit("lab/far.py", "n * 3", "n * 4")
    project.see(("tasks.scaled(3)", "rerun"))
    project.edit("lab/far.py", "n * 4", "n * 3")
    project.edit("lab/tasks.py", "@memo", ADDED)
    project.edit("lab/tasks.py", "(n):", "(n, alpha=0):")
    first = project.see("tasks.scaled(2)", "tasks.scaled(1)", "tasks.scaled(3)")
    assert [(7, {}), (4, {"scaled": 1}), (10, {"scaled": 1})] == [seen[:2] for seen in first]
    assert [{}] * 3 == [seen.computed for seen in project.see("tasks.scaled(1)", "tasks.scaled(2)", "tasks.scaled(3)")]


def test_an_added_parameter_keeps_what_was_accepted_before(project: Project) -> None:
    """Results of code that was accepted as equal to the code from just before are found as well."""
    project.write({"lab/tasks.py": SCALED})
    project.see("tasks.scaled(3)")
    project.edit("lab/tasks.py", "n * 2", "n + n")
    project.see("len(tasks.scaled.accept())")
    project.edit("lab/tasks.py", "@memo", ADDED)
    project.edit("lab/tasks.py", "(n):", "(n, alpha=0):")
    for _ in range(2):
        assert [(6, {}, [])] == project.see("tasks.scaled(3)")


def test_a_parameter_that_is_added_without_a_word(project: Project) -> None:
    """Every call has another key then, so nothing is found."""
    project.write({"lab/tasks.py": SCALED})
    project.see("tasks.scaled(3)")
    project.edit("lab/tasks.py", "(n)", "(n, alpha=0.5)")
    assert [(6, {"scaled": 1}, [])] == project.see("tasks.scaled(3)")


def test_a_later_edit_of_an_added_parameter_counts(project: Project) -> None:
    """It does also if nothing ran between the two edits' commits but a hit."""
    project.write({"lab/tasks.py": SCALED})
    project.see("tasks.scaled(3)")
    project.edit("lab/tasks.py", "@memo", '@memo(defaults_added={"alpha": 0.5})')
    project.edit("lab/tasks.py", "(n)", "(n, alpha=0.5)")
    assert [(6, {}, [])] == project.see(("tasks.scaled(3)", "rerun"))
    project.edit("lab/tasks.py", "n * 2", "n * 3")
    assert [(9, {"scaled": 1}, [])] == project.see(("tasks.scaled(3)", "rerun"))


@pytest.mark.parametrize("policy", ["warn", "rerun"])
def test_a_renamed_task_keeps_its_results(policy: str, project: Project) -> None:
    """With `name=` the old name stays that of the results, and a rename alone is no change of code."""
    project.write({"lab/tasks.py": SCALED})
    project.see("tasks.scaled(3)")
    project.edit("lab/tasks.py", "@memo", '@memo(name="lab.tasks.scaled")')
    project.edit("lab/tasks.py", "def scaled", "def doubled")
    assert [(6, {}, [])] == project.see(("tasks.doubled(3)", policy))
    project.edit("lab/tasks.py", "n * 2", "n * 3")
    assert [9] == [seen.value for seen in project.see(("tasks.doubled(3)", "rerun"))]


def test_a_version_pins_the_code(project: Project) -> None:
    """Edits don't count, another version is another set of results, and going back finds the first."""
    project.write({"lab/tasks.py": SCALED.replace("@memo", "@memo(version=1)")})
    project.see("tasks.scaled(3)")
    project.edit("lab/tasks.py", "n * 2", "n * 3")
    assert [(6, {}, [])] * 2 == project.see(("tasks.scaled(3)", "rerun"), ("tasks.scaled(3)", "warn"))
    project.edit("lab/tasks.py", "version=1", "version=2")
    assert [(9, {"scaled": 1}, [])] == project.see("tasks.scaled(3)")
    project.edit("lab/tasks.py", "version=2", "version=1")
    assert [(6, {}, [])] == project.see("tasks.scaled(3)")


UNSTORED = """
    from checkpoint import memo

    @memo(store=False)
    def halves(n):
        return n / 2

    @memo
    def kept(value):
        return value
"""


@pytest.mark.parametrize("policy", ["warn", "rerun"])
def test_an_edit_of_what_is_not_stored_reruns_its_consumers(policy: str, project: Project) -> None:
    """There is no entry that could tell, so what was computed from it is computed again."""
    project.write({"lab/tasks.py": UNSTORED})
    call = "tasks.kept(tasks.halves(4))"
    project.see((call, policy))
    project.edit("lab/tasks.py", "n / 2", "n / 4")
    seen, again = project.see((call, policy), (call, policy))
    assert (1.0, 1, []) == (seen.value, seen.computed["kept"], seen.told)
    assert (1.0, {}) == again[:2]
    project.edit("lab/tasks.py", "n / 4", "n / 2")
    assert [(2.0, {}, [])] == project.see((call, policy))


def test_an_edit_of_what_is_not_stored_can_be_ignored(project: Project) -> None:
    """A task that isn't stored and says "ignore" reruns nothing below it when it is edited."""
    project.write({"lab/tasks.py": UNSTORED.replace("store=False", 'store=False, on_change="ignore"')})
    call = "tasks.kept(tasks.halves(4))"
    project.see(call)
    project.edit("lab/tasks.py", "n / 2", "n / 4")
    assert [(2.0, {}, [])] == project.see(call)


def test_an_edit_of_a_function_given_as_an_argument_is_another_call(project: Project) -> None:
    """Its code is in the key, with what it uses; a comment is not, and a revert finds the result."""
    project.write(
        {
            "lab/tasks.py": """
        from checkpoint import memo
        from lab.near import weigh

        @memo
        def applied(function, n):
            return function(n)
    """
        }
    )
    call = "tasks.applied(tasks.weigh, 2)"
    assert [(6, {"applied": 1}, [])] == project.see(call)
    project.edit("lab/far.py", "    return", "    # triple\n    return")
    assert [(6, {}, [])] == project.see(call)
    project.edit("lab/far.py", "n * 3", "n * 4")
    assert [(8, {"applied": 1}, [])] == project.see(call)
    project.edit("lab/far.py", "n * 4", "n * 3")
    assert [(6, {}, [])] == project.see(call)


# --- the watch for mutation ------------------------------------------------------------------------------


EXECUTORS = ["serial", "threads", "processes", "async"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_runner_that_changes_its_input_is_caught(executor: Any) -> None:
    """With `check_mutation` each fails, by name of call and value, and no other; without, each has its own copy."""
    bad = [mutates(kind, made(kind)) for kind in KINDS for mutates in (mutating, mutating_while_waiting)]
    good = [reading(kind, made(kind)) for kind in KINDS]
    with pytest.raises(ExceptionGroup) as caught:
        run([bad, good], executor=executor, max_workers=1, on_error="continue", check_mutation=True)
    errors = [error for error in caught.value.exceptions if isinstance(error, MutatedInputError)]
    names = [
        (call, f"the value of made(kind={kind!r})") for kind in KINDS for call in ("mutating", "mutating_while_waiting")
    ]
    assert sorted(names) == sorted((error.call.partition("(")[0], error.what) for error in errors)
    assert [False] * len(bad) == [instance.is_cached() for instance in bad]
    assert all(instance.is_cached() for instance in good)
    assert run_report([bad, good], executor="serial").value == [[1] * len(bad), [2] * len(good)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_environment_can_ask_for_the_watch(executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`CP_CHECK_MUTATION=1` is the same, unless the run says otherwise."""
    made("dict").run(executor="serial")
    monkeypatch.setenv("CP_CHECK_MUTATION", "1")
    instance = mutating("dict", made("dict"))
    with pytest.raises(MutatedInputError, match="work on a copy"):
        instance.run(executor=executor, max_workers=1)
    assert instance.run(executor="serial", check_mutation=False) == 1
