"""The commands `checkpoint flows`: on histories made here, and on a flow in real processes that fails and is mended."""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from projects import write

import checkpoint
from checkpoint.cli import main
from checkpoint.journal import Journal, Snapshot, journal_at

PACKAGE = Path(checkpoint.__file__).parents[1]
LARGE = b"large" * 60_000
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")

PRICES = """
from checkpoint.flows.linear import CheckpointFlow

flow = CheckpointFlow("prices.state")


class Model:
    def __repr__(self):
        return "Model()"


@flow.add_step
def load(state, data):
    print("load")
    state["rows"] = 3


@flow.add_step
def fit(state, data):
    print("fit")
    state["rows"] -= 1
    state["model"] = Model()


@flow.add_step
def report(state, data):
    print("report on", state["rows"])
    raise ValueError("tomorrow")


if __name__ == "__main__":
    flow.run({})
"""
MENDED = PRICES.replace('    raise ValueError("tomorrow")\n', "")
#: Flows of another kind, which tell what they are called with, and things that are no flows.
VOYAGES = """
class Flow:
    def run(self, **options):
        print(sorted(options.items()))


class Stepped(Flow):
    step_names = ["a", "b", "7"]


class Strict:
    def run(self):
        pass


def failing():
    raise KeyboardInterrupt


flow, stepped, strict = Flow(), Stepped(), Strict()
stopped = Flow()
stopped.run = failing
number = 3
"""


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a command imports; lines are as wide as without a terminal."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "100")
    yield
    for name in ("voyages", "models"):
        sys.modules.pop(name, None)


@pytest.fixture
def journal(store: Path) -> Iterator[Journal]:
    """Return the journal of the test's own store."""
    found = journal_at()
    yield found
    found.close()


@pytest.fixture
def history(journal: Journal) -> Journal:
    """Keep three snapshots of a finished run of f, two of an interrupted one, and one run of g."""
    states: list[dict[str, object]] = [{"n": 0}, {"n": 1, "large": LARGE}, {"n": 2, "large": LARGE}]
    for flow, run, count in (("f", "a" * 20 + "0" * 12, 3), ("f", "a" * 20 + "1" * 12, 2), ("g", "nightly", 1)):
        recorder = journal.begin(flow, run_id=run)
        for index in range(count):
            status, step = "finished" if index == 2 else "running", f"s{index}" if index else None
            recorder.append(states[index], index=index, step=step, status=status, metadata={"n": index, "flow": flow})
    return journal


def ask(*arguments: str, answer: str | None = None) -> Result:
    """Run a command below `flows` in this process."""
    return CliRunner().invoke(main, ["flows", *arguments], input=answer)


def said(*arguments: str, answer: str | None = None) -> list[str]:
    """Run a command in this process and return the lines it prints; it must succeed and print no error."""
    result = ask(*arguments, answer=answer)
    assert (0, "") == (result.exit_code, result.stderr)
    return result.stdout.splitlines()


def listed(*arguments: str) -> list[int]:
    """Return the numbers of the snapshots that `list` shows."""
    return [int(line.split()[0]) for line in said("list", *arguments) if TIME.search(line)]


def sql(journal: Journal, statement: str, *values: object) -> None:
    """Change the journal's tables behind its back."""
    connection = sqlite3.connect(Path(journal.folder) / "journal.db")
    try:
        with connection:
            connection.execute(statement, values)
    finally:
        connection.close()


def lose_values(journal: Journal) -> None:
    """Remove or damage every value."""
    for file in Path(journal.folder).glob("blobs/*/*"):
        file.unlink()
    sql(journal, "UPDATE blob SET data = x'00' WHERE data IS NOT NULL")


# --- list ------------------------------------------------------------------------------------------------


def test_list_has_the_newest_snapshot_of_each_run_by_flow(history: Journal) -> None:
    """Columns are aligned, times are those of the commits, and long ids are cut where no other begins alike."""
    at = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.stored_at)) for each in history.snapshots()]
    header = "  snapshot  from  run                    status    time                      size  step"
    assert [
        "f",
        header,
        f"         3     -  {'a' * 20}0  finished  {at[2]}  293.1 KiB  s2",
        f"         5     -  {'a' * 20}1  running   {at[4]}  293.1 KiB  s1",
        "",
        "g",
        header,
        f"         6     -  nightly                running   {at[5]}       88 B  -",
    ] == said("list")


