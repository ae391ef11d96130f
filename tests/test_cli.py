"""The command `checkpoint`: in this process for what it says, in real ones between edits of real files."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import choose, square, total
from projects import write

import checkpoint
from checkpoint.cli import main

PACKAGE = Path(checkpoint.__file__).parent.parent
REFERENCE = (PACKAGE / "docs" / "reference.md").read_text(encoding="utf-8")

TRAIN = """
import shapes
from checkpoint import memo, run_report


@memo
def load(fold: int) -> int:
    return fold


@memo
def fit(data: int) -> int:
    return shapes.scaled(data)


class Model:
    @memo
    def score(value: int) -> int:
        return value


if __name__ == "__main__":
    report = run_report([fit(load(fold)) for fold in range(3)], executor="serial")
    print(report.value, report.computed, report.hit)
"""
SHAPES = "def scaled(x):\n    return x * 2\n"
EDITED = "def scaled(x):\n    return x + x + 0\n"
#: A task that requires one whose body fails, and code that fails elsewhere.
FAULTY = """
from checkpoint import requires, task


def check(number):
    raise ValueError(f"{number} is too much")


@task
def inner(number):
    check(number)


@task
def outer(number):
    @requires(inner(number))
    def run_task(value):
        return value

    return run_task
"""


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a command imports."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("train", "shapes", "faulty", "broken", "lacking", "leaving", "package"):
            sys.modules.pop(name)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Write a script, a helper of it and a faulty module into the current folder."""
    write(tmp_path, {"train.py": TRAIN, "shapes.py": SHAPES, "faulty.py": FAULTY})
    return tmp_path


def ask(*arguments: str, answer: str | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, list(arguments), input=answer)


def said(*arguments: str) -> str:
    """Run the command in this process and return what it prints; it must succeed and print no error."""
    result = ask(*arguments)
    assert (0, "") == (result.exit_code, result.stderr)
    return result.stdout


def python(*arguments: str, folder: Path, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, in a process of its own, with its cache there."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    del environment["CP_CACHE_DIR"]
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, input=answer, capture_output=True, text=True, timeout=120
    )


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command below the group, with its words."""
    pending: list[tuple[str, click.Command]] = [("checkpoint", main)]
    while pending:
        words, command = pending.pop()
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                pending.append((f"{words} {name}", below))


# --- plan ------------------------------------------------------------------------------------------------


def test_plan_counts_and_names_what_would_be_computed() -> None:
    """The summary is the forecast's; each instance has a line with its reason."""
    choose(3, 2).run(executor="serial")
    choose(2, 2).clear()
    expected = str(checkpoint.forecast(choose(3, 2)))
    assert expected.startswith("1 to compute, 1 to compute after these, ")
    summary, _, lines = said("plan", "programs:choose(3, 2)").partition("\n\n")
    assert expected == summary
    first, second = lines.splitlines()
    assert first.startswith("choose(n=2, k=2): cleared ")
    assert second == "choose(n=3, k=2): upstream to be computed"


def test_plan_of_nothing_to_do_is_its_summary() -> None:
    """Where all is fresh there are no lines."""
    square(1).run(executor="serial")
    assert f"{square(1).plan()}\n" == said("plan", "programs:square(1)")


@pytest.mark.parametrize(
    ("target", "count"),
    [("[square(n) for n in range(3)]", 3), ("{'a': square(1), 'b': (square(2), square(1))}", 2), ("[]", 0)],
)
def test_plan_takes_instances_in_any_nesting(target: str, count: int) -> None:
    """Lists, tuples and dicts are one run, in which each instance counts once."""
    assert said("plan", f"programs:{target}").startswith(f"{count} to compute, ")


def test_plan_shows_some_of_many() -> None:
    """More than twenty instances are shown if they are asked for."""
    target = "programs:total([square(n) for n in range(30)])"
    some, every = said("plan", target).splitlines(), said("plan", target, "--all").splitlines()
    assert "and 11 more; --all shows them" == some[-1]
    assert every[: len(some) - 1] == some[:-1]
    assert len(every) - len(some) + 1 == 11
    assert total.name not in str(checkpoint.run_report([]).counts)


def test_nothing_is_run_or_made(store: Path) -> None:
    """Asking creates no store and computes nothing."""
    for command in ("plan", "why"):
        said(command, "programs:fail('x')")
    assert not store.exists()


# --- why -------------------------------------------------------------------------------------------------


