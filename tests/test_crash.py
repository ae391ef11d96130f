"""Programs that are interrupted, killed, orphaned, or started in unusual ways. Numbers in brackets name promises."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from kill_loop import KINDS, PACKINGS, SHAPES, play, processes_of_group, until

import checkpoint

WAIT_S = 60


@pytest.fixture
def start(tmp_path: Path, store: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts a script in a process group of its own."""

    def start_program(text: str, *args: str, name: str = "program.py", **options: object) -> subprocess.Popen[str]:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        paths = [Path(checkpoint.__file__).parents[1], Path(__file__).parent]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [sys.executable, str(path), *args],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )

    return start_program


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a program, which must succeed without a word on stderr; return its output."""
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (0, "")
    return out


def wait_for_line(process: subprocess.Popen[str], line: str) -> None:
    """Read a program's output up to a line."""
    assert process.stdout is not None
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"the program ended without printing {line!r}: {process.communicate()[1]}")


# --- killed ----------------------------------------------------------------------------------------------

STRESS = pytest.mark.stress
SHORT = [(kind, "small", packing, 1) for kind, packing in zip(KINDS, [*PACKINGS, "packed"], strict=True)]
LONG = [
    pytest.param(kind, shape, packing, 9 if shape == "large" else 36, marks=STRESS)
    for kind in KINDS
    for shape in SHAPES
    for packing in PACKINGS
]


@pytest.mark.parametrize(("kind", "shape", "packing", "rounds"), [*SHORT, *LONG])
def test_a_killed_run_continues_and_gives_the_same_result(
    kind: str, shape: str, packing: str, rounds: int, tmp_path: Path
) -> None:
    """Whatever is killed at random moments, what is left is whole, and only what was running is computed again. [44]"""
    seed = os.environ.get("KILL_SEED", random.randrange(10**6))
    counts = play(tmp_path / "loop", kind, shape, packing, seed, rounds)
    print(f"{kind}, {shape}, {packing}, seed {seed}: {dict(counts)}")
    assert rounds == counts["rounds"]


def test_workers_end_when_their_parent_is_killed(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the death of the parent alone, its workers finish and keep what they run, then end, and leave no file."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    process = start(
        """
        import os, time
        from pathlib import Path
        from checkpoint import memo, run
        @memo
        def wait_for(name):
            Path(f"running-{name}").touch()
            while not Path("go").exists():
                time.sleep(0.01)
            return name
        if __name__ == "__main__":
            run([wait_for("a"), wait_for("b"), wait_for("c"), wait_for("d")], executor="processes", max_workers=2)
        """
    )
    until(lambda: (tmp_path / "running-a").exists() and (tmp_path / "running-b").exists())
    process.kill()
    process.wait()
    assert len(processes_of_group(process.pid)) >= 2
    (tmp_path / "go").touch()
    until(lambda: not processes_of_group(process.pid))
    process.communicate()
    assert not (tmp_path / "running-d").exists()
    assert [] == list((tmp_path / "tmp").iterdir())
    check = """
        from program import wait_for
        print([wait_for(name).is_cached() for name in "abcd"])
    """
    assert finish(start(check, name="check.py")) == "[True, True, False, False]\n"


# --- interrupted -----------------------------------------------------------------------------------------

INTERRUPTED = """
    import sys, time
    from pathlib import Path
    from checkpoint import memo, run
    @memo
    def wait_for(i):
        Path(f"running-{i}").touch()
        while i < 2 and not Path("go").exists():
            time.sleep(0.01)
        return i
    if __name__ == "__main__":
        try:
            run([wait_for(i) for i in range(50)], executor=sys.argv[1], max_workers=2)
        except KeyboardInterrupt:
            kept = [wait_for(i).is_cached() for i in range(50)]
            print("interrupted", kept[:2], sum(kept))
"""


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_ctrl_c_waits_for_what_runs_and_keeps_it(
    kind: str, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The first Ctrl-C starts nothing more, waits for what runs, and keeps its results. [60]"""
    process = start(INTERRUPTED, kind)
    until(lambda: (tmp_path / "running-0").exists() and (tmp_path / "running-1").exists())
    os.killpg(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    (tmp_path / "go").touch()
    out = finish(process)
    assert out.startswith("interrupted [True, True]")
    assert int(out.split()[-1]) < 10
    assert processes_of_group(process.pid) == []


def test_a_second_ctrl_c_ends_what_is_ours(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """The second Ctrl-C kills the workers that we started and returns at once. [60]"""
    process = start(INTERRUPTED, "processes")
    until(lambda: (tmp_path / "running-0").exists() and (tmp_path / "running-1").exists())
    os.killpg(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process) == "interrupted [False, False] 0\n"
    assert processes_of_group(process.pid) == []


def test_ctrl_c_stops_a_serial_run_at_once(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """In the caller's own thread Ctrl-C interrupts the runner, as in any Python program; what finished is kept. [60]"""
    process = start(INTERRUPTED.replace("i < 2", "i == 1"), "serial")
    until(lambda: (tmp_path / "running-1").exists())
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process) == "interrupted [True, False] 1\n"


