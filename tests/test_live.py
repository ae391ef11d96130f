"""The live view as a person sees it: real programs on a pseudo-terminal, and in a log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from terminal import ROOT, Terminal

STUDY = """
import sys, time
from pathlib import Path
from checkpoint import memo, run

@memo
def load(part: int) -> int:
    return part

@memo(pool="gpu")
def fit(data: int, folder: str) -> int:
    print("fitting", data, flush=True)
    while not Path(folder, f"go-{data}").exists():
        time.sleep(0.005)
    if data == 1:
        raise ValueError("singular\\x1b[2J matrix")
    return data

if __name__ == "__main__":
    try:
        run([load(i) for i in range(4)] + [fit(i, sys.argv[1]) for i in range(4)], max_workers=2, on_error="continue")
    except* ValueError:
        print("the end")
"""

MANY = """
import sys, time
from pathlib import Path
from checkpoint import memo, run

def stage(number):
    def compute(folder: str) -> int:
        while number >= 2 and not Path(folder, "go").exists():
            time.sleep(0.005)
        return number
    return memo(name=f"study.preparation.stage_{number:02}")(compute)

if __name__ == "__main__":
    run([stage(i)(sys.argv[1]) for i in range(40)], max_workers=2)
    print("the end")
"""

ALONE = """
import sys, time
from pathlib import Path
from checkpoint import memo, run

@memo
def train(folder: str) -> int:
    print("epoch 1")
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    print("epoch 2")
    return 1

