"""The store on disk: the contract of every store, and what disks and processes do to it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diskcache
import pytest
from contract_store import CHECKS, KEY, LARGE, TASK, value_at, walk_store, write_of

import checkpoint.store.cache
import checkpoint.store.disk
from checkpoint import CheckpointError, DamagedEntryError, StoreError, open_store
from checkpoint.codec import decode
from checkpoint.store import Epoch, Store, WriteBehind, current_store, store_at
from checkpoint.store.disk import DiskStore

ROOT = Path(checkpoint.store.__file__).parent.parent.parent
PATHS = [str(ROOT), str(Path(__file__).parent)]
_numbers = itertools.count()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    """Return a new store; its folder does not exist yet."""
    store = DiskStore(str(tmp_path / "disk"))
    yield store
    store.close()


def files_below(folder: Path | str, pattern: str = "*") -> list[Path]:
    """Return the files below a folder, those of SQLite left out."""
    return sorted(path for path in Path(folder).rglob(pattern) if path.is_file() and "cache.db" not in path.name)


def folder_of(store: DiskStore, task: str = TASK) -> Path:
    """Return the folder of a task."""
    return store.directory(task, KEY).parent.parent


def run_program(code: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that knows this package and these tests."""
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {PATHS!r}\n{PRELUDE}\n{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60)


PRELUDE = """
import os, time
from checkpoint import StoreError
from checkpoint.store.disk import DiskStore
from contract_store import KEY, LARGE, TASK, value_at, write_of

def attempt(call):
    began = time.monotonic()
    try:
        print("done", call())
    except StoreError as error:
        print("StoreError", error.folder, "|", error.reason, "|", error.advice)
    assert time.monotonic() - began < 5, "it hung"
"""

# --- the contract ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_store_on_disk_keeps_the_contract(check: Callable[[Store], None], disk: DiskStore) -> None:
    """Every check of the contract holds."""
    check(disk)


def test_random_walks_through_the_store_on_disk(tmp_path: Path) -> None:
    """Whatever is done in whatever order, the store has what a dict has."""
    walk_store(lambda: DiskStore(str(tmp_path / str(next(_numbers)))))


LATE_ANSWERS = {
    "a_write_of_an_older_epoch_is_dropped",
    "a_write_of_an_older_epoch_of_the_task_is_dropped",
    "the_first_result_stays_where_the_second_yields",
    "what_yields_may_come_with_what_was_cleared",
}


@pytest.mark.parametrize(
    "check",
    [check for check in CHECKS if check.__name__.removeprefix("check_") not in LATE_ANSWERS],
    ids=lambda check: check.__name__.removeprefix("check_"),
)
def test_a_store_that_gathers_writes_keeps_the_contract(check: Callable[[Store], None], disk: DiskStore) -> None:
    """What is gathered is visible at once to the one who wrote it."""
    check(WriteBehind(disk))


def test_a_store_that_gathers_writes_tells_later_what_was_dropped(disk: DiskStore) -> None:
    """A write of an older epoch is in `dropped` after the commit, and not in the store."""
    disk.write(TASK, [write_of(0)])
    disk.clear(TASK, KEY)
    behind = WriteBehind(disk)
    behind.write(TASK, [write_of(1)])
    behind.flush()
    assert ({(TASK, KEY)}, None) == (behind.dropped, disk.read(TASK, KEY))


def test_a_store_that_gathers_writes_tells_later_what_yielded(disk: DiskStore) -> None:
    """A write that yields to the first result is in `dropped` after the commit. [T3]"""
    disk.write(TASK, [write_of("first")])
    behind = WriteBehind(disk)
    behind.write(TASK, [write_of("second", number=2)._replace(yields=True)])
    behind.flush()
    assert ({(TASK, KEY)}, "first") == (behind.dropped, value_at(behind))


def test_gathered_writes_reach_the_store_with_a_flush(disk: DiskStore) -> None:
    """Small quick results are committed together."""
    behind = WriteBehind(disk)
    behind.write(TASK, [write_of(1)])
    before = disk.read(TASK, KEY)
    behind.flush()
    assert (before, value_at(disk)) == (None, 1)