# --- started in unusual ways -----------------------------------------------------------------------------

SCRIPT = """
    import contextlib, sys
    {extra}
    from checkpoint import memo, run, task, requires
    OFFSET = 100
    class Point:
        def __init__(self, x): self.x = x
    @memo
    def point(x):
        return Point(x + OFFSET)
    @task
    def joined(n):
        @requires([point(i) for i in range(n)])
        def run_task(points):
            assert all(isinstance(point, Point) for point in points)
            return [point.x for point in points]
        return run_task
    def main():
        with {pool} as pool:
            print(joined(3).run(executor=pool), isinstance(point(0).result(), Point))
    {call}
"""
OURS = "contextlib.nullcontext()"
GUARDED = 'if __name__ == "__main__": main()'
PRINTED = "[100, 101, 102] True\n"


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_script_runs_under_each_start_method(method: str, start: Callable[..., subprocess.Popen[str]]) -> None:
    """Tasks and classes of `__main__` work with pools of every start method. [50]"""
    extra = "import multiprocessing; from concurrent.futures import ProcessPoolExecutor as Pool"
    pool = f'Pool(2, mp_context=multiprocessing.get_context("{method}"))'
    assert finish(start(SCRIPT.format(extra=extra, pool=pool, call=GUARDED))) == PRINTED


def test_a_script_needs_no_guard_where_fork_is_safe(start: Callable[..., subprocess.Popen[str]]) -> None:
    """On Linux a plain single-threaded script may start runs at its top level. [48]"""
    assert finish(start(SCRIPT.format(extra="", pool=OURS, call="main()"))) == PRINTED


def test_a_script_with_threads_runs_with_a_guard(start: Callable[..., subprocess.Popen[str]]) -> None:
    """Where forking would not be safe, workers start afresh and import the script."""
    extra = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert finish(start(SCRIPT.format(extra=extra, pool=OURS, call=GUARDED))) == PRINTED


def test_a_missing_guard_is_explained(start: Callable[..., subprocess.Popen[str]]) -> None:
    """Where workers must import the script, an unguarded run is an error that says what to do, not a hang."""
    extra = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    process = start(SCRIPT.format(extra=extra, pool=OURS, call="main()"))
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert 'if __name__ == "__main__"' in err.splitlines()[-1]


def test_a_program_read_from_standard_input(tmp_path: Path, store: Path) -> None:
    """A program without a file has its results under __main__."""
    text = textwrap.dedent(SCRIPT.format(extra="", pool=OURS, call="main()"))
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-"],
        input=text,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (done.stdout, done.stderr) == (PRINTED, "")
    assert sorted(name for name in os.listdir(store / "checkpoint") if name[0] != ".") == [
        "__main__.joined",
        "__main__.point",
    ]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_notebook_like_namespace(method: str, start: Callable[..., subprocess.Popen[str]]) -> None:
    """Cells executed one after the other in one namespace, which no worker can import, work in processes."""
    program = f"""
        import multiprocessing, types, sys
        from concurrent.futures import ProcessPoolExecutor
        if __name__ == "__main__":
            main = types.ModuleType("__main__")
            cells = [
                "from checkpoint import memo, run; OFFSET = 1",
                "@memo\\ndef plus(x):\\n    return x + OFFSET",
                "print(run([plus(i) for i in range(3)], executor=pool))",
                "@memo\\ndef plus(x):\\n    return x + 10 * OFFSET",
                "print(run([plus(i) for i in range(3)], executor=pool, on_change='rerun'))",
            ]
            with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("{method}")) as pool:
                pool.submit(int).result()
                del sys.modules["__main__"].__file__
                sys.modules["__main__"] = main
                main.pool = pool
                for number, cell in enumerate(cells):
                    exec(compile(cell, f"<cell {{number}}>", "exec"), vars(main))
    """
    assert finish(start(program)) == "[1, 2, 3]\n[10, 11, 12]\n"


def test_two_scripts_of_different_names_do_not_collide(start: Callable[..., subprocess.Popen[str]]) -> None:
    """Each script's tasks live under its own name, although both run as __main__. [29]"""
    text = """
        from checkpoint import memo
        @memo
        def value():
            return {}
        if __name__ == "__main__":
            print(value().run())
    """
    assert finish(start(text.format(1), name="one.py")) == "1\n"
    assert finish(start(text.format(2), name="two.py")) == "2\n"
    check = "import one, two; print(one.value().result(), two.value().result())"
    assert finish(start(check, name="check.py")) == "1 2\n"