def test_why_is_the_text_of_each_reason() -> None:
    """Each instance of the target has its own."""
    square(1).run(executor="serial")
    expected = f"{square(1).why()}\n{square(2).why()}\n"
    assert expected == said("why", "programs:[square(1), square(2)]")


def test_on_change_is_that_of_the_run(project: Path) -> None:
    """With "rerun" an edit is a reason to compute, with "warn" it is told of a fresh result."""
    assert "[0, 2, 4] 6 0\n" == python("train.py", folder=project).stdout
    write(project, {"shapes.py": EDITED})
    by_policy = {
        policy: (
            said("why", "train.py:fit(load(1))", "--store", ".cache", "--on-change", policy).split(",")[0],
            said("plan", "train:fit(load(1))", "--store", ".cache", "--on-change", policy).split(",")[0],
        )
        for policy in ("warn", "rerun", "ignore")
    }
    fresh = ("fit(data=load(...)): fresh", "0 to compute")
    assert {
        "warn": fresh,
        "rerun": ("fit(data=load(...)): code changed", "1 to compute"),
        "ignore": fresh,
    } == by_policy


# --- lineage ---------------------------------------------------------------------------------------------


def test_lineage_is_the_text_of_each() -> None:
    """By default one step up, as `str` has it."""
    target = total([square(1), square(2)])
    target.run(executor="serial")
    expected = f"{target.lineage()}\n{square(1).lineage()}\n"
    assert expected == said("lineage", "programs:[total([square(1), square(2)]), square(1)]")


def test_lineage_goes_as_far_up_as_asked() -> None:
    """Each step is indented once more; what came up before is not told again."""
    choose(4, 2).run(executor="serial")
    lines = {
        depth: [line.partition(": ")[0].replace("programs.", "") for line in text.splitlines()]
        for depth in (0, 2, 9)
        for text in [said("lineage", "programs:choose(4, 2)", "--depth", str(depth))]
    }
    assert ["choose(k=2, n=4)"] == lines[0]
    assert lines[2] == [
        "choose(k=2, n=4)",
        "  from choose(k=1, n=3)",
        "    from choose(k=0, n=2)",
        "    from choose(k=1, n=2)",
        "  from choose(k=2, n=3)",
        "    from choose(k=1, n=2)",
        "    from choose(k=2, n=2)",
    ]
    assert lines[9] == [*lines[2][:4], "      from choose(k=0, n=1)", "      from choose(k=1, n=1)", *lines[2][4:]]
    assert said("lineage", "programs:choose(4, 2)", "--depth", "9").count(", as above\n") == 1


def test_lineage_of_what_is_not_there() -> None:
    """Nothing found is exit code 1; what is there is shown all the same."""
    square(1).run(executor="serial")
    result = ask("lineage", "programs:[square(2), square(1)]")
    assert (1, f"{square(1).lineage()}\n") == (result.exit_code, result.stdout)
    assert result.stderr == "Error: square(x=2) has no result in the store; compute it with .run()\n"


# --- accept ----------------------------------------------------------------------------------------------


def edit(project: Path, text: str = EDITED) -> None:
    """Run the program, and edit its helper."""
    done = python("train.py", folder=project)
    assert "" == done.stderr
    write(project, {"shapes.py": text})


def test_accept_asks(project: Path) -> None:
    """A yes accepts, and then there is nothing left."""
    edit(project)
    result = ask("accept", "train", "--store", ".cache", answer="y\n")
    assert result.exit_code == 0
    assert result.stdout.startswith("train.fit:\n  --- shapes.scaled (before)\n  +++ shapes.scaled (now)\n")
    assert "\n  -    return x * 2\n  +    return x + x + 0\nAccept these edits" in result.stdout
    assert result.stdout.endswith("accepted for train.fit\n")
    again = ask("accept", "train", "--store", ".cache", answer="y\n")
    expected = "nothing to accept: all results of train.load, train.fit, train.Model.score count as made by the present"
    assert (1, f"{expected} code\n") == (again.exit_code, again.stdout)


@pytest.mark.parametrize("answer", ["n\n", ""], ids=["no", "nobody there"])
def test_accept_does_nothing_without_a_yes(project: Path, answer: str) -> None:
    """A no is exit code 1 and leaves all as it was."""
    edit(project)
    results = [ask("accept", "train:fit", "--store", ".cache", answer=answer) for _ in range(2)]
    assert [1, 1] == [result.exit_code for result in results]
    assert "--- shapes.scaled (before)" in results[1].stdout


