"""The commands that look at a store and change it: what they print, what they leave, and how they refuse."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from programs import choose, square, total, writes_file
from projects import write

import checkpoint
from checkpoint import run
from checkpoint.cli import main
from checkpoint.store import current_store

SHAPES = """
import enum
from dataclasses import dataclass
from collections import namedtuple
from pathlib import Path

from checkpoint import memo


@dataclass
class Result:
    loss: float
    parts: list


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class Config:
    lr: float


Point = namedtuple("Point", "x y")


@memo
def fit(alpha: float, path: Path = Path("a/b.csv"), config: Config = Config(0.5), colour: Colour = Colour.RED):
    return Result(alpha * 2, [Point(1, 2), Colour.RED])


@memo
def odd(name: str):
    return name


@memo
def broken(x: int):
    raise KeyError(x)


@memo
def late(x: int = 3) -> dict:
    return {"x": x, "half": x / 2, "none": None}
"""


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a command imports."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("shapes_of_mine", None)


@pytest.fixture
def shapes(tmp_path: Path) -> Any:
    """Return a module of the user's in the current folder."""
    write(tmp_path, {"shapes_of_mine.py": SHAPES})
    sys.path.insert(0, str(tmp_path))
    import shapes_of_mine  # type: ignore[import-not-found]

    return shapes_of_mine


def ask(*arguments: str, answer: str | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, list(arguments), input=answer)


def said(*arguments: str) -> str:
    """Run the command in this process and return what it prints; it must succeed."""
    result = ask(*arguments)
    assert (0, "") == (result.exit_code, result.stderr)
    return result.stdout