@pytest.mark.parametrize("write", [write_of(LARGE), write_of(1, number=4)], ids=["large", "slow"])
def test_what_is_large_or_slow_is_committed_at_once(write: Any, disk: DiskStore) -> None:
    """A kill may lose quick results only."""
    WriteBehind(disk).write(TASK, [write])
    assert disk.read(TASK, KEY) is not None


# --- which store -----------------------------------------------------------------------------------------


def test_the_default_store_is_where_the_environment_says(store: Path) -> None:
    """`$CP_CACHE_DIR` names the folder. [29]"""
    assert str(store) == current_store().url


def test_without_the_environment_it_is_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is `.cache` in the working directory. [29]"""
    monkeypatch.delenv("CP_CACHE_DIR")
    monkeypatch.setattr(checkpoint.store, "_default_roots", {})
    assert str(tmp_path / ".cache") == current_store().url


def test_a_relative_folder_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of the working directory doesn't matter. [30]"""
    monkeypatch.setenv("CP_CACHE_DIR", "relative")
    monkeypatch.setattr(checkpoint.store, "_default_roots", {})
    before = current_store().url
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (str(tmp_path / "relative"), before) == (before, current_store().url)


def test_one_folder_is_one_store(tmp_path: Path) -> None:
    """However a folder is spelled, it is the same object."""
    spellings = [tmp_path / "s", f"{tmp_path}/s/", f"{tmp_path}/x/../s", f"file://{tmp_path}/s", "s"]
    assert len({id(store_at(spelling)) for spelling in spellings}) == 1


def test_a_store_is_its_own_address(disk: DiskStore) -> None:
    """Where an address is wanted, a store will do."""
    assert disk is store_at(disk)


def test_a_block_has_its_own_store(tmp_path: Path, store: Path) -> None:
    """`open_store` holds for a block, blocks in blocks end in order, and errors end them too."""
    seen = []
    with open_store(tmp_path / "a"):
        with contextlib.suppress(KeyError), open_store(tmp_path / "b"):
            seen.append(current_store().url)
            raise KeyError
        seen.append(current_store().url)
    assert [str(tmp_path / "b"), str(tmp_path / "a"), str(store)] == [*seen, current_store().url]


def test_nothing_is_created_by_opening_and_reading(disk: DiskStore) -> None:
    """A store that was only read has no folder."""
    with open_store(disk):
        disk.lookup(TASK, [KEY])
        list(disk.scan(TASK))
        disk.tasks()
        disk.clear(TASK)
    assert not Path(disk.url).exists()


# --- names and modes -------------------------------------------------------------------------------------

ODD_NAMES = ["a/b", "/etc/passwd", "..", ".", "../../up", "f.<locals>.g", "f.<lambda>", "n" * 300, "ü" * 200, "漢字",
             ".hidden", "a\\b", "c:d", "a b", "a*?", "x" * 120 + "1", "x" * 120 + "2", "x" * 150, "x" * 151, "nul",
             "-rf", "~", "a_b", "a__b"]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: ascii(name)[:30])
def test_a_folder_stays_inside_and_is_short(name: str, disk: DiskStore) -> None:
    """Whatever a task is called, its folder is directly in the store's, and its name is not too long."""
    folder = folder_of(disk, name)
    assert (Path(disk.url, "checkpoint"), True) == (
        Path(os.path.normpath(folder)).parent,
        len(os.fsencode(folder.name)) < 160,
    )


def test_different_names_have_different_folders(disk: DiskStore) -> None:
    """No two tasks share a folder."""
    assert len(ODD_NAMES) == len({folder_of(disk, name) for name in ODD_NAMES})


def test_a_plain_name_is_the_name_of_the_folder(disk: DiskStore) -> None:
    """People find a task's folder by its name. [29]"""
    assert Path(disk.url, "checkpoint", "lab.fit") == folder_of(disk, "lab.fit")


@pytest.mark.skipif(os.name != "posix", reason="other systems have other permissions")
def test_only_the_owner_can_read(disk: DiskStore) -> None:
    """Folders have mode 0700 and files 0600, those of large values too."""
    disk.write(TASK, [write_of(1), write_of(LARGE, '{"n":2}')])
    modes = {
        str(path.relative_to(Path(disk.url).parent)): stat.S_IMODE(path.stat().st_mode)
        for path in [Path(disk.url), *Path(disk.url).rglob("*")]
    }
    wrong = {name: oct(mode) for name, mode in modes.items() if mode not in (0o700, 0o600)}
    assert wrong == {}


