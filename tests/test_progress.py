"""The bars that a person sees while a run goes on."""

from __future__ import annotations

import io
import sys

import pytest
from programs import fail, square, total
from rich.console import Console

from checkpoint import run, run_report
from checkpoint.observe.progress import Progress, is_interactive


def shown(**options: object) -> str:
    """Run something with every outcome and return the last picture."""
    square(1).run(executor="serial")
    console = Console(file=io.StringIO(), width=100)
    wanted = [total([square(i) for i in range(5)]), total([fail("x")])]
    run_report(wanted, executor="serial", on_error="continue", observers=[Progress(console)])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_task_has_a_line_with_its_counts() -> None:
    """Computed, hit, failed and skipped instances are counted apart, with rate."""
    lines = {line.split()[0]: " ".join(line.split()) for line in shown().splitlines() if line.strip()}
    assert "5/5 4 computed 1 hit" in lines["programs.square"]
    assert "1/1 1 failed" in lines["programs.fail"]
    assert "2/2 1 computed 1 skipped" in lines["programs.total"]
    assert "/s" in lines["programs.square"]


def test_nothing_is_shown_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is no bar unless it is asked for."""
    run(square(1), executor="serial")
    assert ("", "") == tuple(capfd.readouterr())
    run(square(1), executor="serial", progress=False)
    assert ("", "") == tuple(capfd.readouterr())
    run(square(1), executor="serial", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "programs.square" in err


def test_a_terminal_is_interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on standard error gets bars; a program without standard error does not."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert is_interactive()
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_interactive()


def test_a_notebook_is_interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook bars are shown, whatever standard error is."""

    class ZMQInteractiveShell:
        pass

    class IPython:
        @staticmethod
        def get_ipython() -> ZMQInteractiveShell:
            return ZMQInteractiveShell()

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    assert is_interactive()
