"""The examples in the help of each command, each typed into a shell in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from projects import write

import checkpoint
from checkpoint.cli import main

PACKAGE = Path(checkpoint.__file__).parent.parent

FIT = """
from checkpoint import memo


@memo
def load(fold: int) -> list:
    return [fold] * 3


@memo
def fit(fold: int, alpha: float = 0.5) -> dict:
    return {"loss": alpha * fold}


@memo
def total(parts: list) -> float:
    return sum(part["loss"] for part in parts)


@memo
def report() -> str:
    return "done"
"""
BINOMIALS = """
from checkpoint import requires, task


@task
def choose(n: int, k: int):
    if 0 < k < n:

        @requires([choose(n - 1, k - 1), choose(n - 1, k)])
        def run_task(prev_two):
            return sum(prev_two)

    else:

        def run_task():
            return 1

    return run_task
"""
#: What is there before the examples are typed in.
BEFORE = """
from checkpoint import run
import binomials, train
from study import tasks

run([train.total([train.fit(n) for n in range(3)]), train.fit(3), binomials.choose(4, 2), tasks.total(3)])
"""
#: Examples that find nothing here, as nothing is a month old and no code was edited.
FIND_NOTHING = ("checkpoint ls fit 'age>30d'", "checkpoint clear fit 'age>30d'", "checkpoint accept")


def examples() -> list[str]:
    """Return the line of every example but those of flows and ui, which have tests of their own."""
    context = click.Context(main)
    found = []
    for name in ["", *main.list_commands(context)]:
        command: click.Command | None = main if not name else main.get_command(context, name)
        assert command is not None
        _, _, below = (command.help or "").partition("Example")
        lines = [line.strip() for line in below.splitlines() if line.strip().startswith("checkpoint ")]
        assert lines, f"{name} has no example"
        found += [line for line in lines if not line.startswith(("checkpoint flows", "checkpoint ui"))]
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the modules that the examples name, and run some of them; the folder."""
    folder = tmp_path_factory.mktemp("project")
    tasks = "from train import fit, total as _total\nfrom checkpoint import memo\n@memo\ndef total(n: int): return n\n"
    write(folder, {"train.py": FIT, "binomials.py": BINOMIALS, "study/train.py": FIT, "study/tasks.py": tasks})
    write(folder, {"study/__init__.py": "", "before.py": BEFORE, "bin/checkpoint": ""})
    script = f'#!/bin/sh\nexec {sys.executable} -W error -m checkpoint "$@"\n'
    (folder / "bin" / "checkpoint").write_text(script)
    (folder / "bin" / "checkpoint").chmod(0o700)
    (folder / ".config" / "fish" / "completions").mkdir(parents=True)
    shell(folder, f"{sys.executable} before.py && checkpoint export best.zip train.fit fold=3")
    reported = "import binomials as b; b.choose(5, 2).run(report='1.html'); b.choose(6, 2).run(report='2.html')"
    shell(folder, f'{sys.executable} -c "{reported}"')
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, so that no example depends on what another one did."""
    return shutil.copytree(made, tmp_path / "project")


def shell(folder: Path, line: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Run a line in a shell, in a folder that is also the home."""
    environment = {name: text for name, text in os.environ.items() if name != "CP_CACHE_DIR"}
    path = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    environment |= {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, input=answer, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("line", examples())
def test_an_example_of_the_help_works(project: Path, line: str) -> None:
    """What the help shows can be typed in as it is; a question is answered with yes."""
    done = shell(project, line, answer="y\n")
    assert "Traceback" not in done.stderr
    if line.startswith(FIND_NOTHING):
        assert 1 == done.returncode
        assert re.match(
            r"no call of 'fit' is stored that meets all filters\n|nothing to accept", done.stderr + done.stdout
        )
    else:
        assert (0, "") == (done.returncode, re.sub(r"(\d+ computed|and \d+ more).*\n", "", done.stderr))


def test_a_closed_pipe_is_no_error(project: Path) -> None:
    """Who reads only the first lines sees no traceback."""
    done = shell(project, "checkpoint ls choose --json | head -1")
    assert ("[\n", "") == (done.stdout, done.stderr)


def test_an_interrupt_is_one_line(project: Path) -> None:
    """A run that is stopped says so and has the exit code of one."""
    write(
        project,
        {"slow.py": "import os, signal\nfrom checkpoint import memo\n@memo\ndef f(x):\n    os.kill(os.getpid(), 2)\n"},
    )
    done = shell(project, "checkpoint run slow:f x=1 --executor serial")
    assert ("", 1) == (done.stdout, done.returncode)
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("Aborted!\n")