def test_large_values_are_files_and_small_ones_are_not(disk: DiskStore) -> None:
    """Small values are in the database."""
    disk.write(TASK, [write_of(1), write_of(LARGE, '{"n":2}')])
    assert len(files_below(disk.url)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda disk: disk.write(TASK, [write_of(LARGE + "new")]),
        lambda disk: disk.write(TASK, [write_of("small")]),
        lambda disk: disk.clear(TASK, KEY),
        lambda disk: disk.clear(TASK),
        lambda disk: disk.write(TASK, [write_of(LARGE, epoch=Epoch(7, 7))]),
    ],
    ids=["replaced", "smaller", "cleared", "task cleared", "dropped"],
)
def test_files_without_a_row_are_removed(change: Callable[[DiskStore], Any], disk: DiskStore) -> None:
    """No file stays behind when its row is replaced, cleared or was never written."""
    disk.write(TASK, [write_of(LARGE)])
    change(disk)
    with sqlite3.connect(folder_of(disk) / "cache.db") as database:
        named = {name for (name,) in database.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL")}
    database.close()
    assert named == {str(path.relative_to(folder_of(disk))) for path in files_below(folder_of(disk))}


# --- eviction --------------------------------------------------------------------------------------------


def test_nothing_is_ever_evicted(disk: DiskStore) -> None:
    """The settings that DiskCache keeps in the folder say so, to other programs too. [42]"""
    disk.write(TASK, [write_of(1)])
    cache = diskcache.Cache(str(folder_of(disk)))
    found = (cache.eviction_policy, cache.cull_limit, cache.size_limit >= 2**60)
    cache.close()
    assert found == ("none", 0, True)


def test_a_store_beyond_its_size_limit_loses_nothing(disk: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far beyond the size limit all results are there, where DiskCache's own settings lose some. [42]"""
    limit = 200_000
    monkeypatch.setitem(checkpoint.store.cache._SETTINGS, "size_limit", limit)
    ordinary = diskcache.Cache(str(Path(disk.url).parent / "ordinary"), size_limit=limit)
    keys = [f'{{"n":{n}}}' for n in range(40)]
    for key in keys:
        disk.write(TASK, [write_of(LARGE, key)])
        ordinary[key] = LARGE
    kept = sum(key in ordinary for key in keys)
    ordinary.close()
    assert (len(disk.lookup(TASK, keys)), kept < 40) == (40, True)


# --- disks that fail -------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="other systems have other permissions")
@pytest.mark.parametrize("has_rows", [False, True], ids=["empty", "with rows"])
def test_a_folder_that_cannot_be_written_is_named(has_rows: bool, tmp_path: Path) -> None:
    """A read-only folder is a StoreError with advice, at once."""
    folder = tmp_path / "locked"
    folder.mkdir()
    store = DiskStore(str(folder))
    if has_rows:
        store.write(TASK, [write_of(1)])
        store.close()
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in tmp_path.parents:
        if path != Path(path.anchor) and path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    code = """
store = DiskStore(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)
attempt(lambda: store.write(TASK, [write_of(2)]))
"""
    output = run_program(code, str(folder)).stdout
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    assert output.startswith(f"StoreError {folder}")
    assert "make the folder writable" in output


FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
value = sys.argv[2] if sys.argv[2] != "large" else LARGE * 30
store = DiskStore(sys.argv[1])
store.write(TASK, [write_of("before")])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
failures = n = 0
while failures < 3:  # what is kept for the next checkpoint may make room once more
    n += 1
    key = '{"k":%d}' % n
    try:
        store.write(TASK, [write_of(n, '{"m":%d}' % n), write_of(value, key)])
        failures = 0
    except StoreError:
        failures += 1
attempt(lambda: store.write(TASK, [write_of(n, '{"m":%d}' % n), write_of(value, key)]))
print(value_at(store), store.read(TASK, key), '{"m":%d}' % n in store.lookup(TASK, ['{"m":%d}' % n]))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.write(TASK, [write_of(value, key)]), value_at(store, key) == value)
"""


def test_a_clock_that_jumps_does_not_end_the_wait_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older folder that another process is just writing is opened when it is free, whatever the time is. [45]"""
    DiskStore(str(tmp_path)).write(TASK, [write_of("value")])
    (database,) = tmp_path.rglob("cache.db")
    pauses: list[float] = []
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 2")  # a folder of the present format is opened without waiting
        other.execute("BEGIN IMMEDIATE")

        def wait(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                other.execute("ROLLBACK")

        monkeypatch.setattr(time, "sleep", wait)
        monkeypatch.setattr(time, "time", itertools.count(0.0, 1e6).__next__)
        assert "value" == value_at(DiskStore(str(tmp_path)), KEY)
    assert 3 == len(pauses)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("value", ["large", "s" * 5000], ids=["in files", "in rows"])
def test_a_full_disk_loses_nothing_but_what_is_new(value: str, tmp_path: Path) -> None:
    """A full disk is a StoreError with advice; nothing is half written or left over; with space, all goes on."""
    lines = run_program(FULL_DISK, str(tmp_path / "full"), value).stdout.splitlines()
    assert lines[0].startswith(f"StoreError {tmp_path / 'full'}")
    assert "free some space" in lines[0]
    assert lines[1:] == ["before None False", "[True] True"]
    assert (1 if value == "large" else 0) == len(files_below(tmp_path / "full"))


@pytest.mark.parametrize("place", ["", "checkpoint", "checkpoint/lab.fit"])
def test_a_file_where_a_folder_should_be_is_named(place: str, disk: DiskStore) -> None:
    """A file in the way is a StoreError, not a crash."""
    path = Path(disk.url, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    with pytest.raises(StoreError, match="check the folder") as caught:
        disk.write(TASK, [write_of(1)])
    assert str(folder_of(disk)) == caught.value.folder


@pytest.mark.parametrize(
    "use",
    [
        lambda disk: disk.lookup(TASK, [KEY]),
        lambda disk: disk.read(TASK, KEY),
        lambda disk: list(disk.scan(TASK)),
        lambda disk: disk.epochs(TASK, [KEY]),
        lambda disk: disk.write(TASK, [write_of(1)]),
        lambda disk: disk.clear(TASK),
        lambda disk: disk.quarantine(TASK, KEY),
        lambda disk: disk.tasks(),
    ],
    ids=["lookup", "read", "scan", "epochs", "write", "clear", "quarantine", "tasks"],
)
def test_a_damaged_database_is_named(use: Callable[[DiskStore], Any], disk: DiskStore) -> None:
    """Garbage in `cache.db` is a StoreError that says what to do, whatever is asked for."""
    disk.write(TASK, [write_of(1)])
    disk.close()
    (folder_of(disk) / "cache.db").write_bytes(b"garbage " * 1000)
    for name in ("cache.db-wal", "cache.db-shm"):
        (folder_of(disk) / name).unlink(missing_ok=True)
    with pytest.raises(StoreError, match="move the folder away") as caught:
        use(disk)
    assert str(folder_of(disk)) == caught.value.folder


@pytest.mark.parametrize("size", [0, 1, 1000, 99_000], ids=str)
def test_a_truncated_file_is_refused(size: int, disk: DiskStore) -> None:
    """A value whose file is cut is read as a frame that the codec refuses. [43]"""
    disk.write(TASK, [write_of(LARGE)])
    (file,) = files_below(disk.url)
    os.truncate(file, size)
    found = disk.read(TASK, KEY)
    assert found is not None
    with pytest.raises(DamagedEntryError):
        decode(found[1], is_mapped=found[2])


def test_a_file_that_is_gone_is_refused(disk: DiskStore) -> None:
    """A value whose file was deleted is read as a frame that the codec refuses. [43]"""
    disk.write(TASK, [write_of(LARGE)])
    files_below(disk.url)[0].unlink()
    found = disk.read(TASK, KEY)
    assert found is not None
    with pytest.raises(DamagedEntryError):
        decode(found[1], is_mapped=found[2])


def test_a_quarantined_entry_without_its_file_does_no_harm(disk: DiskStore) -> None:
    """Damage can be set aside twice, and the row written again. [43]"""
    for _ in range(2):
        disk.write(TASK, [write_of(LARGE)])
        for file in files_below(disk.url):
            file.unlink()
        disk.quarantine(TASK, KEY)
    disk.write(TASK, [write_of(LARGE)])
    assert value_at(disk) == LARGE


def test_metadata_of_another_format_counts_as_missing(disk: DiskStore) -> None:
    """A row that this version can't read is found by nobody, and can be replaced."""
    disk.write(TASK, [write_of(1)])
    with sqlite3.connect(folder_of(disk) / "cache.db") as database:
        database.execute("UPDATE Cache SET tag = ? WHERE key = ?", (b"\x09" + bytes(80), KEY))
    database.close()
    before = (disk.read(TASK, KEY), disk.lookup(TASK, [KEY]), list(disk.scan(TASK)))
    disk.write(TASK, [write_of(2)])
    assert (before, value_at(disk)) == ((None, {}, []), 2)


# --- several processes and threads -----------------------------------------------------------------------


def test_a_lock_is_waited_for(disk: DiskStore) -> None:
    """A writer goes on when another process has finished its transaction."""
    disk.write(TASK, [write_of(1)])
    code = """
import sqlite3
database = sqlite3.connect(os.path.join(sys.argv[1], "cache.db"), isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
database.execute("COMMIT")
"""
    command = [sys.executable, "-c", "import os, sys" + code, str(folder_of(disk))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        other.stdin.write("\n")
        other.stdin.flush()
        assert disk.write(TASK, [write_of(2)]) == [True]


def test_a_lock_is_not_waited_for_without_end(disk: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the longest wait, it is a StoreError that tells of the other process."""
    monkeypatch.setattr(checkpoint.store.cache, "LOCK_SECONDS", 0.1)
    disk.write(TASK, [write_of(1)])
    other = sqlite3.connect(folder_of(disk) / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreError, match="another process has held its lock"):
        disk.write(TASK, [write_of(2)])
    other.execute("ROLLBACK")
    other.close()
    assert (time.monotonic() - began < 5, disk.write(TASK, [write_of(3)])) == (True, [True])


def test_nothing_is_left_of_a_write_that_found_a_lock(disk: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a large value goes when its row can't be written."""
    monkeypatch.setattr(checkpoint.store.cache, "LOCK_SECONDS", 0.1)
    disk.write(TASK, [write_of(1)])
    other = sqlite3.connect(folder_of(disk) / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        disk.write(TASK, [write_of(LARGE)])
    other.close()
    assert (files_below(disk.url), value_at(disk)) == ([], 1)


WRITER = """
store = DiskStore(sys.argv[1])
for n in range(60):
    store.write(TASK, [write_of(n if n % 5 else LARGE, '{"%s":%d}' % (sys.argv[2], n)), write_of(LARGE[n:])])
"""


def test_processes_write_at_the_same_time(disk: DiskStore) -> None:
    """Two processes that write to one task, and to one row, lose nothing."""
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {PATHS!r}\n{PRELUDE}\n{WRITER}", disk.url]
    writers = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    values = [value_at(disk, f'{{"{name}":{n}}}') for name in "ab" for n in range(60)]
    assert ([n if n % 5 else LARGE for n in range(60)] * 2, LARGE[59:]) == (values, value_at(disk))


def test_files_of_replaced_values_are_removed_under_contention(disk: DiskStore) -> None:
    """After processes replaced each other's values, there is a file for each large row and no more."""
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {PATHS!r}\n{PRELUDE}\n{WRITER}", disk.url]
    writers = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(files_below(disk.url)) == 2 * 12 + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_connections_of_its_own(tmp_path: Path) -> None:
    """Parent and child go on using a store that the parent had open."""
    code = """
store = DiskStore(sys.argv[1])
store.write(TASK, [write_of("parent"), write_of(LARGE, '{"n":2}')])
child = os.fork()
for n in range(20):
    store.write(TASK, [write_of(n, '{"%s":%d}' % ("child" if child == 0 else "parent", n))])
    assert value_at(store) == "parent" and value_at(store, '{"n":2}') == LARGE
if child == 0:
    store.close()
    os._exit(0)
print(os.waitpid(child, 0)[1], len(list(store.scan(TASK))))
"""
    assert run_program(code, str(tmp_path / "forked")).stdout == "0 42\n"


def test_removing_a_value_does_not_disturb_a_writer(disk: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that another writer has just made for its file stays, though the last file in it is removed."""
    monkeypatch.setattr(os, "urandom", lambda size: bytes([7]) + next(_numbers).to_bytes(size - 1, "big"))
    disk.write(TASK, [write_of(LARGE)])
    make_folders = os.makedirs

    def make_folders_and_lose_the_other_file(*args: Any, **kwargs: Any) -> None:
        make_folders(*args, **kwargs)
        disk.clear(TASK, KEY)

    monkeypatch.setattr(os, "makedirs", make_folders_and_lose_the_other_file)
    assert disk.write(TASK, [write_of(LARGE, '{"n":2}')]) == [True]


def test_threads_share_a_store(disk: DiskStore) -> None:
    """Threads that write and read at once see whole entries."""
    from concurrent.futures import ThreadPoolExecutor

    def use(thread: int) -> bool:
        for n in range(20):
            disk.write(TASK, [write_of(n if n % 4 else LARGE, f'{{"t{thread}":{n}}}'), write_of(LARGE[n:])])
            assert value_at(disk)[0] == "x"
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == [True] * 4
    assert len(list(disk.scan(TASK))) == 81


# --- kills -----------------------------------------------------------------------------------------------

VICTIM = """
store = DiskStore(sys.argv[1])
first = int(sys.argv[2])
for n in range(first, first + 100_000):
    value = n if n % 3 else "%d " % n + LARGE
    store.write(TASK, [write_of(value, '{"n":%d}' % n, number=n), write_of(value, '{"twin":%d}' % n, number=n)])
    store.write(TASK, [write_of("%d " % n + LARGE, '{"same":1}')])
    print(n, flush=True)
"""


def test_a_program_that_ends_leaves_no_log(tmp_path: Path) -> None:
    """All is in the databases, which somebody may copy."""
    code = f"""
import sys; sys.path[:0] = {PATHS!r}
from checkpoint import memo, open_store
@memo(version="1")
def double(number): return 2 * number
with open_store({str(tmp_path)!r}):
    double(1).run()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert ["cache.db"] == [file.name for file in tmp_path.rglob("cache.db*")]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_writer_leaves_whole_entries(disk: DiskStore) -> None:
    """Ten kills at any moment: all that was acknowledged is there, and nothing is half there. [44]"""
    code = f"import sys; sys.path[:0] = {PATHS!r}\n{PRELUDE}\n{VICTIM}"
    acknowledged: list[int] = []
    for kill in range(10):
        command = [sys.executable, "-c", code, disk.url, str(1000 * kill)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            lines = [victim.stdout.readline() for _ in range(3 + 5 * kill)]
            victim.send_signal(signal.SIGKILL)
            lines += victim.stdout.readlines()
        acknowledged += [int(line) for line in lines if line.endswith("\n")]
    rows = {row: value_at(disk, row) for row, _ in disk.scan(TASK)}
    expected = {f'{{"{name}":{n}}}': n if n % 3 else f"{n} {LARGE}" for n in acknowledged for name in ("n", "twin")}
    singles = [row for row in rows if row.startswith('{"n"') and row.replace("n", "twin", 1) not in rows]
    assert (
        {row: value for row, value in expected.items() if rows.get(row) != value},
        singles,
        rows['{"same":1}'].split()[1],
    ) == ({}, [], LARGE)


@pytest.mark.parametrize("use", [lambda store: store.url, repr], ids=["url", "repr"])
def test_a_store_tells_where_it_is(use: Callable[[DiskStore], str], disk: DiskStore) -> None:
    """The folder that was asked for is shown."""
    assert str(disk.url) in use(disk)


def test_store_errors_are_errors_of_this_package(disk: DiskStore) -> None:
    """One `except` clause catches them."""
    Path(disk.url).write_text("in the way")
    with pytest.raises(CheckpointError):
        disk.write(TASK, [write_of(1)])


def test_many_tasks_need_few_open_files(disk: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tasks a store has, few of their folders are open at a time, and all answer."""
    monkeypatch.setattr(checkpoint.store.disk, "_MOST_OPEN", 5)
    tasks = [f"test.many{number}" for number in range(30)]
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for task in tasks:
        disk.write(task, [write_of(1)])
    assert all(disk.lookup(task, [KEY]) for task in tasks)
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after - before <= 5 * 3