def table(text: str) -> list[list[str]]:
    """Return the cells of plain columns."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


# --- ls --------------------------------------------------------------------------------------------------


def test_tasks_are_listed_with_what_they_hold() -> None:
    """Calls, entries, bytes, computing time, and how long ago the newest was stored."""
    run([choose(3, 2), square(1)], executor="serial")
    header, *rows = table(said("ls"))
    assert ["task", "calls", "entries", "size", "seconds", "newest"] == header
    assert [[choose.name, "5", "5"], [square.name, "1", "1"]] == [row[:3] for row in rows]
    told = json.loads(said("ls", "--json"))
    assert {"task", "calls", "entries", "size", "seconds", "oldest", "newest", "damaged"} == set(told[0])
    assert sum(call.size for call in choose.entries()) == told[0]["size"]


def test_the_calls_of_a_task_have_their_arguments_as_columns() -> None:
    """The newest comes first; numbers stand to the right."""
    run([square(1), square(200)], executor="serial")
    lines = said("ls", "square").splitlines()
    assert ["x", "seconds", "size", "code", "age"] == lines[0].split()
    assert {"  1  ", "200  "} == {line[:5] for line in lines[1:]}


def test_filters_sort_and_limit() -> None:
    """All filters hold; the rest is told on standard error."""
    run([square(n) for n in range(30)], executor="serial")
    rows = table(said("ls", "square", "x>4", "x<=20", "x!=7", "--sort=-x", "--limit", "0"))
    assert [str(n) for n in range(20, 4, -1) if n != 7] == [row[0] for row in rows[1:]]
    result = ask("ls", "square", "--sort", "x", "--limit", "3")
    assert (["0", "1", "2"], "and 27 more; --limit 0 shows all\n") == (
        [row[0] for row in table(result.stdout)[1:]],
        result.stderr,
    )


def test_json_and_csv_have_every_call() -> None:
    """They are not cut, and values keep their types."""
    run([square(n) for n in range(60)], executor="serial")
    told = json.loads(said("ls", "square", "--json", "--sort", "x"))
    assert (60, {"x": 0}) == (len(told), told[0]["arguments"])
    assert {"task", "arguments", "stored_at", "seconds", "size", "code"} == set(told[0])
    rows = list(csv.DictReader(io.StringIO(said("ls", "square", "--csv", "--sort", "x"))))
    assert ([str(n) for n in range(60)], square.name) == ([row["x"] for row in rows], rows[0]["task"])
    assert {"task", "x", "stored_at", "seconds", "size", "code"} == set(rows[0])


def test_arguments_of_the_users_own_classes_are_shown_without_them(shapes: Any) -> None:
    """Keys are text; no module is imported."""
    run([shapes.fit(0.5), shapes.fit(2, colour=shapes.Colour.RED)], executor="serial")
    del sys.modules["shapes_of_mine"]
    sys.path.remove(os.getcwd())
    rows = table(said("ls", "fit", "alpha=0.5", "colour=RED", "config.lr=0.5", "path~csv$"))
    assert ["0.5", "Colour.RED", "Config(lr=0.5)", "a/b.csv"] == rows[1][:4]
    assert "shapes_of_mine" not in sys.modules


@pytest.mark.parametrize(
    ("arguments", "exit_code", "problem"),
    [
        (["ls", "nope"], 2, "Error: there is no task 'nope' in {store}; it has programs.choose, programs.square\n"),
        (["ls", "squares"], 2, "Error: there is no task 'squares' in {store}; did you mean square?\n"),
        (["ls", "square", "y=3"], 2, "Error: y=3: there is no 'y'; there are x, stored_at, seconds, size, code, age\n"),
        (["ls", "square", "x"], 2, "Error: 'x' is no filter; write a name, one of = != < <= > >= ~ and a value, as "),
        (["ls", "square", "--sort", "y"], 2, "Error: there is no column 'y'; there are x, stored_at, seconds, "),
        (["ls", "--sort", "y"], 2, "Error: there is no column 'y'; there are task, calls, entries, size, seconds, "),
        (["ls", "square", "x=3"], 1, "no call of 'square' is stored that meets all filters\n"),
        (["ls", "programs:square(3)"], 1, "no call of 'programs:square(3)' is stored\n"),
        (["ls", "programs:square(3)", "x=3"], 2, "Error: 'programs:square(3)' is a target, which takes no filters; "),
        (["show", "square", "x=3"], 1, "no call of 'square' is stored that meets all filters\n"),
        (["show", "choose"], 2, "Error: 5 calls match; add filters until one is left:\n  programs.choose(k=0, n=1)\n"),
        (["clear", "square", "x=3"], 1, "no call of 'square' is stored that meets all filters\n"),
        (["export", "a.zip", "square", "x=3"], 1, "no call of 'square' is stored that meets all filters\n"),
        (["export", "no/a.zip", "square"], 1, "Error: Could not open file 'no/a.zip': No such file or directory\n"),
        (["graph", "square", "x=3"], 1, "no call of 'square' is stored that meets all filters\n"),
        (["graph", "square", "-o", "no/a.svg"], 1, "Error: Could not open file 'no/a.svg': No such file or directory"),
    ],
)
def test_what_cannot_be_found_is_one_line(arguments: list[str], exit_code: int, problem: str, store: Path) -> None:
    """Nothing found is exit code 1, what can't be meant 2; nothing is printed but the line."""
    run([choose(3, 2), square(1)], executor="serial")
    result = ask(*arguments)
    assert (exit_code, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith(problem.format(store=store))


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "square", "--json", "--csv"],
        ["ls", "--limit", "-1"],
        ["ls", "--limit", "x"],
        ["ls", "--nope"],
        ["show"],
        ["clear"],
        ["export", "a.zip"],
        ["import", "nowhere.zip"],
        ["graph", "square", "--format", "png"],
        ["run"],
        ["run", "programs:square", "--workers", "0"],
        ["completion", "tcsh"],
        ["ls", "--store", ""],
    ],
)
def test_a_bad_command_is_a_usage_error(arguments: list[str]) -> None:
    """The exit code is 2 and the last line says why."""
    result = ask(*arguments)
    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("command", [["ls"], ["du"], ["ls", "square"], ["show", "square"]])
def test_looking_makes_nothing(command: list[str], store: Path) -> None:
    """A store that isn't there stays away."""
    assert ask(*command).exit_code in (0, 1, 2)
    assert not store.exists()


def test_a_store_that_cannot_be_read_is_one_line(store: Path) -> None:
    """The error's own text is told; the exit code is 1."""
    square(1).run(executor="serial")
    current_store().close()
    (store / "checkpoint" / square.name / "cache.db").write_bytes(b"this is no database" * 100)
    for command in (
        ["ls"],
        ["ls", "square"],
        ["show", "square"],
        ["du"],
        ["clear", "square"],
        ["export", "a", "square"],
    ):
        result = ask(*command)
        assert (1, "") == (result.exit_code, result.stdout)
        assert result.stderr.startswith("Error: store in ")
        assert 1 == result.stderr.count("\n")


def test_two_tasks_with_one_last_name_are_told_apart(tmp_path: Path, shapes: Any) -> None:
    """More of the name is asked for; the full name always does."""
    write(tmp_path, {"other_shapes.py": "from checkpoint import memo\n@memo\ndef fit(x): return x\n"})
    import other_shapes  # type: ignore[import-not-found]

    run([shapes.fit(0.5), other_shapes.fit(1)], executor="serial")
    result = ask("ls", "fit")
    expected = "Error: there are 2 tasks 'fit': other_shapes.fit, shapes_of_mine.fit; give more of the name\n"
    assert (2, expected) == (result.exit_code, result.stderr)
    assert "1" == table(said("ls", "other_shapes.fit"))[1][0]