def test_list_shows_where_runs_and_snapshots_come_from(history: Journal) -> None:
    """A fork names the snapshot that it started from; with --snapshots, each names the one before it."""
    fork = history.begin("f", source=history.snapshot(2), run_id="forked")
    fork.append({"n": 5}, index=2, step="s2")
    runs = [line.split()[:3] for line in said("list", "--flow", "f")[2:]]
    assert ["7", "2", "forked"] == runs[-1]
    parents = [line.split()[:2] for line in said("list", "--flow", "f", "--snapshots")[2:]]
    assert [["1", "-"], ["2", "1"], ["3", "2"], ["4", "-"], ["5", "4"], ["7", "2"]] == parents


def test_list_conditions_are_on_the_newest_snapshots_or_on_all(history: Journal) -> None:
    """Each condition alone, and several together; runs go by the beginning of their id."""
    run = "a" * 20 + "1"
    assert ([3, 5, 6], [1, 2, 3, 4, 5, 6]) == (listed(), listed("--snapshots"))
    assert ([5, 6], [1, 2, 4, 5, 6]) == tuple(listed("--status", "running", *all_) for all_ in ([], ["--snapshots"]))
    assert ([5], [2, 5]) == tuple(listed("--step", "s1", *all_) for all_ in ([], ["--snapshots"]))
    assert ([3, 5], [6]) == (listed("--flow", "f"), listed("--run", "n"))
    assert [5] == listed("--run", run) == listed("--flow", "f", "--status", "running")
    assert [5] == listed("--metadata", "n=1") == listed("--metadata", "n=1", "--metadata", "flow=f")
    assert [6] == listed("--metadata", "flow=g") == listed("--metadata", 'flow="g"')


def test_times_are_local(history: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown can be given: a day, a minute or a second, from its begin or until its end."""
    for snapshot, day in ((3, 0), (5, 1), (6, 2)):
        sql(history, "UPDATE snapshot SET stored_at = ? WHERE id = ?", 1793491200.5 + day * 86400, snapshot)
    monkeypatch.setenv("TZ", "XYZ-05:30")
    time.tzset()
    try:
        shown = [TIME.findall(line)[0] for line in said("list") if TIME.search(line)]
        assert ["2026-11-01 05:30:00", "2026-11-02 05:30:00", "2026-11-03 05:30:00"] == shown
        assert [5, 6] == listed("--since", "2026-11-02") == listed("--since", shown[1])
        assert [3, 5] == listed("--until", "2026-11-02") == listed("--until", shown[1].replace(" ", "T"))
        assert [5] == listed("--since", "2026-11-02T05:30", "--until", "2026-11-02T05:30")
        assert [3] == listed("--until", "2026-11-02T05:29")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_flow_goes_by_any_path_of_its_file(journal: Journal, tmp_path: Path) -> None:
    """A relative path is taken from the current folder."""
    journal.begin(str(tmp_path / "a.state")).append({}, index=0)
    assert [1] == listed("--flow", "a.state") == listed("--flow", str(tmp_path / "a.state"))


def test_looking_makes_nothing(store: Path) -> None:
    """Where there is no journal, that is said, with exit code 1 where something was to be found."""
    here = str(store)
    assert (1, f"there are no flows in {here}\n") == (ask("list").exit_code, ask("list").stdout)
    assert (1, "there are no flows in elsewhere\n") == (
        ask("list", "--store", "elsewhere").exit_code,
        ask("list", "--store", "elsewhere").stdout.replace(f"{os.getcwd()}/", ""),
    )
    assert ["nothing is damaged in 0 snapshots of 0 runs of 0 flows"] == said("verify")
    assert ["nothing to delete"] == said("prune")
    assert [] == list(store.parent.iterdir())


def test_list_of_nothing_that_is_meant(history: Journal) -> None:
    """The exit code is 1."""
    result = ask("list", "--status", "none")
    assert (1, "no snapshot meets all conditions\n", "") == (result.exit_code, result.stdout, result.stderr)


# --- show and diff ---------------------------------------------------------------------------------------


def forked(journal: Journal) -> Snapshot:
    """Fork from snapshot 2 and return the fork's first one."""
    recorder = journal.begin("f", source=journal.snapshot(2), run_id="fork", metadata={"steps": ["s1"]})
    return recorder.append({"n": 1, "large": LARGE}, index=1, step="s1", is_exported=True)


def test_show_has_facts_and_sizes(history: Journal) -> None:
    """Whose it is, what it follows, what it cost, and each key with the size of its value."""
    snapshot = forked(history)
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(snapshot.stored_at))
    assert [
        "snapshot 7 of f",
        "  run         fork",
        f"  follows     snapshot 2, of run {'a' * 20}{'0' * 12}",
        "  step        s1",
        "  complete    1 step",
        "  status      running",
        f"  time        {at}",
        "  size        293.1 KiB, of which 0 B were new",
        "  exported    yes",
        '  of the run  {"steps": ["s1"]}',
        "",
        "       88 B  n",
        "  293.1 KiB  large",
    ] == said("show", "7")
    first = said("show", "1")
    assert ["  follows   no other", "  step      -", "  complete  0 steps"] == first[2:5]
    assert '  metadata  {"n": 0, "flow": "f"}' in first


