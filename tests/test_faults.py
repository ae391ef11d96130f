"""Faults of the machine and of tasks during whole runs: a clear error or a recomputation, never a hang."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import checkpoint
from checkpoint import DamagedEntryWarning, NotCachedError, StoreError, memo, open_store

WAIT_S = 60
KINDS = ["serial", pytest.param("threads", marks=pytest.mark.stress), "processes"]
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs limits and users of POSIX")
needs_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may mount a file system"
)

PRELUDE = """
import io, os, random, resource, shutil, sys, threading, time, warnings
from pathlib import Path
from checkpoint import *

@memo
def part(number, size):
    return random.Random(number).randbytes(size)

@memo
def sizes(parts):
    return [len(part) for part in parts]

def attempt(wanted, **options):
    "Run, and print the outcome in one line."
    options.setdefault("executor", sys.argv[1])
    options.setdefault("max_workers", 2 if options["executor"] != "serial" else None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            report = run_report(wanted, **options)
            told = f"value {report.value!r}"
        except BaseException as error:
            told = f"{type(error).__name__}: {error}".partition("\\n")[0]
    if caught:
        told += f" after {sorted({warning.category.__name__ for warning in caught})}"
    print(told, flush=True)
    return told

def give_up_rights():
    for kind in ("serial", sys.argv[1]):  # imports what it needs, as others may not read this Python
        run([part(number, len(kind)) for number in range(3)], executor=kind, store="elsewhere")
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that any user may enter and write."""
    path = Path(tempfile.mkdtemp(prefix="faults-"))
    path.chmod(0o777)
    yield path
    for below in [path, *path.rglob("*")]:
        with contextlib.suppress(OSError):
            below.chmod(0o700)
    shutil.rmtree(path)


def start(code: str, kind: str, store: Path) -> subprocess.Popen[str]:
    """Start code after the prelude, with a store."""
    paths = [Path(checkpoint.__file__).parents[1]]
    path = store.parent / "faulty.py"
    path.write_text(PRELUDE + 'if __name__ == "__main__":\n' + textwrap.indent(textwrap.dedent(code), "    "))
    path.chmod(0o644)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "CP_CACHE_DIR": str(store)}
    environment["TMPDIR"] = str(store.parent)
    return subprocess.Popen(
        [sys.executable, "-B", str(path), kind],
        cwd=store.parent,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(code: str, kind: str, store: Path) -> list[str]:
    """Run code after the prelude, which must end by itself and well; return the lines that it prints."""
    process = start(code, kind, store)
    out, err = process.communicate(timeout=WAIT_S)
    assert (0, "") == (process.returncode, err), out + err
    return out.splitlines()


# --- the disk --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """Return a folder on a file system of 2 MB of its own."""
    place = folder / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@needs_root
@pytest.mark.parametrize("size", [200_000, 20_000], ids=["in files", "in rows"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing(kind: str, size: int, small_disk: Path) -> None:
    """A full disk is a StoreError with advice; what was kept is there, and with space the run goes on from it."""
    code = f"""
        wanted = sizes([part(number, {size}) for number in range({4_000_000 // size})])
        attempt(wanted)
        os.system("mount -o remount,size=40m " + os.environ["CP_CACHE_DIR"])
        kept = [call.arguments["number"] for call in part.entries()]
        right = [part(number, {size}).result() == random.Random(number).randbytes({size}) for number in kept]
        print(all(right), len(kept))
        report = run_report(wanted, executor="serial")
        print(report.value == [{size}] * {4_000_000 // size}, report.hit == len(kept))
        files = [path for path in Path(os.environ["CP_CACHE_DIR"]).rglob("*.val*")]
        print(len(files) == (report.hit + report.computed - 1 if {size} > 32768 else 0))
    """
    lines = outcome(code, kind, small_disk)
    assert lines[0].startswith("StoreError: store in")
    assert "free some space" in lines[0]
    assert int(lines[1].removeprefix("True ")) > 1
    assert lines[2:] == ["True True", "True"]


@needs_posix
@pytest.mark.parametrize("kind", KINDS)
def test_a_read_only_folder_is_an_error_of_the_run(kind: str, folder: Path) -> None:
    """Nothing is computed for a store that can't be written; the error says what to do."""
    store = folder / "store"
    store.mkdir(mode=0o555)
    lines = outcome("give_up_rights(); attempt([part(number, 10) for number in range(4)])", kind, store)
    assert len(lines) == 1
    assert lines[0].startswith(f"StoreError: store in '{store}")
    assert "make the folder writable" in lines[0]


READ = """
    import urllib.parse  # who gives up rights may no longer reach what is not imported yet
    from checkpoint.cli import main
    from checkpoint.journal import journal_at
    PARTS = [part(number, 10 if number % 2 else 50_000) for number in range(6)]

    def commands(store):
        "Return what the commands that look at a store come to."
        told = []
        for command in ("ls", "du", "show part number=1", "verify", "flows list"):
            sys.stdout = out = io.StringIO()
            try:
                main([*command.split(), "--store", store], standalone_mode=False)
            except (SystemExit, Exception) as end:
                out.write(f"exit {end!r}")
            finally:
                sys.stdout = sys.__stdout__
            told.append((command, "\\n" in out.getvalue(), "damaged:" in out.getvalue(), "exit" in out.getvalue()))
        return told

    def look():
        "Use what is stored in every way; print what comes of it."
        report = run_report(sizes(PARTS), executor=sys.argv[1], max_workers=2 if sys.argv[1] != "serial" else None)
        print(report.value, report.hit, report.computed)
        print([call.result() == random.Random(n).randbytes(10 if n % 2 else 50_000) for n, call in enumerate(PARTS)])
        attempt([sizes(PARTS), part(7, 10)])
        print(*commands(os.environ["CP_CACHE_DIR"]), sep="\\n")
        print(len(collect(tasks=[part]).values), journal_at().state(1))
        for change in (part.clear, lambda: collect(tasks=[part], apply=True)):
            try:
                change()
            except StoreError as error:
                print(error.advice)

    run([part(1, 10)], executor="serial", store="elsewhere")
    commands("elsewhere")  # imports what it needs
"""
#: What it prints of a store that has everything, where nothing can be written.
LOOKED = [
    f"{[50_000, 10] * 3} 7 0",
    f"{[True] * 6}",
    "StoreError",
    *(str((command, True, False, False)) for command in ("ls", "du", "show part number=1", "verify", "flows list")),
    "6 {'a': 1}",
]


def fill(store: Path) -> None:
    """Store a small graph and a flow; leave no process that uses it, and no log."""
    code = """
        from checkpoint.journal import journal_at
        run(sizes([part(number, 10 if number % 2 else 50_000) for number in range(6)]), executor="serial")
        journal_at().begin("flow").append({"a": 1}, index=1)
    """
    outcome(code, "serial", store)
    for database in store.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def looked(code: str, kind: str, store: Path, advice: str) -> None:
    """Run code that looks at a store that can't be written; compare what it prints."""
    lines = outcome(textwrap.dedent(READ) + textwrap.dedent(code), kind, store)
    lines[2] = lines[2].partition(":")[0]
    assert [*LOOKED, advice, advice] == lines


@needs_posix
@pytest.mark.parametrize("log", ["no log", "a log"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_store_of_somebody_else_can_be_read(kind: str, log: str, folder: Path) -> None:
    """Hits come from a folder that this user can't write; what is missing is an error before it is computed."""
    store = folder / "store"
    fill(store)
    connections = []
    for database in store.rglob("*.db") if log == "a log" else ():
        connections.append(sqlite3.connect(database, isolation_level=None))
        ((number,),) = connections[-1].execute("PRAGMA user_version").fetchall()
        connections[-1].execute(f"PRAGMA user_version = {number}")
    for path in [store, *store.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert (log == "a log") == bool(sum(path.stat().st_size for path in store.rglob("*-wal")))
    looked("give_up_rights(); look()", kind, store, WRITABLE)
    for connection in connections:
        connection.close()


WRITABLE = "make the folder writable for this user, or name another one with $CP_CACHE_DIR or store="
SPACE = "free some space, or name another folder with $CP_CACHE_DIR or store="


@needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_a_read_only_file_system_can_be_read(kind: str, small_disk: Path) -> None:
    """Hits come from a store on a disk that is mounted to be read, also for who may do everything else."""
    fill(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    looked("look()", kind, small_disk, WRITABLE)


@needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_can_be_read(kind: str, small_disk: Path) -> None:
    """Hits come from a store on a disk without a byte left, which was closed before, in every process."""
    fill(small_disk)
    with contextlib.suppress(OSError), open(small_disk / "filler", "wb", buffering=0) as filler:
        while filler.write(bytes(512)):
            pass
    looked("look()", kind, small_disk, SPACE)


@needs_posix
@pytest.mark.parametrize("kind", KINDS)
def test_permission_that_is_lost_half_way_is_an_error_and_then_no_loss(kind: str, folder: Path) -> None:
    """A run that may no longer write stops with advice; what it kept is there when it may again."""
    store = folder / "store"
    code = """
        give_up_rights()

        @memo
        def lock(number):
            if number == 3 and not Path("locked").exists():
                Path("locked").touch()
                for path in sorted(Path(os.environ["CP_CACHE_DIR"]).rglob("*"), reverse=True):
                    path.chmod(0o555 if path.is_dir() else 0o444)
            return random.Random(number).randbytes(100_000)

        wanted = [lock(number) for number in range(8)]
        attempt(wanted, max_workers=None if sys.argv[1] == "serial" else 1)
        os.system("chmod -R u+rwX " + os.environ["CP_CACHE_DIR"])
        report = run_report(wanted, executor="serial")
        print(report.hit >= 3, report.value == [random.Random(number).randbytes(100_000) for number in range(8)])
    """
    lines = outcome(code, kind, store)
    assert lines[0].startswith("StoreError: store in")
    assert "make the folder writable" in lines[0]
    assert lines[1:] == ["True True"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_that_is_none_is_an_error_of_the_run(kind: str, folder: Path) -> None:
    """A file that SQLite can't read is never taken for an empty store."""
    store = folder / "store"
    outcome("attempt([part(number, 10) for number in range(4)])", "serial", store)
    (database,) = store.rglob("cache.db")
    for file in database.parent.glob("cache.db-*"):
        file.unlink()
    database.write_bytes(b"this is not a database " * 500)
    lines = outcome("attempt([part(number, 10) for number in range(4)])", kind, store)
    assert lines[0].startswith(f"StoreError: store in '{database.parent}'")
    assert "its cache.db is damaged; move the folder away" in lines[0]
    shutil.move(database.parent, folder / "away")
    assert outcome("attempt([sizes([part(0, 10)])])", kind, store) == ["value [[10]]"]


CUTS = {
    "truncated": "for file in files[:2]: os.truncate(file, 30_000)",
    "gone": "for file in files[:2]: file.unlink()",
    "emptied row": """
        import sqlite3
        with sqlite3.connect(*store.rglob("*part/cache.db")) as database:
            where = "filename IN (SELECT filename FROM Cache WHERE filename IS NOT NULL LIMIT 2)"
            database.execute(f"UPDATE Cache SET filename = NULL, value = x'' WHERE {where}")
        database.close()
    """,
}


@pytest.mark.parametrize("change", CUTS)
def test_a_value_that_is_cut_or_gone_is_computed_again(change: str, folder: Path) -> None:
    """Values that are needed and no longer whole are computed again, with a warning for each; others aren't. [43]"""
    code = """
        store = Path(os.environ["CP_CACHE_DIR"])
        wanted = sizes([part(number, 50_000) for number in range(4)])
        for kind in ("serial", "threads", "processes"):
            part.clear()
            attempt(wanted, executor=kind)
            files = sorted(store.rglob("*.val"))
            damage()
            attempt(wanted, executor=kind)  # nobody needs them
            sizes.clear()
            attempt(wanted, executor=kind)
            sizes.clear()
            attempt(wanted, executor=kind)
    """
    damage = "def damage():\n" + textwrap.indent(textwrap.dedent(CUTS[change]), "    ")
    lines = outcome(damage + "\n" + textwrap.dedent(code), "serial", folder / "store")
    value = f"value {[50_000] * 4}"
    assert lines == [value, value, f"{value} after ['DamagedEntryWarning']", value] * 3


def test_what_was_read_before_counts_for_the_same_bytes_alone(store: Path) -> None:
    """What this process has decoded before does not stand for a row that was damaged, cleared or replaced since."""
    calls: list[int] = []

    @memo
    def count(number: int) -> int:
        calls.append(number)
        return len(calls)

    assert [1, 1, 1] == [count(7).run() for _ in range(3)]
    (database,) = store.rglob("cache.db")
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as rows:
        rows.execute("UPDATE Cache SET value = CAST(zeroblob(length(value)) AS BLOB) WHERE key LIKE '{%'")
    with pytest.warns(DamagedEntryWarning):
        assert 2 == count(7).run()
    assert 2 == count(7).result()
    count.clear()
    with pytest.raises(NotCachedError):
        count(7).result()
    assert [3, 3] == [count(7).run(), count(7).result()]
    with open_store(store, allow_pickle=False), pytest.raises(StoreError):
        count(7).result()


SHAPES = """
@memo(version="1")
def circle(number):
    import shapes
    print("computing", flush=True)
    return shapes.Circle()

@memo(version="1")
def radius(circle):
    return circle.radius

radius.clear()
attempt(radius(circle(1)))
attempt(circle(1))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_imported_here_is_no_damage(kind: str, folder: Path) -> None:
    """A result that needs a missing module is neither set aside nor computed again: an error names both."""
    shapes, hidden, store = folder / "shapes.py", folder / "hidden.py", folder / "store"
    shapes.write_text("class Circle:\n    radius = 3\n\n    def __repr__(self):\n        return 'circle'\n")
    assert ["computing", "value 3", "value circle"] == outcome(SHAPES, kind, store)
    shapes.rename(hidden)
    lines = outcome(SHAPES, kind, store)
    assert 2 == len(lines)
    assert all(line.startswith("StoreError") and "No module named 'shapes'" in line for line in lines)
    hidden.rename(shapes)
    assert ["value 3", "value circle"] == outcome(SHAPES, kind, store)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_is_deleted_during_the_run_is_made_again(kind: str, folder: Path) -> None:
    """Wherever a run is when its store goes: the right value or a StoreError, and the next run is whole."""
    store = folder / "store"
    code = """
        for number in range(4 if sys.argv[1] == "processes" else 16):
            attempt(sizes([part(number * 100 + n, 40_000 if n % 2 else 10) for n in range(8)]))
        print("end")
    """
    process = start(code, kind, store)
    lines: list[str] = []
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    is_over = threading.Event()

    def delete() -> None:
        while not is_over.wait(dice.uniform(0.0, 0.05)):
            shutil.rmtree(store, ignore_errors=True)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        out, err = process.communicate(timeout=2 * WAIT_S)
    finally:
        is_over.set()
        thread.join()
    lines = out.splitlines()
    expected = f"value {[10, 40_000] * 4}"
    told = {line.removesuffix(" after ['DamagedEntryWarning']").partition(" in '")[0] for line in lines[:-1]}
    assert (process.returncode, err, lines[-1], told - {expected, "StoreError: store", "TaskLostError: part"}) == (
        *(0, "", "end"),
        set(),
    ), seed
    assert outcome("attempt(sizes([part(n, 10) for n in range(8)]))", kind, store) == [f"value {[10] * 8}"]


# --- the clock -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_clock_that_jumps_changes_nothing(kind: str, folder: Path) -> None:
    """With a clock that jumps by years in both directions, hits stay hits, clears are clears, values are right.

    It jumps between runs, and differs between processes: SQLite's client measures how long it waits for a lock with it.
    """
    code = """
        clock, jumps = time.time, [0, 3e8, -1e9, 1e-3, -5e8]
        offset = random.choice(jumps)
        time.time = lambda: clock() + offset
        wanted = sizes([part(number, 40_000 if number % 2 else 10) for number in range(30)])
        for _ in range(3):
            offset = random.choice(jumps)
            report = run_report(wanted, executor=sys.argv[1], max_workers=2)
            print(report.computed, report.hit, report.value == [10, 40_000] * 15)
        offset = random.choice(jumps)
        part(3, 40_000).clear()
        offset = random.choice(jumps)
        report = run_report(wanted, executor=sys.argv[1], max_workers=2)
        print(report.computed, report.hit, report.value == [10, 40_000] * 15)
        _ = str(wanted.why()), str(wanted.plan()), wanted.lineage().describe(), list(part.entries())
    """
    assert outcome(code, kind, folder / "store") == ["31 0 True", "0 31 True", "0 31 True", "2 29 True"]


# --- memory ----------------------------------------------------------------------------------------------


@needs_posix
@pytest.mark.parametrize("kind", KINDS)
def test_too_little_memory_is_an_error_and_damages_nothing(kind: str, folder: Path) -> None:
    """A runner, or the reading of a value, without enough memory raises MemoryError; nothing is set aside for it."""
    code = """
        @memo(compress=True)
        def zeros(count):
            return bytes(count)

        @memo
        def length(value):
            return len(value)

        attempt([length(zeros(100_000_000))])
        length.clear()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 70_000_000, resource.RLIM_INFINITY))
        attempt([length(zeros(100_000_000))])
        attempt([zeros(110_000_000), zeros(3)])
        attempt([zeros(4)])
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        report = run_report([length(zeros(100_000_000))], executor="serial")
        print(report.value, report.computed)
    """
    lines = outcome(code, kind, folder / "store")
    assert ["value [100000000]", "MemoryError: ", "MemoryError: ", r"value [b'\x00\x00\x00\x00']", "[100000000] 1"] == [
        *lines
    ]


# --- tasks that misbehave --------------------------------------------------------------------------------

MISBEHAVIOUR = {
    "SystemExit": ("raise SystemExit(3)", "TaskFailedError: SystemExit: 3"),
    "an exception without a pickle": ("raise Unpicklable(number)", "Unpicklable: "),
    "an exception that can't be rebuilt": ("raise Awkward(1, 2)", "Awkward: "),
    "an exception without a text": ("raise Mute(1)", "Mute: "),
    "a result without a pickle": ("return threading.Lock()", "UnstorableError: result of bad"),
    "recursion": ("return bad.__wrapped__(number)", "RecursionError: maximum recursion depth"),
    "GeneratorExit": ("raise GeneratorExit", "TaskFailedError: GeneratorExit: "),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_ends_in_an_odd_way_fails_alone(kind: str, folder: Path) -> None:
    """The failure is told, the others are kept, nothing hangs, and the next run works. [57]"""
    code = """
        class Unpicklable(Exception):
            def __init__(self, number): super().__init__(number, threading.Lock())
        class Awkward(Exception):
            def __init__(self, one, two): super().__init__(one)
        class Mute(Exception):
            def __str__(self): raise ValueError
        def text_of(error):
            try:
                return f"{type(error).__name__}: {error}".partition(chr(10))[0]
            except ValueError:
                return f"{type(error).__name__}: "
    """
    for number, (body, _) in enumerate(MISBEHAVIOUR.values()):
        code += f"""
        @memo
        def bad{number}(number):
            if number == 1:
                {body.replace("bad", f"bad{number}")}
            return number
        wanted = [bad{number}(n) for n in range(4)]
        report = run_report(wanted, executor=sys.argv[1], max_workers=2, on_error="continue")
        ((instance, error),) = report.failures.items()
        print(instance.arguments, report.computed, [bad{number}(n).result() for n in (0, 2, 3)], text_of(error))
        assert bad{number}(5).run(executor=sys.argv[1]) == 5
        """
    lines = outcome(code, kind, folder / "store")
    for line, (_, expected) in zip(lines, MISBEHAVIOUR.values(), strict=True):
        name = expected.partition(":")[0]
        is_sent = kind != "processes" or name not in ("Unpicklable", "Awkward", "Mute")
        assert line.startswith(f"{{'number': 1}} 3 [0, 2, 3] {'' if is_sent else 'TaskFailedError: '}{expected}")


def test_a_task_that_ends_its_process_is_lost_alone(folder: Path) -> None:
    """`os._exit` in a worker of ours ends no run: the others are kept, and the one is named."""
    code = """
        @memo
        def leave(number):
            if number == 1:
                os._exit(0)
            return number
        wanted = [leave(number) for number in range(6)]
        report = run_report(wanted, executor=sys.argv[1], max_workers=2, on_error="continue")
        print([f"{instance} {type(error).__name__}" for instance, error in report.failures.items()])
        print(report.computed + report.hit)  # what was kept before the process ended is found
        attempt([leave(8)])
    """
    expected = ["['leave(number=1) TaskLostError']", "5", "value [8]"]
    assert expected == outcome(code, "processes", folder / "store")


@pytest.mark.parametrize("kind", ["serial", "threads"])
def test_a_task_that_ends_the_program_leaves_a_whole_store(kind: str, folder: Path) -> None:
    """Where `os._exit` ends the program itself, the next one goes on from what was kept."""
    code = """
        @memo
        def leave(number):
            if number == 3 and not Path("left").exists():
                Path("left").touch()
                os._exit(0)
            time.sleep(0.03)  # long enough to be kept at once
            return number
        attempt([leave(number) for number in range(6)], max_workers=1)
        print(len(list(leave.entries())))
    """
    assert outcome(code, kind, folder / "store") == []
    assert outcome(code, kind, folder / "store") == ["value [0, 1, 2, 3, 4, 5]", "6"]