def test_odd_texts_stay_on_their_line(shapes: Any) -> None:
    """Nothing in an argument is obeyed by a terminal, and columns stay aligned."""
    names = ["", " ", "a\nb", "\x1b[31mred", "日本", "e\u0301", "x" * 500]
    run([shapes.odd(name) for name in names], executor="serial")
    lines = said("ls", "odd").splitlines()
    assert len(names) + 1 == len(lines)
    assert all(line.isprintable() for line in lines)
    assert len(json.loads(said("ls", "odd", "--json"))) == len(names)


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.stress)])
def test_many_calls_are_listed_soon(count: int) -> None:
    """Reading metadata costs microseconds an entry; nothing is decoded but what is shown."""
    from checkpoint import keys
    from checkpoint.codec import encode
    from checkpoint.store import Entry, Epoch, Write
    from checkpoint.version import row_of_entry

    frame, now = encode({"loss": 0.5}, "f"), time.time()
    writes = []
    for n in range(count):
        entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.1, now, frame.size)
        key = keys.encode({"alpha": n / 1000, "n": n})
        writes.append(Write(key, row_of_entry(key, entry), Epoch(0, 0), entry, frame))
    current_store().write("train.fit", writes)
    before = time.process_time()
    rows = [table(said("ls"))[1], table(ask("ls", "fit", "--limit", "5").stdout)[5][1:2]]
    assert time.process_time() - before < 1 + count / 20_000  # a sixth of that where nothing else runs
    assert ["train.fit", f"{count:,}", f"{count:,}"] == rows[0][:3]


# --- show ------------------------------------------------------------------------------------------------


def test_one_call_is_shown_with_all_that_is_known() -> None:
    """Arguments, value, time, size, code, origin and what it was computed from."""
    choose(3, 2).run(executor="serial")
    text = said("show", "choose", "n=3")
    facts = {line[:9].strip(): line[11:] for line in text.splitlines() if line[:9].strip()}
    assert ["task", "arguments", "value", "stored", "took", "size", "code", "origin", "from"] == list(facts)
    assert (choose.name, "k = 2", "3") == (facts["task"], facts["arguments"], facts["value"])
    assert f"           {choose.name}(k=2, n=2): " in text
    assert text == said("show", "programs:choose(3, 2)")
    deep = said("show", "choose", "n=3", "--depth", "2")
    assert f"             from {choose.name}(k=0, n=1): " in deep
    assert "def choose(n: int, k: int)" in said("show", "choose", "n=3", "--source")


def test_a_value_of_the_users_own_class_is_shown_without_it(shapes: Any) -> None:
    """Something stands in for classes that are not imported, and shows what they hold."""
    shapes.fit(0.5).run(executor="serial")
    del sys.modules["shapes_of_mine"]
    text = said("show", "fit")
    told = "value shapes_of_mine.Result(loss=1.0, parts=[shapes_of_mine.Point(1, 2), shapes_of_mine.Colour(1)])"
    assert told in " ".join(text.split())
    assert "shapes_of_mine" not in sys.modules


def test_a_call_as_json() -> None:
    """All facts under their names."""
    total([square(2)]).run(executor="serial")
    told = json.loads(said("show", "total", "--json"))
    assert (total.name, "4", [f"{square.name}(x=2)"], 1) == (
        told["task"],
        told["value"],
        told["upstream"],
        told["entries"],
    )
    assert {"host", "platform", "python"} == set(told["origin"])


def test_a_damaged_value_is_told(store: Path) -> None:
    """Looking sets nothing aside."""
    square(2).run(executor="serial")
    import sqlite3

    with sqlite3.connect(store / "checkpoint" / square.name / "cache.db") as connection:
        connection.execute("UPDATE Cache SET value = zeroblob(length(value)) WHERE key LIKE '{%'")
    connection.close()
    assert "value      <damaged: it does not start like an entry" in said("show", "square")
    assert "value      <damaged: " in said("show", "square")


# --- du --------------------------------------------------------------------------------------------------


def test_disk_usage_is_that_of_the_files(store: Path) -> None:
    """The parts add up to all files of the store."""
    run([square(1), writes_file("x" * 5000)], executor="serial")
    told = json.loads(said("du", "--json"))
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    assert size == told["total"] == sum(part["total"] for part in told["parts"])
    parts = {part["task"]: part for part in told["parts"]}
    assert (0, 5000) == (parts[square.name]["files"], parts[writes_file.name]["files"])
    rows = table(said("du"))
    assert (["task", "entries", "files", "total"], "total") == (rows[0], rows[-1][0])