def test_diff_has_keys_with_sizes_and_values_on_request(history: Journal) -> None:
    """Keys that were added, removed and changed; without a difference that is said."""
    history.begin("f", run_id="other").append({"n": 0, "large": [1, 2], "x": "text"}, index=0)
    assert [
        "            before  after  key",
        "added               102 B  x",
        "changed       88 B   88 B  n",
        "changed  293.1 KiB  103 B  large",
    ] == said("diff", "2", "7")
    with_values = said("diff", "--values", "7", "2")
    assert ["    before  'text'"] == [
        below for line, below in itertools.pairwise(with_values) if line.startswith("removed")
    ]
    assert ["    before  [1, 2]", f"    after   <300000 bytes: {LARGE[:20]!r}...>"] == with_values[-2:]
    assert ["snapshots 2 and 5 have the same state"] == said("diff", "2", "5")


def test_values_are_short(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, no wider than the terminal; of what is large, its shape."""
    monkeypatch.setenv("COLUMNS", "60")
    state = {
        "text": "two\nlines" * 30, "list": list(range(1000)), "small": np.arange(3), "array": np.zeros((1000, 7)),
        "bytes": bytearray(100_000), "nested": {"a": [{"b": "c" * 1000}]}, "odd": Odd(),
    }  # fmt: skip
    journal.begin("f").append(state, index=0)
    told = dict(line.split("  ")[-1].split(" = ") for line in said("show", "--values", "1") if " = " in line)
    assert ["text", "list", "small", "array", "bytes", "nested", "odd"] == list(told)
    assert ("[0, 1, 2, 3, 4, 5, ...]", "array([0, 1, 2])") == (told["list"], told["small"])
    assert ("<ndarray 1000 x 7 float64>", "odd in two lines") == (told["array"], told["odd"])
    assert told["bytes"].startswith("<100000 bytearray: bytearray(b'")
    assert [] == [line for line in said("show", "--values", "1") if len(line) > 60]


class Odd:
    """Has a text of several lines."""

    def __repr__(self) -> str:
        return "odd\n  in two\n lines"


def test_values_that_cannot_be_read_say_so(journal: Journal, tmp_path: Path) -> None:
    """The others are shown; a module of the current folder is found, one that is gone is named."""
    write(tmp_path, {"models.py": "class Fit:\n    def __repr__(self):\n        return 'a fit'\n"})
    sys.path.insert(0, str(tmp_path))
    import models  # type: ignore[import-not-found, unused-ignore]

    journal.begin("f").append({"n": 1, "fit": models.Fit()}, index=0)
    sys.path.remove(str(tmp_path))
    del sys.modules["models"]
    assert ["n = 1", "fit = a fit"] == [line.split("  ")[-1] for line in said("show", "--values", "1")[-2:]]
    del sys.modules["models"]
    (tmp_path / "models.py").unlink()
    first, second = said("show", "--values", "1")[-2:]
    assert first.endswith("n = 1")
    assert "fit = <not readable: " in second
    assert "No module named 'models'" in second


def test_no_command_but_verify_reads_values_unasked(history: Journal) -> None:
    """All the others work where every value is lost."""
    lose_values(history)
    assert [3, 5, 6] == listed()
    assert 13 == len(said("show", "3"))
    assert 3 == len(said("diff", "1", "3"))
    assert ["deleted 3 snapshots"] == said("prune", "--yes")[-1:]
    assert said("show", "--values", "3")[-1].endswith("large = <not readable: its file is missing>")


# --- prune, delete, verify -------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nothing_goes_without_a_yes(history: Journal, answer: str) -> None:
    """What would go and how much that frees is told first; the exit code is 1."""
    prune, delete = ask("prune", answer=answer), ask("delete", "f", answer=answer)
    assert (1, 1) == (prune.exit_code, delete.exit_code)
    assert [
        "snapshots  flow",
        "        3  f",
        "to delete: 3 snapshots of 2 runs of 1 flow; this frees 0 B of values",
    ] == (prune.stdout.splitlines()[:3])
    assert "to delete: 5 snapshots of 2 runs of 1 flow; this frees 293.2 KiB of values\n" in delete.stdout
    assert 6 == len(history.snapshots())


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ([], [3, 5, 6]),
        (["--keep", "2"], [2, 3, 4, 5, 6]),
        (["--flow", "g"], [1, 2, 3, 4, 5, 6]),
        (["--before", "2001-01-01"], [1, 2, 3, 4, 5, 6]),
        (["--before", "2001-01-02T10:00", "--flow", "f"], [2, 3, 4, 5, 6]),
    ],
)
def test_prune_deletes_old_snapshots(history: Journal, options: list[str], left: list[int]) -> None:
    """But the newest of each run, and what is not old enough; what stays is whole."""
    noon = time.mktime((2001, 1, 1, 12, 0, 0, 0, 0, 0))
    sql(history, "UPDATE snapshot SET stored_at = ? WHERE id = 1", noon)
    counts = {6: "nothing to delete", 5: "deleted 1 snapshot", 3: "deleted 3 snapshots"}
    assert said("prune", *options, answer="y\n")[-1].endswith(counts[len(left)])
    assert left == [snapshot.id for snapshot in history.snapshots()]
    assert [] == history.verify()


def test_delete_forgets_one_flow(history: Journal) -> None:
    """All of its snapshots and none of another flow."""
    assert "deleted 5 snapshots" == said("delete", "f", answer="y\n")[-1].removeprefix("Delete them? [y/N]: ")
    assert ["g"] == [run.flow for run in history.runs()]


def test_a_flow_that_runs_is_not_deleted(history: Journal) -> None:
    """The error names who runs it."""
    with history.lease("f"):
        result = ask("delete", "f", "--yes")
    assert (1, 6) == (result.exit_code, len(history.snapshots()))
    assert result.stderr.startswith(f"Error: flow f is being run by process {os.getpid()} ")


def test_verify_names_damage(history: Journal) -> None:
    """A line for each part of a snapshot that can't be read, and exit code 1."""
    assert ["nothing is damaged in 6 snapshots of 3 runs of 2 flows"] == said("verify")
    for file in Path(history.folder).glob("blobs/*/*.blob"):
        file.write_bytes(file.read_bytes()[:-1])
    result = ask("verify")
    assert (1, "") == (result.exit_code, result.stderr)
    places = [line.partition(" is damaged: large: ")[0] for line in result.stdout.splitlines()]
    assert [f"snapshot {n} of flow f" for n in (2, 3, 5)] == places
    assert ["nothing is damaged in 1 snapshot of 1 run of 1 flow"] == said("verify", "--flow", "g")


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("list --flow h", "there is no flow 'h'; f, g"),
        ("delete h --yes", "there is no flow 'h'; f, g"),
        ("verify --flow h", "there is no flow 'h'; f, g"),
        ("prune --flow h --yes", "there is no flow 'h'; f, g"),
        ("list --run b", "there is no run 'b'; look at what 'checkpoint flows list' shows"),
        ("list --run aa", f"there are 2 runs that begin with 'aa': {'a' * 20}{'0' * 12}, {'a' * 20}{'1' * 12}"),
        ("show 99", "there is no snapshot 99; look at the snapshots that the journal lists"),
        ("diff 1 99", "there is no snapshot 99; look at the snapshots that the journal lists"),
    ],
)
def test_what_is_not_there_is_one_line(history: Journal, command: str, problem: str) -> None:
    """The exit code is 1."""
    result = ask(*command.split())
    assert (1, "", f"Error: {problem}\n") == (result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("show one", "Invalid value for 'SNAPSHOT': 'one' is not a valid integer."),
        ("list --since yesterday", "Invalid value for '--since': 'yesterday' is no date; give it as 2026-11-01 or "),
        ("list --until 9999-12-31", "Invalid value for '--until': '9999-12-31' is no date; "),
        ("list --metadata n", "Invalid value for '--metadata': 'n' is not of the form key=value"),
        ("prune --keep 0", "Invalid value for '--keep': 0 is not in the range x>=1."),
        ("list --store s3x://bucket", "Invalid value for '--store': "),
    ],
)
def test_a_bad_option_is_a_usage_error(history: Journal, command: str, problem: str) -> None:
    """The option is named; the exit code is 2."""
    result = ask(*command.split())
    assert (2, "") == (result.exit_code, result.stdout)
    assert f"\nError: {problem}" in result.stderr