def test_accept_takes_several_tasks_and_scripts(project: Path) -> None:
    """A task by name, one in a class, and all of a script; only those with edits are accepted."""
    edit(project)
    result = ask("accept", "train.py:Model.score", "train.py:load", "train.py", "--store", ".cache", "--yes")
    assert (0, "accepted for train.fit") == (result.exit_code, result.stdout.splitlines()[-1])


def test_accept_every_reaches_further_back(project: Path) -> None:
    """`--every` accepts the code of all entries, else it is that of the newest one alone."""
    edit(project, SHAPES.replace("* 2", "* 3"))
    (project / "train.py").write_text(TRAIN.replace("range(3)", "range(9)"))
    python("-W", "ignore", "train.py", folder=project)
    write(project, {"shapes.py": EDITED})
    last = ask("accept", "train:fit", "--store", ".cache", answer="n\n").stdout
    every = ask("accept", "train:fit", "--store", ".cache", "--every", "--yes").stdout
    assert ([False, True], [True, True]) == tuple(
        [f"-    return x * {factor}\n" in text for factor in (2, 3)] for text in (last, every)
    )
    assert ask("accept", "train:fit", "--store", ".cache", "--every").exit_code == 1


# --- targets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("train", "name instances as module:expression or script.py:expression, such as 'train:fit(fold=3)'"),
        ("a b:c", "'a b' is neither the name of a module nor the path of a script"),
        ("nowhere:f(1)", "there is no module 'nowhere' in '{here}'; go to the folder that has it, or "),
        ("train.nowhere:f(1)", "there is no module 'train.nowhere' in '{here}'; "),
        ("nowhere/train.py:f(1)", "there is no file '{here}/nowhere/train.py'"),
        ("x" * 300 + ".py:f(1)", "there is no file '{here}/xxx"),
        ("types.py:f(1)", "the name 'types' belongs to "),
        ("broken:f(1)", "SyntaxError: "),
        ("train:fit(", "SyntaxError: "),
        ("train:nowhere(1)", "NameError: name 'nowhere' is not defined"),
        ("train:fit(fold=1)", "TypeError: train.fit("),
        ("train:fit(object())", "cannot make a key of argument 'data' of train.fit("),
        ("train:fit", "the expression must give task instances, or lists, tuples and dicts of them; Task 'fit' is "),
        (
            "train:[fit(1), {'a': 2}]",
            "the expression must give task instances, or lists, tuples and dicts of them; int ",
        ),
    ],
)
def test_a_bad_target_is_one_line_that_says_what_to_do(project: Path, target: str, problem: str) -> None:
    """The line begins with the target; the exit code is 2."""
    write(project, {"broken.py": "def f(:\n", "types.py": TRAIN})
    result = ask("plan", target)
    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith(f"Error: {target!r}: {problem.format(here=os.getcwd())}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        ("train:nowhere", "there is no task 'nowhere'; train has load, fit, Model.score"),
        ("train:fit(1)", "there is no task 'fit(1)'; train has load, fit, Model.score"),
        ("train:Model", "type 'Model' is no task; train has load, fit, Model.score"),
        ("shapes", "no task is defined in shapes; name a task as shapes:name"),
        ("shapes:scaled", "function 'scaled' is no task; shapes has no tasks"),
    ],
)
def test_a_bad_task_is_one_line_that_says_what_there_is(project: Path, tasks: str, problem: str) -> None:
    """Tasks are looked up by name; the exit code is 2."""
    result = ask("accept", tasks)
    assert (2, "", f"Error: {tasks!r}: {problem}\n") == (result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize(
    ("target", "exit_code", "frames"),
    [
        ("faulty:inner(5)", 2, ["inner", "check"]),
        ("faulty:outer(5)", 1, ["inner", "check"]),
        ("faulty:check(5)", 2, ["check"]),
        ("lacking:f(5)", 2, ["<module>"]),
        ("leaving:f(5)", 2, ["<module>"]),
    ],
)
def test_an_exception_of_the_users_code_shows_the_users_code(
    project: Path, target: str, exit_code: int, frames: list[str]
) -> None:
    """Of the traceback, only frames in files of the user's are shown."""
    write(project, {"lacking.py": "import nowhere\n", "leaving.py": "raise SystemExit(3)\n"})
    result = ask("plan", target)
    assert (exit_code, "") == (result.exit_code, result.stdout)
    found = [line.strip().split(", ") for line in result.stderr.splitlines() if line.startswith("  File ")]
    assert frames == [name.removeprefix("in ") for _, _, name in found]
    assert all(file.startswith(f'File "{project}') for file, _, _ in found)
    assert result.stderr.endswith(f"\nError: {target!r}: failed in your code, as shown above\n")


def test_a_store_that_cannot_be_read_is_one_line(project: Path) -> None:
    """What is said is the error's own text."""
    folder = project / ".cache" / "checkpoint" / square.name
    folder.mkdir(parents=True)
    (folder / "cache.db").write_bytes(b"this is no database" * 100)
    result = ask("plan", "programs:square(1)", "--store", ".cache")
    assert (1, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith(f"Error: 'programs:square(1)': store in '{folder}' failed: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("store", ["s3x://bucket", ""])
def test_a_bad_store_is_a_usage_error(store: str) -> None:
    """The option is named; the exit code is 2."""
    result = ask("plan", "programs:square(1)", "--store", store)
    assert result.exit_code == 2
    assert "Invalid value for '--store': " in result.stderr


WORDS = [
    *(
        "train",
        "train.py",
        "fit",
        "fit(1)",
        "[fit(1)]",
        "nowhere",
        "..",
        "/",
        "",
        " ",
        ":",
        "(",
        "1",
        "~",
        "\0",
        "\ud800",
    ),
    *("file://", "s3x://b", "2026-11-01", "9999-12-31", "a=1", "=", "--", "-", "9" * 25),
]
arguments = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map("".join),
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=2).map(":".join),
    st.text(max_size=12),
)


#: Commands that write files where one says, run what is named, or don't end by themselves.
LEFT_OUT = ("export", "graph", "report", "run", "ui")


def options_of(command: click.Command) -> list[str]:
    """Return the long names of a command's options."""
    return [name for option in command.params for name in option.opts if name.startswith("--")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_written_is_done_or_refused_in_words(data: st.DataObject, project: Path) -> None:
    """Any path, URL, target, number or date that a command is given ends in 0, 1 or 2, and never in a traceback."""
    known = [(words, command) for words, command in commands() if not isinstance(command, click.Group)]
    words, command = data.draw(st.sampled_from([each for each in known if each[0].split()[1] not in LEFT_OUT]))
    given = data.draw(st.lists(arguments, max_size=2))
    for option in data.draw(st.lists(st.sampled_from(["--help", *options_of(command)]), max_size=2)):
        given += [option, data.draw(arguments)]
    written = [*words.split()[1:], *given]
    result = ask(*written, answer="n\n")
    assert result.exception is None or isinstance(result.exception, SystemExit), (written, result.exception)
    assert result.exit_code in (0, 1, 2), written
    outside = {str(path) for path in project.iterdir()} - {str(project / name) for name in NAMES}
    assert outside == set(), written


NAMES = ["train.py", "shapes.py", "faulty.py", "cache", "__pycache__", "home"]


@pytest.mark.parametrize("place", ["x" * 300, "train.py", "train.py/cache"])
def test_a_place_that_is_no_folder_is_told(place: str, project: Path) -> None:
    """Whatever is asked of a store where none can be, the answer is a line, or that nothing is there. [T5]"""
    asked = ["ls", "du", "verify", "gc", "clear fit", "show fit", "lineage train:fit(1)", "export a.zip fit", "report"]
    asked += ["why train:fit(1)", "flows list", "flows show 1", "flows prune", "import shapes.py"]
    for words in asked:
        result = ask(*words.split(), "--store", place)
        assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
        assert result.exit_code in (0, 1, 2), words
    assert "Error: store in " in ask("verify", "--store", place).stderr


def test_the_store_option_holds_for_one_command(store: Path, tmp_path: Path) -> None:
    """Another store than the current one is looked at, and only then."""
    square(1).run(executor="serial", store=tmp_path / "other")
    texts = [said("why", "programs:square(1)", *options) for options in ([], ["--store", "other"], [])]
    assert [False, True, False] == [": fresh" in text for text in texts]


# --- processes -------------------------------------------------------------------------------------------


def test_a_script_is_edited_asked_about_and_accepted(project: Path) -> None:
    """The helper's edit is shown, and once it is accepted the next run neither computes nor warns."""
    run = [python("train.py", folder=project)]
    assert "0 to compute, " in python("-m", "checkpoint", "plan", "train.py:fit(load(1))", folder=project).stdout
    write(project, {"shapes.py": EDITED})
    why = python("-m", "checkpoint", "why", "train.py:fit(load(1))", folder=project)
    accept = python("-m", "checkpoint", "accept", "train.py", folder=project, answer="y\n")
    run.append(python("train.py", folder=project))
    assert ["[0, 2, 4] 6 0\n", "[0, 2, 4] 0 6\n"] == [done.stdout for done in run]
    assert ["", ""] == [done.stderr for done in (why, run[1])]
    assert "  -    return x * 2\n  +    return x + x + 0\n" in why.stdout
    assert (0, "accepted for train.fit\n") == (accept.returncode, accept.stdout[-23:])


def test_a_module_in_a_package_is_found_from_its_folder(tmp_path: Path) -> None:
    """The current folder comes first, and a script elsewhere finds the modules beside it."""
    write(tmp_path, {"package/__init__.py": "", "package/tasks.py": TRAIN.replace("import shapes", "shapes = None")})
    write(tmp_path, {"study/train.py": TRAIN, "study/shapes.py": SHAPES})
    for target in ("package.tasks:fit(load(1))", "study/train.py:fit(load(1))"):
        done = python("-m", "checkpoint", "why", target, folder=tmp_path)
        assert ("", "fit(data=load(...)): upstream to be computed\n  load(fold=1)\n") == (done.stderr, done.stdout)


def test_the_installed_script_finds_modules_in_the_current_folder(project: Path) -> None:
    """The script that an installer writes starts in a folder of its own; it does the same."""
    setup = configparser.ConfigParser()
    setup.read(PACKAGE / "setup.cfg")
    name, module, function = re.split(" = |:", setup["options.entry_points"]["console_scripts"].strip())
    write(project, {f"bin/{name}": f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"})
    done = python(f"bin/{name}", "why", "train:load(1)", folder=project)
    bad = python(f"bin/{name}", "why", "train:load", folder=project)
    assert ("", "load(fold=1): no entry\n", 2) == (done.stderr, done.stdout, bad.returncode)
    assert python(f"bin/{name}", folder=project).stderr.startswith(f"Usage: {name} [OPTIONS] COMMAND")


def test_a_name_with_bytes_that_are_no_characters_is_told(project: Path) -> None:
    """Such a file is written, and its name shown with the bytes escaped, whatever the terminal can show. [T5]"""
    python("train.py", folder=project)
    done = python("-m", "checkpoint", "export", "a\udca9.zip", "train.load", folder=project)
    assert (0, "wrote 3 results to a\\udca9.zip") == (done.returncode, done.stdout.partition(",")[0])
    assert (project / "a\udca9.zip").exists()


def test_the_main_block_of_a_script_does_not_run(project: Path) -> None:
    """Naming a script imports it."""
    assert "load(fold=1): no entry\n" == python("-m", "checkpoint", "why", "train.py:load(1)", folder=project).stdout


# --- help ------------------------------------------------------------------------------------------------


def test_the_version_is_the_packages() -> None:
    """`--version` tells it."""
    assert f"checkpoint, version {checkpoint.__version__}\n" == said("--version")


@pytest.mark.parametrize(("words", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_every_command_has_help_with_an_example(words: str, command: click.Command) -> None:
    """Each option has a text, and the lines fit into 80 columns."""
    text = said(*words.split()[1:], "--help")
    assert "Example" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


# --- verify and gc ---------------------------------------------------------------------------------------


def test_verify_tells_what_it_read(store: Path) -> None:
    """A store in order is a line; damage is a line each, first, and the exit code 1. [T7]"""
    assert "nothing is damaged; 0 results and 0 snapshots, 0 B\n" == said("verify")
    choose(2, 1).run(executor="serial")
    assert said("verify").startswith("nothing is damaged; 3 results and 0 snapshots, ")
    (store / "checkpoint" / choose.name / "ab").mkdir()
    (store / "checkpoint" / choose.name / "ab" / "1.val").write_bytes(b"left")
    path = store / "checkpoint" / choose.name / "cache.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE Cache SET value = x'00' WHERE key LIKE '{\"k\":1,\"n\":2%'")
    result = ask("verify")
    first, second, last = result.stdout.splitlines()
    assert (1, "damaged: programs.choose(k=1, n=2): only 1 bytes are left") == (result.exit_code, first)
    assert second.startswith("left behind: ")
    assert last.startswith("1 damaged; 3 results")
    told = json.loads(ask("verify", "--json").stdout)
    assert (1, [True, False]) == (told["damage"], [each["is_damage"] for each in told["problems"]])


def test_gc_tells_before_it_removes(project: Path) -> None:
    """What would go is told with its size, and goes only with --apply. [T7]"""
    choose(3, 1).run(executor="serial")
    assert said("gc").startswith("nothing to remove; ")
    told = said("gc", "--task", "programs.*", "--keep", "programs:choose(1, 1)")
    header, *rows, last = told.splitlines()
    assert (["size", "took", "stored", "result"], 4) == (header.split(), len(rows))
    assert last.startswith("4 results and 0 leftovers, ")
    assert last.endswith("--apply removes them")
    assert said("gc", "--keep", "programs:choose(1, 1)", "--apply").splitlines()[-1].startswith("removed 4 results")
    found = json.loads(said("gc", "--larger-than", "1B", "--max-size", "0B", "--json"))
    assert (["programs.choose(k=1, n=1)"], False) == ([each["what"] for each in found["values"]], found["is_applied"])


@pytest.mark.parametrize(
    ("text", "found"), [("90s", 1), ("1.5 h", 0), ("30d", 0), ("0min", 1), ("x", None), ("3", None), ("3y", 0)]
)
def test_gc_reads_times(text: str, found: int | None) -> None:
    """A time has a unit; any other text is an error that shows one."""
    choose(0, 0).run(executor="serial")
    result = ask("gc", "--older-than", text.replace("90s", "0.0s"), "--json")
    if found is None:
        assert 2 == result.exit_code
        assert re.search("is no time; write|has no unit; write", result.stderr)
    else:
        assert found == len(json.loads(result.stdout)["values"])


@pytest.mark.parametrize(
    ("text", "found"), [("1B", 1), ("0.05kB", 1), ("1 KiB", 0), ("1TB", 0), ("-1B", None), ("1X", None)]
)
def test_gc_reads_sizes(text: str, found: int | None) -> None:
    """A size has a unit, decimal or binary."""
    choose(0, 0).run(executor="serial")
    result = ask("gc", f"--larger-than={text}", "--json")
    if found is None:
        assert (2, True) == (result.exit_code, "is no size; write a number with B, KB" in result.stderr)
    else:
        assert found == len(json.loads(result.stdout)["values"])


def test_gc_removes_what_older_code_made(project: Path) -> None:
    """TASKS are those whose present code counts."""
    choose(1, 1).run(executor="serial")
    assert said("gc", "--superseded", "programs:choose").startswith("nothing to remove")


@pytest.mark.usefixtures("impatient")
def test_gc_does_nothing_while_a_run_goes_on(store: Path) -> None:
    """The line says so, and the exit code is 1. [T7]"""
    choose(1, 1).run(executor="serial")
    with checkpoint.store.current_store().using():
        result = ask("gc", "--max-size", "0B", "--apply")
    assert (1, True) == (result.exit_code, "a run is using it, so nothing was removed" in result.stderr)
    assert choose(1, 1).is_cached()


def test_the_help_of_all_commands_has_their_own_first_line() -> None:
    """`checkpoint --help`, which imports no command, tells of each what it tells of itself."""
    told = said("--help").partition("\nCommands:\n")[2].split()
    group = click.Context(main)
    own = ((name, main.get_command(group, name)) for name in main.list_commands(group))
    expected = [(name, command.get_short_help_str(200).removesuffix(".") + ".") for name, command in own if command]
    assert " ".join(f"{name} {text}" for name, text in expected) == " ".join(told)


def test_an_unknown_command_is_one_line_that_names_a_close_one() -> None:
    """The exit code is 2."""
    result = ask("lst")
    assert 2 == result.exit_code
    assert "Error: there is no command 'lst'; did you mean 'ls'?" in result.stderr


@pytest.mark.parametrize(("words", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_the_reference_names_every_command_and_option(words: str, command: click.Command) -> None:
    """docs/reference.md has a row for each."""
    section = REFERENCE.partition("## On the command line")[2].partition("\n## ")[0]
    names = [name for parameter in command.params if isinstance(parameter, click.Option) for name in parameter.opts]
    assert [name for name in [words, *names] if f"`{name}" not in section] == []