# --- clear -----------------------------------------------------------------------------------------------


def test_clear_tells_asks_and_discards() -> None:
    """What a filter leaves goes; a run computes what hung below again."""
    choose(4, 2).run(executor="serial")
    result = ask("clear", "choose", "n=2", "k=1", answer="y\n")
    assert 0 == result.exit_code
    first, second, *_ = result.stdout.splitlines()
    assert first.startswith(f"1 of {choose.name}: 1 result, ")
    assert second == f"  {choose.name}(k=1, n=2)"
    assert "Discard these results? [y/N]: y\ndiscarded 1 result, " in result.stdout
    assert (False, 1, 3) == (choose(2, 1).is_cached(), len(choose(4, 2).plan().compute), len(choose(4, 2).plan().maybe))


@pytest.mark.parametrize("answer", ["n\n", ""], ids=["no", "nobody there"])
def test_clear_does_nothing_without_a_yes(answer: str) -> None:
    """The exit code is 1."""
    square(1).run(executor="serial")
    assert 1 == ask("clear", "square", answer=answer).exit_code
    assert square(1).is_cached()


def test_clear_downstream_discards_what_was_computed_from_it() -> None:
    """Both are told, and both go at once."""
    run([total([square(1), square(2)]), square(3)], executor="serial")
    text = said("clear", "square", "x=1", "--downstream", "--yes")
    assert f"computed from these, 1 of {total.name}: 1 result, " in text
    assert ([False, True, True], False) == (
        [square(n).is_cached() for n in (1, 2, 3)],
        total([square(1), square(2)]).is_cached(),
    )


def test_clear_of_a_whole_task_is_one_clear() -> None:
    """It counts for calls that aren't stored, too, as `Task.clear` does."""
    run([square(n) for n in range(8)], executor="serial")
    assert "  and 3 more\n" in said("clear", "square", "--yes")
    assert [] == list(square.entries())
    assert any(epoch.task for epoch in current_store().epochs(square.name, ['{"x":99}']))


def test_clear_takes_a_target() -> None:
    """Instances of several tasks may go together."""
    run([square(1), square(2), choose(1, 1)], executor="serial")
    said("clear", "programs:[square(1), choose(1, 1)]", "--yes")
    assert [False, True, False] == [each.is_cached() for each in (square(1), square(2), choose(1, 1))]


# --- run -------------------------------------------------------------------------------------------------


def test_run_computes_and_prints_the_value(shapes: Any) -> None:
    """The value goes to standard output, a summary to standard error."""
    result = ask("run", "programs:choose", "n=4", "2", "--executor", "serial")
    assert (2, "Error: 'programs:choose': ") == (result.exit_code, result.stderr[:26])
    result = ask("run", "programs:choose", "n=4", "k=2", "--executor", "serial")
    assert (0, "6\n") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("8 computed, 0 fresh in ")
    again = ask("run", "programs:choose(4, 2)")
    assert ("6\n", "0 computed, 8 fresh in ") == (again.stdout, again.stderr[:23])
    assert '{\n  "x": 3,\n  "half": 1.5,\n  "none": null\n}\n' == ask("run", "shapes_of_mine:late", "--json").stdout
    assert ("", "") == (ask("run", "shapes_of_mine:late", "-q").stdout, ask("run", "shapes_of_mine:late", "-q").stderr)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["programs:square"], "'programs:square': TypeError: programs.square(x: 'int') -> 'int': missing a required "),
        (["programs:square", "x=a"], "'programs:square': x=a: this is no int\n"),
        (["programs:square", "y=1"], "'programs:square': 'y=1': there is no parameter 'y'; there are x\n"),
        (["programs:square(1)", "x=1"], "'programs:square(1)': an expression takes no arguments; 'x=1' has no place\n"),
        (["programs:tripled"], "'programs:tripled': the expression must give a task, or task instances, or lists, "),
        (["programs"], "'programs': name a task as programs:name; programs has choose, chain, square, "),
        (["nowhere:f"], "'nowhere:f': there is no module 'nowhere' in "),
    ],
)
def test_run_of_what_cannot_be_is_one_line(arguments: list[str], problem: str) -> None:
    """The line names the target; the exit code is 2."""
    result = ask("run", *arguments)
    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith(f"Error: {problem}")
    assert 1 == result.stderr.count("\n")