@pytest.mark.parametrize("command", ["list", "show 1", "diff 1 2", "verify", "prune", "delete f"])
def test_a_journal_that_cannot_be_read_is_one_line(history: Journal, command: str) -> None:
    """What is said is the error's own text."""
    history.close()
    Path(history.folder, "journal.db").write_bytes(b"this is no database" * 100)
    result = ask(*command.split())
    assert (1, "", 1) == (result.exit_code, result.stdout, result.stderr.count("\n"))
    assert result.stderr.startswith(f"Error: store in '{history.folder}' failed: ")


# --- resume ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "options", "given"),
    [
        ("voyages:flow", "", []),
        ("voyages:Flow()", "--fresh --on-change ignore", [("fresh", True), ("on_change", "ignore")]),
        ("voyages.py:flow", "--checkpoint anything", [("checkpoint", "anything")]),
        ("voyages:stepped", "--checkpoint b", [("checkpoint", "b")]),
        ("voyages:stepped", "--checkpoint 1", [("checkpoint", 1)]),
        ("voyages:stepped", "--checkpoint 7", [("checkpoint", "7")]),
    ],
)
def test_resume_calls_run_with_what_is_given(tmp_path: Path, target: str, options: str, given: list[Any]) -> None:
    """A flow is any object with a method `run`; a step that it knows goes by its name or its number."""
    write(tmp_path, {"voyages.py": VOYAGES})
    assert [f"{given}", f"{target} has finished"] == said("resume", target, *options.split())


