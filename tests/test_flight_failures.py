"""Attempts that fail or take too long while another run waits for their claim. Letters in brackets name promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import checkpoint

WAIT_S = 60

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these tests need the locks of Linux")

PROGRAM = """
    import os, signal, sys, time
    from pathlib import Path
    from checkpoint import memo, run_report
    from checkpoint.events import Observer

    def attempt():
        "Note an attempt; tell whether it is the first one of all programs."
        with open("attempts", "a") as file:
            file.write("attempt\\n")
        try:
            Path("first").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def wait_for_other():
        while not list(Path().glob("parked-*")):
            time.sleep(0.005)

    @memo(retries=1)
    def fails():
        if attempt():
            wait_for_other()
            raise ConnectionError
        return "value"

    @memo(retries=1, timeout=5.0)
    def sleeps():
        if attempt():
            time.sleep(600)
        return "value"

    @memo(retries=1, timeout=2.0)
    def hangs():
        if attempt():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(600)
        return "value"

    class Watch(Observer):
        def notify(self, event):
            if event.kind.value == "parked":
                Path(f"parked-{os.getpid()}").touch()

    if __name__ == "__main__":
        wanted = {"fails": fails, "sleeps": sleeps, "hangs": hangs}[sys.argv[1]]()
        report = run_report(wanted, executor=sys.argv[2], observers=[Watch()])
        told = report.value if not report.failures else [type(error).__name__ for error in report.failures.values()]
        print(told, report.computed, report.found)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the program above."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parents[1])}

    def start_program(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "program.py", *args],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start_program
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def outcome(process: subprocess.Popen[str]) -> str:
    """Wait for a program, which must succeed without a word on stderr; return its line."""
    out, err = process.communicate(timeout=WAIT_S)
    assert (0, "") == (process.returncode, err)
    return out.strip()


def until(path: Path) -> None:
    """Wait until a file exists; fail if it never does."""
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("fails", "serial"),
        ("fails", "threads"),
        ("fails", "processes"),
        ("sleeps", "processes"),
        ("hangs", "processes"),
    ],
)
def test_an_attempt_that_fails_gives_its_claim_back(
    how: str, kind: str, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """After an attempt that failed or timed out, whoever comes first makes the next one, and the other gets its result.

    A runner that can't be stopped takes its process along, and counts as an attempt that timed out. [T3]
    """
    first = start(how, kind)
    until(tmp_path / "first")
    second = start(how, kind)
    until(tmp_path / f"parked-{second.pid}")
    outcomes = sorted([outcome(first), outcome(second)])
    got, made = "value 0 1", "value 1 0"
    assert [got, made] == outcomes
    assert ["attempt", "attempt"] == (tmp_path / "attempts").read_text().split()