def test_run_of_what_fails_shows_the_users_traceback(shapes: Any) -> None:
    """The exit code is 1; with `--continue` the rest is computed."""
    result = ask("run", "shapes_of_mine:broken", "x=1")
    assert (1, "") == (result.exit_code, result.stdout)
    assert "0 computed, 0 fresh, 1 failed in " in result.stderr
    assert "    raise KeyError(x)\nKeyError: 1\n" in result.stderr
    assert result.stderr.endswith("\nError: 'shapes_of_mine:broken': failed in your code, as shown above\n")
    result = ask("run", "shapes_of_mine:[broken(1), broken(2), late()]", "--continue", "--executor", "serial")
    assert (1, True) == (result.exit_code, "1 computed, 0 fresh, 2 failed in " in result.stderr)


def test_run_writes_a_page_on_the_run(tmp_path: Path) -> None:
    """With `--report`."""
    assert 0 == ask("run", "programs:square", "x=3", "--executor", "serial", "--report", "a.html").exit_code
    assert "square" in (tmp_path / "a.html").read_text(encoding="utf-8")


# --- graph, export, import -------------------------------------------------------------------------------


def test_a_graph_of_a_target_and_of_stored_calls(tmp_path: Path) -> None:
    """The form is that of the file's name, or the one that is asked for."""
    assert said("graph", "programs:choose(2, 1)").startswith('flowchart LR\n    n0["choose(n=1, k=0)"]:::due\n')
    choose(2, 1).run(executor="serial")
    assert f'label="{choose.name}(k=1, n=2)"' in said("graph", "choose", "n=2", "--format", "dot")
    assert "" == said("graph", "choose", "-o", "a.svg", "--by-task")
    assert (tmp_path / "a.svg").read_text().startswith("<svg ")
    assert f"{choose.name} (3)" in (tmp_path / "a.svg").read_text()


def test_a_graph_of_many_boxes_says_how_to_have_fewer() -> None:
    """The picture is made all the same."""
    result = ask("graph", "programs:[square(n) for n in range(400)]")
    assert (0, 401) == (result.exit_code, len(result.stdout.splitlines()) - 1)
    assert "400 boxes; --by-task draws one for each task\n" == result.stderr


def test_results_go_to_another_store(tmp_path: Path) -> None:
    """What was exported is fresh where it is imported."""
    run([choose(3, 2), square(5)], executor="serial")
    assert said("export", "a.zip", "choose", "n=3").startswith("wrote 5 results to a.zip, ")
    expected = f"imported 5 results: 5 of {choose.name}; 0 were there already\n"
    assert expected == said("import", "a.zip", "--store", "other")
    assert "imported 0 results; 5 were there already\n" == said("import", "a.zip", "--store", "other")
    assert 0 == len(choose(3, 2).plan(store=tmp_path / "other").compute)


def test_a_file_that_is_no_export_is_one_line(tmp_path: Path) -> None:
    """The exit code is 1."""
    (tmp_path / "a.zip").write_text("nothing")
    result = ask("import", "a.zip")
    assert (1, "Error: 'a.zip' is no complete export: File is not a zip file; export it again\n") == (
        result.exit_code,
        result.stderr,
    )


# --- starting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "own"), [("['--help']", "lazy"), ("['ls']", "chosen lazy listing options tables")]
)
def test_a_command_imports_no_other_one(arguments: str, own: str) -> None:
    """Nor any package that only other commands need."""
    run([square(1)], executor="serial")
    code = f"""
import sys
from checkpoint.cli import main
main({arguments}, standalone_mode=False)
print(*sorted(name.rpartition(".")[2] for name in sys.modules if name.startswith("checkpoint.cli.")))
print({{"pandas", "numpy", "dill", "zstandard", "rich", "fast_sugiyama", "zipfile"}} & set(sys.modules))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert [own, "set()"] == done.stdout.splitlines()[-2:]


# --- completion ------------------------------------------------------------------------------------------


def test_a_shell_completes_commands_and_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of tasks come from the store, also by their last part."""
    run([square(1), choose(1, 1)], executor="serial")

    def completed(line: str) -> list[str]:
        environment = {"_CHECKPOINT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        result = CliRunner().invoke(main, [], env=environment, prog_name="checkpoint")
        return [found.partition(",")[2] for found in result.stdout.splitlines()]

    assert ["clear", "completion"] == completed("checkpoint c")
    assert [square.name] == completed("checkpoint ls squ")
    assert [choose.name, square.name] == completed("checkpoint show pro")
    assert ["--downstream"] == completed("checkpoint clear x --d")