@pytest.mark.parametrize(
    ("command", "exit_code", "problem"),
    [
        ("voyages", 2, "'voyages': name a flow as voyages:name; voyages has flow, stepped, strict, stopped"),
        ("voyages:", 2, "'voyages:': name a flow as voyages:name; voyages has flow, stepped, strict, stopped"),
        ("voyages:number", 2, "'voyages:number': int is no flow, which has a method run; voyages has flow, stepped, "),
        (
            "voyages:Flow",
            2,
            "'voyages:Flow': type 'Flow' is no flow, which has a method run; voyages has flow, stepped, ",
        ),
        ("voyages:nothing", 2, "'voyages:nothing': NameError: name 'nothing' is not defined"),
        ("nowhere:flow", 2, "'nowhere:flow': there is no module 'nowhere' in "),
        ("voyages:stepped --checkpoint c", 2, "Invalid value for '--checkpoint': there is no step 'c'; there are a, b"),
        ("voyages:stepped --checkpoint 3", 2, "Invalid value for '--checkpoint': there is no step '3'; there are a, b"),
        ("voyages:strict --fresh", 2, "Invalid value for '--fresh': flows such as voyages:strict have no such option"),
    ],
)
def test_a_bad_target_of_resume_says_what_there_is(tmp_path: Path, command: str, exit_code: int, problem: str) -> None:
    """Nothing is run."""
    write(tmp_path, {"voyages.py": VOYAGES})
    result = ask("resume", *command.split())
    assert (exit_code, "") == (result.exit_code, result.stdout)
    assert result.stderr.splitlines()[-1].startswith(f"Error: {problem}")


