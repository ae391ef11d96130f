"""The bars that a person sees while a run goes on."""

from __future__ import annotations

import io
import multiprocessing
import sys
import types
from concurrent.futures import ProcessPoolExecutor

import pytest
from programs import fail, square, total
from rich.console import Console

from checkpoint import memo, run, run_report
from checkpoint.events import Event, EventKind, RunBegun
from checkpoint.observe.picture import draw
from checkpoint.observe.progress import Progress
from checkpoint.observe.standing import Standing
from checkpoint.outcome import is_watched


def shown(**options: object) -> str:
    """Run something with every outcome and return the last picture."""
    square(1).run(executor="serial")
    console = Console(file=io.StringIO(), width=100)
    wanted = [total([square(i) for i in range(5)]), total([fail("x")])]
    run_report(wanted, executor="serial", on_error="continue", observers=[Progress(console)])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_task_has_a_line_with_its_counts() -> None:
    """Computed, hit, failed and skipped instances are counted apart, with the mean time."""
    lines = {line.split()[0]: " ".join(line.split()) for line in shown().splitlines() if line.strip()}
    assert "5/5 4 computed 1 hit" in lines["programs.square"]
    assert "1/1 1 failed" in lines["programs.fail"]
    assert "2/2 1 computed 1 skipped" in lines["programs.total"]
    assert " each" in lines["programs.square"]


@pytest.mark.parametrize("kind", ["fork", "forkserver"])
def test_nothing_is_running_at_the_end(kind: str) -> None:
    """However often instances went back to wait, the last picture has none that runs."""

    @memo
    def local(i: int) -> int:
        return i

    console = Console(file=io.StringIO(), width=100)
    context = multiprocessing.get_context(kind)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        run([local(i) for i in range(9)], executor=pool, observers=[Progress(console)])
    assert isinstance(console.file, io.StringIO)
    lines = [line for line in console.file.getvalue().splitlines() if not line.startswith("checkpoint: ")]
    assert "9/9" in lines[-1]
    assert " running" not in lines[-1]


def test_what_waits_for_another_run_is_told_apart() -> None:
    """An instance that another run computes is neither running nor settled, and a hit once it was found. [T3]"""
    console = Console(file=io.StringIO(), width=100)
    instance = square(1)
    standing = Standing(RunBegun([instance], [()], {}, {}, lambda node: None, 0.0))
    pictures = []
    for kind in (EventKind.STARTED, EventKind.PARKED, EventKind.STARTED, EventKind.FOUND):
        standing.notify(Event(kind, instance, 0.0, node=0))
        with console.capture() as capture:
            console.print(draw(standing, 100, 20))
        pictures.append(" ".join(capture.get().split()))
    assert ["1 running" in picture for picture in pictures] == [True, False, True, False]
    assert ["1 waiting for another run" in picture for picture in pictures] == [False, True, False, False]
    assert "1/1" in pictures[-1]
    assert "1 hit" in pictures[-1]


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


def test_a_short_run_shows_nothing_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a run that is over in a moment leaves no bar behind."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    run([square(1), square(2)], executor="serial")
    assert terminal.getvalue() == ""


def test_a_terminal_is_interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on standard error gets bars; a program without standard error does not."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert is_watched()
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_watched()


class Handle:
    """What a notebook gives for a piece of output that may be replaced."""

    def __init__(self, first: str) -> None:
        self.shown = [first]

    def update(self, picture: str) -> None:
        self.shown.append(picture)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """Pretend to run in a notebook; return what is displayed there."""
    handles: list[Handle] = []

    def display(picture: str, display_id: bool) -> Handle:
        handles.append(Handle(picture))
        return handles[-1]

    ZMQInteractiveShell = type("ZMQInteractiveShell", (), {})
    shell = types.ModuleType("IPython")
    shell.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    displays = types.ModuleType("IPython.display")
    displays.display, displays.HTML = display, str  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    return handles


def test_a_notebook_shows_a_table_that_is_replaced(notebook: list[Handle]) -> None:
    """In a notebook the bars are one output, drawn anew while the run goes on."""
    assert is_watched()
    run([square(i) for i in range(3)], executor="serial", progress=True)
    (handle,) = notebook
    assert "programs.square" in handle.shown[-1]
    assert "computed" in handle.shown[-1]
    assert handle.shown[-1].startswith("<pre")