if __name__ == "__main__":
    run(train(sys.argv[1]))
    print("the end")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose files tell tasks to go on."""
    made = tmp_path / "marks"
    made.mkdir()
    return made


def program(tmp_path: Path, text: str) -> Path:
    """Write a program."""
    file = tmp_path / "study.py"
    file.write_text(text)
    return file


def let_go(folder: Path, *names: str) -> None:
    """Tell tasks to go on."""
    for name in names:
        (folder / name).touch()


def only(lines: Sequence[str], part: str) -> str:
    """Return the one line that has a part."""
    (found,) = [line for line in lines if part in line]
    return found


@pytest.mark.parametrize("columns", [80, 120])
def test_a_run_shows_what_it_does_while_it_does_it(columns: int, tmp_path: Path, folder: Path) -> None:
    """Bars by task, what runs and for how long, which limit holds back how many, and a failure when it happens."""
    with Terminal(program(tmp_path, STUDY), str(folder), columns=columns) as terminal:
        lines = terminal.wait_for("3 wait for pool gpu: 1 at a time", "fitting 0", "4 computed")
        assert "4/4  4 computed" in only(lines, "study.load")
        assert "0/4  1 running" in only(lines, "study.fit ")
        assert (columns == 120) == ("  process " in only(lines, "fit(data=0, "))
        let_go(folder, "go-0", "go-1")
        lines = terminal.wait_for("ValueError", "2/4", "fitting 2")
        assert "singular [2J matrix" in "".join(lines)
        let_go(folder, "go-2", "go-3")
        assert 0 == terminal.wait_for_end()
        lines = terminal.lines
        assert "4/4  3 computed 1 failed" in only(lines, "study.fit ")
        assert "8 of 8 done" in only(lines, " done,")
        assert "the end" in lines


def test_what_workers_print_stays_on_the_screen_above_the_picture(tmp_path: Path, folder: Path) -> None:
    """Lines that worker processes write are in order, above the bars, and none is lost."""
    with Terminal(program(tmp_path, STUDY), str(folder)) as terminal:
        terminal.wait_for("fitting 0", "wait for pool gpu")
        let_go(folder, "go-0", "go-1", "go-2")
        lines = terminal.wait_for("fitting 3", "3/4")
        printed = [line for line in lines if line.startswith("fitting")]
        assert ["fitting 0", "fitting 1", "fitting 2", "fitting 3"] == printed
        assert lines.index("fitting 3") < lines.index(only(lines, "study.load"))
        let_go(folder, "go-3")
        assert 0 == terminal.wait_for_end()
        assert printed == [line for line in terminal.lines if line.startswith("fitting")]


def test_the_picture_follows_the_size_of_the_terminal(tmp_path: Path, folder: Path) -> None:
    """After a resize there is one picture, as wide as the terminal, and the output above it goes on."""
    with Terminal(program(tmp_path, STUDY), str(folder), columns=120, rows=30) as terminal:
        terminal.wait_for("process ", "3 wait for pool gpu")
        terminal.resize(60, 16)
        let_go(folder, "go-0")
        terminal.wait_for("5 of 8 done")
        terminal.resize(100, 40)
        let_go(folder, "go-1")
        lines = terminal.wait_for("6 of 8 done", "fitting 2")
        assert "4/4  4 computed" in only(lines, "study.load")
        let_go(folder, "go-2", "go-3")
        assert 0 == terminal.wait_for_end()
        assert "8 of 8 done" in only(terminal.lines, " of 8 done")


def test_forty_tasks_fit_on_a_small_screen(tmp_path: Path, folder: Path) -> None:
    """Tasks that run come first, the others are counted; half of the screen is left to output."""
    with Terminal(program(tmp_path, MANY), str(folder), rows=24) as terminal:
        lines = terminal.wait_for("more tasks", "2 of 40 done", "2 running")
        assert 16 >= sum(bool(line) for line in lines)
        bars = [line for line in lines if "stage_" in line and "/1" in line]
        assert all("1 running" in line for line in bars[:2])
        assert "more tasks" in lines[lines.index(bars[-1]) + 1]
        let_go(folder, "go")
        assert 0 == terminal.wait_for_end()
        assert "the end" in terminal.lines


def test_one_instance_in_the_thread_of_the_run_is_shown_while_it_runs(tmp_path: Path, folder: Path) -> None:
    """A runner that keeps the thread of the run busy is shown with its time all the same, below what it prints."""
    with Terminal(program(tmp_path, ALONE), str(folder)) as terminal:
        lines = terminal.wait_for("epoch 1", "train(folder=", "  2.")
        assert lines.index("epoch 1") < lines.index(only(lines, "study.train"))
        let_go(folder, "go")
        assert 0 == terminal.wait_for_end()
        assert ["epoch 1", "epoch 2"] == [line for line in terminal.lines if line.startswith("epoch")]
        assert "1/1  1 computed" in only(terminal.lines, "study.train")


def test_the_whole_screen_scrolls_again_when_a_run_is_over(tmp_path: Path) -> None:
    """The rows of the picture are given back, and what follows is written below its last state."""
    text = ALONE.replace('print("the end")', 'print(*range(30), sep="\\n")').replace("while not", "while False and not")
    slow = text.replace('print("epoch 2")', "time.sleep(0.7)")
    with Terminal(program(tmp_path, slow), str(tmp_path), rows=12) as terminal:
        assert 0 == terminal.wait_for_end()
        assert [str(number) for number in range(19, 30)] == terminal.lines[:11]


def in_a_log(program: Path, folder: Path) -> tuple[int, str]:
    """Run a program whose standard error is a file; return its status and what it wrote there."""
    with open(folder / "log", "w") as log:
        command = [sys.executable, str(program), str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=log, timeout=60, env=environment).returncode
    return status, (folder / "log").read_text()


def test_a_log_has_lines(tmp_path: Path, folder: Path) -> None:
    """Without a terminal, progress is lines: how it stands now and then, each failure, and the counts at the end."""
    text = STUDY.replace("on_error", "progress=True, on_error").replace(
        'Path(folder, f"go-{data}").exists()', '"checkpoint: " in Path(folder, "log").read_text()'
    )
    status, log = in_a_log(program(tmp_path, text), folder)
    assert 0 == status
    lines = log.splitlines()
    assert "checkpoint: 4 of 8 done, 4 computed, 1 running" == lines[0]
    assert "\x1b" not in log
    assert "ValueError: singular [2J matrix" in only(lines, "checkpoint: fit(")
    assert "4/4  3 computed 1 failed" in only(lines, "study.fit ")


def test_a_log_stays_empty_unless_lines_are_asked_for(tmp_path: Path, folder: Path) -> None:
    """Nothing is written where nobody asked and nobody looks."""
    let_go(folder, *(f"go-{i}" for i in range(4)))
    assert (0, "") == in_a_log(program(tmp_path, STUDY), folder)