def test_an_interrupt_ends_resume(tmp_path: Path) -> None:
    """Ctrl-C reaches the flow, and the exit code is 1."""
    write(tmp_path, {"voyages.py": VOYAGES})
    result = ask("resume", "voyages:stopped")
    assert (1, "", "\nAborted!\n") == (result.exit_code, result.stdout, result.stderr)


# --- processes -------------------------------------------------------------------------------------------


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, in a process of its own, with its cache there."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    del environment["CP_CACHE_DIR"]
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def asked(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command below `flows` in a process of its own."""
    return python("-m", "checkpoint", "flows", *arguments, folder=folder)


def test_a_flow_that_failed_is_looked_at_mended_and_resumed(tmp_path: Path) -> None:
    """Its history tells where it stopped and what is in its state; after the edit only the failed step runs."""
    write(tmp_path, {"prices.py": PRICES})
    run = python("prices.py", folder=tmp_path)
    assert (1, "load\nfit\nreport on 2\n") == (run.returncode, run.stdout)
    first = asked("list", "--flow", "prices.state", folder=tmp_path).stdout
    assert ["3", "running", "fit"] == [first.splitlines()[2].split()[at] for at in (0, 3, -1)]
    shown = asked("show", "3", "--values", folder=tmp_path).stdout
    assert ['state["rows"] = 2', 'state["checkpoint_index"] = 2', 'state["model"] = Model()'] == [
        line.split("B  ")[-1] for line in shown.splitlines()[-3:]
    ]
    diff = asked("diff", "2", "3", folder=tmp_path).stdout
    assert [("added", 'state["model"]'), ("changed", 'state["rows"]'), ("changed", 'state["checkpoint_index"]')] == [
        (line.split()[0], line.split()[-1]) for line in diff.splitlines()[1:]
    ]
    failed = asked("resume", "prices.py:flow", folder=tmp_path)
    assert (1, "report on 2\n") == (failed.returncode, failed.stdout)
    assert "ValueError: tomorrow\nError: 'prices.py:flow': failed in your code, as shown above\n" in failed.stderr
    write(tmp_path, {"prices.py": MENDED})
    resumed = asked("resume", "prices.py:flow", folder=tmp_path)
    assert (0, "report on 2\nprices.py:flow has finished\n", "") == (
        resumed.returncode,
        resumed.stdout,
        resumed.stderr,
    )
    assert "finished" == asked("list", folder=tmp_path).stdout.splitlines()[2].split()[3]
    again = asked("resume", "prices.py:flow", "--checkpoint", "fit", folder=tmp_path)
    assert "fit\nreport on 2\nprices.py:flow has finished\n" == again.stdout


def test_a_flow_with_other_steps_is_resumed_as_asked(tmp_path: Path) -> None:
    """Without a word on it that is an error of one line; the answer is passed on."""
    write(tmp_path, {"prices.py": PRICES})
    python("prices.py", folder=tmp_path)
    write(tmp_path, {"prices.py": MENDED.replace("def report", "def tell")})
    changed = asked("resume", "prices.py:flow", folder=tmp_path)
    assert (1, "", 1) == (changed.returncode, changed.stdout, changed.stderr.count("\n"))
    assert changed.stderr.startswith(f"Error: 'prices.py:flow': flow {tmp_path / 'prices.state'} was saved with ")
    ignored = asked("resume", "prices.py:flow", "--on-change", "ignore", folder=tmp_path)
    assert "report on 2\nprices.py:flow has finished\n" == ignored.stdout
