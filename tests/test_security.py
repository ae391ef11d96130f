"""What guards results: who can read them, who may have written them, and what is never run."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import sqlite3
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import square, total

import checkpoint
from checkpoint import DamagedSnapshotError, StoreError, memo, open_store, run, run_report, task_directory
from checkpoint.bundles import export_bundle
from checkpoint.cli import main
from checkpoint.codec import Frame, encode
from checkpoint.flows.linear import CheckpointFlow
from checkpoint.flows.workflow import CheckpointManager, ExecutionContext, task, workflow
from checkpoint.inventory import calls
from checkpoint.journal import journal_at
from checkpoint.previews import preview
from checkpoint.store import Write, current_store, store_at
from checkpoint.store.disk import DiskStore

KEY = "a long secret that nobody guesses"
SMALL, LARGE = "x", "x" * 100_000


@memo(codec="json")
def text(size: int) -> str:
    return "x" * size


@memo
def pickled(size: int) -> str:
    return "x" * size


class Malice:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let everything be signed."""
    monkeypatch.setenv("CP_CACHE_KEY", KEY)
    return KEY


def database_of(store: Path, task: checkpoint.Task[..., Any]) -> sqlite3.Connection:
    """Open a task's database behind the store's back."""
    return sqlite3.connect(store / "checkpoint" / task.name / "cache.db", isolation_level=None)


def plant(store: Path, instance: Any, frame: Frame) -> None:
    """Put a frame in the place of an instance's entry, as one does who can write to the folder and has no key."""
    disk = DiskStore(str(store))
    rows = disk.lookup(instance.task.name, [instance.key])[instance.key]
    (row,) = [row for row, entry in disk.scan(instance.task.name) if entry in rows]
    entry = rows[0]._replace(digest=frame.digest, size=frame.size)
    (epoch,) = disk.epochs(instance.task.name, [instance.key])
    assert disk.write(instance.task.name, [Write(instance.key, row, epoch, entry, frame)]) == [True]
    disk.close()


def plant_bytes(store: Path, instance: Any, frame: Frame) -> None:
    """Put a frame's bytes in the place of an instance's value and leave all metadata as they are."""
    connection = database_of(store, instance.task)
    data = b"".join(frame.parts)
    connection.execute("UPDATE Cache SET value = ?, filename = NULL, mode = 1 WHERE key LIKE '{%'", (data,))
    connection.close()


# --- what is planted is not run --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 100_000])
def test_without_a_guard_a_planted_frame_runs(store: Path, tmp_path: Path, size: int) -> None:
    """The cache folder is trusted data: this is what the guards are for, and what makes the tests below tests. [T6]"""
    mark = tmp_path / "mark"
    pickled(size).run(executor="serial")
    plant(store, pickled(size), encode(Malice(mark), "it"))
    pickled(size).run(executor="serial")
    assert mark.exists()


@pytest.mark.parametrize("how", [plant, plant_bytes])
@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.usefixtures("key")
def test_with_a_key_a_planted_frame_is_not_run(
    store: Path, tmp_path: Path, how: Callable[..., None], size: int
) -> None:
    """An unsigned entry is an error that says so; other bytes under a true signature are damage. Nothing runs. [T6]"""
    mark = tmp_path / "mark"
    pickled(size).run(executor="serial")
    how(store, pickled(size), encode(Malice(mark), "it"))
    if how is plant:
        with pytest.raises(StoreError, match=r"not signed with the key in \$CP_CACHE_KEY"):
            pickled(size).run(executor="serial")
    else:
        with pytest.warns(checkpoint.DamagedEntryWarning, match="do not match their signature"):
            assert pickled(size).run(executor="serial") == "x" * size
    assert not mark.exists()


@pytest.mark.parametrize("how", [plant, plant_bytes])
@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("level", [None, 3])
def test_without_pickle_a_planted_frame_is_not_run(
    store: Path, tmp_path: Path, how: Callable[..., None], size: int, level: int | None
) -> None:
    """Where no pickles are allowed, one that is found is an error that names the entry's task. [T6]"""
    mark = tmp_path / "mark"
    with open_store(store, allow_pickle=False):
        text(size).run(executor="serial")
        how(store, text(size), encode(Malice(mark), "it", level=level))
        with pytest.raises(StoreError, match=r"entry .* of test_security\.text was not read: it is a pickle"):
            text(size).run(executor="serial")
    assert not mark.exists()


@pytest.mark.parametrize("guard", ["key", "pickle"])
def test_a_planted_part_of_a_snapshot_is_not_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    """What a flow kept is refused as well if it is not signed, or a pickle where none is allowed. [T6]"""
    mark = tmp_path / "mark"
    recorder = journal_at().begin("flow")
    snapshot = recorder.append({"small": encode(Malice(mark), "it"), "large": Malice(mark)}, index=1)
    journal_at().close()
    monkeypatch.setenv("CP_CACHE_KEY", KEY) if guard == "key" else monkeypatch.setenv("CP_ALLOW_PICKLE", "0")
    for part in ("small", "large"):
        with pytest.raises(DamagedSnapshotError, match="not signed with the key in" if guard == "key" else "a pickle"):
            journal_at().state(snapshot.id, [part])
    told = ["not signed" in str(damage) for damage in journal_at().verify()]
    assert ([True, True] if guard == "key" else []) == told
    journal_at().close()
    assert not mark.exists()


def test_a_planted_file_of_a_flow_is_not_run_without_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a linear flow is a pickle: it is not loaded where none are allowed. [T6]"""
    mark = tmp_path / "mark"
    monkeypatch.setenv("CP_ALLOW_PICKLE", "0")
    for content in (pickle.dumps(Malice(mark)), b"".join(encode(Malice(mark), "it").parts)):
        (tmp_path / "flow.state").write_bytes(content)
        with pytest.raises(DamagedSnapshotError, match="pickle"):
            CheckpointFlow(str(tmp_path / "flow.state")).check_point()
    assert not mark.exists()


# --- signatures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
@pytest.mark.usefixtures("key")
def test_what_is_signed_is_read_with_the_key(executor: str) -> None:
    """With a key everything works as without, in worker processes too. [T6]"""
    parts = [square(n) for n in range(40)]
    first, second = (run_report(total(parts), executor=executor, max_workers=2) for _ in range(2))
    assert (20540, 41, 20540, 0) == (first.value, first.computed, second.value, second.computed)


@pytest.mark.usefixtures("key")
def test_what_is_signed_is_read_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no key trusts the folder. [T6]"""
    assert run([pickled(10), pickled(100_000)], executor="serial") == ["x" * 10, "x" * 100_000]
    monkeypatch.delenv("CP_CACHE_KEY")
    assert [0, 2] == [(done := run_report([pickled(10), pickled(100_000)])).computed, done.hit]


@pytest.mark.parametrize("then", ["", "another key that nobody guesses"])
def test_entries_of_another_key_are_refused(store: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """An entry that was written without the key, or with another one, is an error before anything runs. [T6]"""
    monkeypatch.setenv("CP_CACHE_KEY", then)
    pickled(1).run(executor="serial")
    monkeypatch.setenv("CP_CACHE_KEY", KEY)
    for use in (
        lambda: pickled(1).run(executor="serial"),
        lambda: pickled(1).result(),
        lambda: pickled(1).is_cached(),
        lambda: list(pickled.entries()),
    ):
        with pytest.raises(StoreError, match=r"\$CP_CACHE_KEY; set the key that it was written with") as raised:
            use()
        assert raised.value.folder == str(store / "checkpoint" / pickled.name)


@pytest.mark.parametrize("column", ["generation", "digest", "basis", "fingerprint", "seconds", "row"])
@pytest.mark.usefixtures("key")
def test_metadata_are_signed(store: Path, column: str) -> None:
    """No field of an entry can be changed, and no entry put in the place of another. [T6]"""
    run([square(2), square(3)], executor="serial")
    connection = database_of(store, square)
    rows = connection.execute("SELECT key, tag FROM Cache WHERE key LIKE '{%' ORDER BY key").fetchall()
    (row, tag), (_, other) = rows
    offset = {"generation": 1, "digest": 17, "basis": 33, "fingerprint": 49, "seconds": 75}.get(column)
    changed = other if offset is None else tag[:offset] + bytes([tag[offset] ^ 1]) + tag[offset + 1 :]
    connection.execute("UPDATE Cache SET tag = ? WHERE key = ?", (changed, row))
    connection.close()
    with pytest.raises(StoreError, match="not signed"):
        square(2).run(executor="serial")


def accepting(store: Path, how: str) -> None:
    """Let a planted record say that the code of the entry there is the same as the present one."""
    connection = database_of(store, edited)
    row, tag = connection.execute("SELECT key, tag FROM Cache WHERE key LIKE 'record:accepted:%'").fetchone()
    planted = {"unsigned": tag[:8], "another": tag[:8] + bytes(32), "as it was": tag}[how]
    connection.execute("UPDATE Cache SET tag = ? WHERE key = ?", (planted, row))
    connection.close()


@memo(on_change="rerun", name="edited")
def edited() -> int:
    return 1


@memo(on_change="rerun", name="edited")
def edited_since() -> int:
    return 2


@pytest.mark.parametrize(("how", "expected"), [("unsigned", 2), ("another", 2), ("as it was", 1)])
@pytest.mark.usefixtures("key")
def test_which_edits_were_accepted_is_signed(store: Path, how: str, expected: int) -> None:
    """A planted record can't make the value of other code count: with a key only signed ones are heeded. [T6]"""
    edited().run(executor="serial")
    edited_since.accept()
    accepting(store, how)
    current_store().close()
    assert expected == edited_since().run(executor="serial")
    edited_since.accept()  # what is not signed is replaced
    assert expected == edited_since().run(executor="serial")


@pytest.mark.usefixtures("key")
def test_flows_are_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States come back with the key that they were written with, and with no other. [T6]"""
    snapshot = journal_at().begin("flow").append({"a": 1, "b": bytes(300_000)}, index=1)
    assert journal_at().state(snapshot.id) == {"a": 1, "b": bytes(300_000)}
    assert journal_at().verify() == []
    journal_at().close()
    monkeypatch.setenv("CP_CACHE_KEY", "another")
    with pytest.raises(DamagedSnapshotError, match="not signed"):
        journal_at().state(snapshot.id)
    journal_at().close()


def test_a_worker_without_the_key_says_so(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that signs is not opened in a process that can't sign. [T6]"""
    monkeypatch.setenv("CP_CACHE_KEY", KEY)
    sent = pickle.dumps(current_store())
    assert pickle.loads(sent) is current_store()
    monkeypatch.delenv("CP_CACHE_KEY")
    with pytest.raises(StoreError, match="a worker has no key"):
        pickle.loads(sent)


#: What nobody may find anywhere: of the store's key, of a bucket and of a server.
SECRETS = {
    "CP_CACHE_KEY": KEY,
    "AWS_ACCESS_KEY_ID": "AKIA-nobody-knows",
    "AWS_SECRET_ACCESS_KEY": "wJalr/XUtnFEMI/nobody-knows",
    "AWS_SESSION_TOKEN": "session-nobody-knows",
    "REDIS_PASSWORD": "sesame-nobody-knows",
}
LEAKS = """
import logging, os, pickle, sys, time
from pathlib import Path
from checkpoint import memo, open_store, run, run_report
from checkpoint.bundles import export_bundle
from checkpoint.inventory import calls
from checkpoint.journal import journal_at
from checkpoint.store import current_store

logging.basicConfig(level="DEBUG", stream=sys.stdout)

@memo
def part(number):
    if number == 7:
        raise ValueError("seven")
    runs = Path(os.environ["CP_CACHE_DIR"], "checkpoint", ".runs")
    while number == 3 and not Path("live.seen").exists():
        for live in runs.glob("*.live"):
            Path("live.part").write_bytes(live.read_bytes())
            os.replace("live.part", "live.seen")
        time.sleep(0.01)
    return b"x" * number * 20_000

@memo
def whole(parts):
    return sum(map(len, parts))

if __name__ == "__main__":
    for executor in ("processes", "serial"):
        wanted = [whole([part(n) for n in range(executor == "serial", 6)]), part(7), part(8 + len(executor))]
        try:
            run(wanted, executor=executor, max_workers=2, on_error="continue", report=f"{executor}.html",
                trace=f"{executor}.json", progress=True)
        except ExceptionGroup as error:
            print(error.exceptions, error)
        report = run_report(wanted[0], executor="serial")
        print(repr(report), str(report), report._repr_html_(), report.events)
    store = current_store()
    print(repr(store), store, store.settings, str(store.settings), whole, wanted, wanted[0].lineage())
    print(pickle.dumps(store))
    export_bundle(store, list(calls(store, whole.name)), "bundle.zip")
    journal_at().begin("flow").append({"a": 1}, index=1)
    journal_at().close()
"""
ASKED = ["ls", "ls leaks.part", "show leaks.part number=3", "du", "lineage leaks.py:part(3)", "why leaks.py:part(3)",
         "plan leaks.py:part(30)", "report -o page.html", "report --list", "verify", "gc", "flows list", "flows show 1",
         "export again.zip leaks.part", "import again.zip", "ls --json", "clear leaks.part"]  # fmt: skip


def bytes_in(folder: Path) -> dict[str, bytes]:
    """Return the content of every file, and of what is packed in it."""
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_socket()}
    for path in [path for path in found if path.endswith(".zip")]:
        with zipfile.ZipFile(path) as bundle:
            found |= {f"{path}/{name}": bundle.read(name) for name in bundle.namelist()}
    unpacked = zstandard.ZstdDecompressor()
    packed = [path for path in found if path.endswith((".zst", ".seen"))]
    for path in packed:
        with contextlib.suppress(zstandard.ZstdError):
            found[f"{path}/unpacked"] = unpacked.decompressobj().decompress(found[path])
    return found


def test_no_secret_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither files nor what is printed, logged, exported or reported have a secret: not of a run, not of a command.

    [T6]
    """
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "leaks.py").write_text(LEAKS)
    monkeypatch.setenv("PYTHONPATH", str(Path(checkpoint.__file__).parents[1]))
    done = subprocess.run([sys.executable, "leaks.py"], capture_output=True, text=True, timeout=120)
    assert 0 == done.returncode, done.stderr
    said = done.stdout + done.stderr
    for words in ASKED:
        result = CliRunner().invoke(main, words.split(), input="n")
        assert result.exit_code in (0, 1), (words, result.output)
        said += result.output
    found = bytes_in(tmp_path) | {"output": said.encode()}
    assert {".html", ".json", ".zip", ".db", ".val", ".zst", ".seen"} <= {Path(path).suffix for path in found}
    assert b"seven" in found["output"]
    assert [] == [(path, name) for path in found for name, value in SECRETS.items() if value.encode() in found[path]]


@pytest.mark.parametrize(
    "address",
    [
        "s3://me:nobody-knows@bucket/folder",
        "s3://me:nobody/knows/nobody-knows@bucket/folder",
        "s3://me:nobody-knows?x=1@bucket/folder?endpoint_url=http://h",
        "s3://nobody-knows@bucket",
        "redis://:nobody-knows@host:6379/0",
        "rediss://me:nobody-knows@host/0?db=1",
        "s3://bucket/folder?secret=nobody-knows",
        "s3://bucket/folder?passwd=nobody-knows",
        "sftp://me:nobody-knows@host/folder",
        "memory://me:nobody-knows@x",
        "s3://bucket/x?lease=1&aws_session_token=nobody-knows",
    ],
)
def test_a_password_in_an_address_is_not_told(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An address that says who logs in is refused in every way to give it; no error, log or command repeats it. [T6]"""
    caplog.set_level("DEBUG")
    monkeypatch.setenv("CP_CACHE_SIZE", "1GB")
    errors = []
    for use in (lambda: open_store(address), lambda: square(1).run(store=address), lambda: store_at(address)):
        with pytest.raises(ValueError, match=r"tells who you are|tells a secret") as raised:
            use()
        errors += [str(raised.value), repr(raised.value), str(raised.value.__context__)]
    given = CliRunner().invoke(main, ["ls", "--store", address])
    with monkeypatch.context() as patch:
        patch.setenv("CP_CACHE_DIR", address)
        found = CliRunner().invoke(main, ["ls"])
    assert [2, 2] == [given.exit_code, found.exit_code]
    assert [] == [text for text in [*errors, given.output, found.output, caplog.text] if "nobody-knows" in text]


def test_a_password_in_the_address_of_a_checkpoint_is_not_told() -> None:
    """A checkpoint of a workflow goes to a file; the error on an address leaves out who logs in. [T6]"""
    with pytest.raises(NotImplementedError, match="not at 's3://bucket/x'") as raised:
        CheckpointManager.resume_from_checkpoint("s3://me:nobody-knows@bucket/x")
    assert "nobody-knows" not in str(raised.value)


# --- no pickles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["given", "environment"])
def test_a_task_that_pickles_is_refused_before_it_runs(store: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Where no pickles are allowed, the error comes first and names the task. [T6]"""
    if how == "environment":
        monkeypatch.setenv("CP_ALLOW_PICKLE", "0")
    opened = open_store(store, allow_pickle=False if how == "given" else None)
    with opened, pytest.raises(StoreError, match=r"results of programs\.die would be pickled; give the task codec="):
        run(_programs().die(0), executor="serial")
    assert not (store / "checkpoint").exists()


def _programs() -> Any:
    import programs

    return programs


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_safe_codecs_work_without_pickle(store: Path, executor: str) -> None:
    """JSON is written and read; the setting travels to worker processes. [T6]"""
    for computed in (2, 0):
        with open_store(store, allow_pickle=False):
            report = run_report([text(3), text(100_000)], executor=executor, max_workers=2)
            assert (["xxx", "x" * 100_000], computed) == (report.value, report.computed)


def test_a_flow_that_pickles_is_refused(store: Path, tmp_path: Path) -> None:
    """A state that would be pickled is not kept where no pickles are allowed. [T6]"""
    with open_store(store, allow_pickle=False):
        recorder = journal_at().begin("flow")
        with pytest.raises(checkpoint.UnsavableError, match="allows no pickles"):
            recorder.append({"a": 1}, index=1)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("allow_pickle", 0, TypeError),
        ("allow_pickle", "no", TypeError),
        ("durability", "always", ValueError),
        ("max_size", -1, ValueError),
        ("max_size", "10GB", TypeError),
        ("durability", True, TypeError),
    ],
)
def test_settings_that_cannot_be_are_named(name: str, value: Any, error: type[Exception]) -> None:
    """The error names the argument."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=f"{name} must be"):
        open_store("folder", **options)


@pytest.mark.parametrize(("name", "value"), [("CP_ALLOW_PICKLE", "maybe"), ("CP_DURABILITY", "forever")])
def test_a_variable_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The error names the variable."""
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        with pytest.raises(ValueError, match=f"{name} must be"):
            current_store()


def test_settings_go_with_a_folder(store: Path) -> None:
    """An open store has its settings already."""
    with pytest.raises(TypeError, match="go with a folder"):
        open_store(store_at(store), allow_pickle=False)


# --- who can read ----------------------------------------------------------------------------------------


@memo
def with_file(size: int) -> checkpoint.File:
    path = task_directory() / "part" / "data.bin"
    path.parent.mkdir()
    path.write_bytes(bytes(size))
    return checkpoint.File(path)


def modes(folder: Path) -> dict[str, str]:
    """Return the mode of each folder and file that others may use in any way."""
    paths = [path for path in (folder, *folder.rglob("*")) if "part" not in path.parts]
    found = {str(path.relative_to(folder.parent)): stat.S_IMODE(path.stat().st_mode) for path in paths}
    return {path: oct(mode) for path, mode in found.items() if mode & 0o077}


@pytest.fixture
def _open_umask() -> Any:
    """Let files be open to all unless somebody takes care."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
def test_only_the_owner_can_use_a_store(store: Path) -> None:
    """Folders are 0700 and files 0600: databases, values, folders of tasks, locks, the journal. [T6]"""
    run([pickled(1), pickled(100_000), with_file(3)], executor="processes", max_workers=2)
    journal = journal_at()
    with journal.lease("flow"):
        journal.begin("flow").append({"a": 1, "b": bytes(300_000)}, index=1)
        assert {} == modes(store)
    journal.close()


@pytest.mark.usefixtures("_open_umask")
def test_only_the_owner_can_use_what_flows_export(tmp_path: Path) -> None:
    """The file of a linear flow, the three files of a workflow's checkpoint and a bundle of results are 0600. [T6]"""
    exports = tmp_path / "exports"
    exports.mkdir(mode=0o700)
    flow = CheckpointFlow(str(exports / "flow.state"))

    @flow.add_step
    def first(state: dict[str, Any], data: Any = None) -> None:
        state["a"] = 1

    flow.run()
    with workflow("export") as made:

        @task
        def one() -> int:
            return 1

    context = ExecutionContext.create(made.graph, "one")
    CheckpointManager.create_checkpoint(context, path=str(exports / "checkpoint"))
    square(1).run(executor="serial")
    export_bundle(current_store(), list(calls(current_store(), square.name)), exports / "bundle.zip")
    assert (5, {}) == (len(list(exports.iterdir())), modes(exports))
    journal_at().close()


# --- names -----------------------------------------------------------------------------------------------


#: Addresses of stores, and where the folders of their tasks are.
PLACES = {
    "disk": ("{tmp}/cache", "cache/checkpoint"),
    "shared folder": ("file://{tmp}/shared?shared", "shared/checkpoint"),
    "objects": ("memory:/{tmp}", "local/files"),
}
HOSTILE = [
    "../",
    "..",
    ".",
    "/etc/passwd",
    "~/",
    "..\\",
    "c:\\",
    "\\\\host\\share",
    "CON",
    "nul.txt",
    "COM1",
    "x.",
    "x ",
    "\0",
    "\n",
    "\x1b[2J",
    "%2e%2e%2f",
    "%00",
    "_2E",
    "!",
    "#",
    "{}",
    "-rf",
    "$HOME",
    "`id`",
    "*?",
    "a:b",
    "file://",
    "\ud800",
    "\u202e",
    "\u00fc",
    "u\u0308",
    "\U0001f40d",
    "\uff0e\uff0e\uff0f",
    "x" * 300,
    "\u6f22" * 200,
]
hostile = st.one_of(st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=5).map("".join), st.text(max_size=400))
names = st.one_of(hostile, st.text(min_size=1)).filter(lambda name: name.isprintable() and name.strip())


@pytest.mark.parametrize("kind", PLACES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(task=names, row=hostile)
def test_no_name_leaves_the_folder(kind: str, tmp_path: Path, task: str, row: str) -> None:
    """Whatever a task is called and whatever its arguments are, its folders are below the store's, with short names.

    [T5]
    """
    address, folders = PLACES[kind]
    folder = store_at(address.format(tmp=tmp_path)).directory(task, row)
    below = Path(os.path.abspath(folder)).relative_to(tmp_path / folders).parts
    own = below[1:] if kind == "objects" else below
    assert (3, "files") == (len(own), own[1])
    assert all(len(os.fsencode(part)) < 256 and not part.startswith(".") for part in below)


@pytest.mark.parametrize("kind", PLACES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(argument=hostile, times=st.sampled_from([1, 1, 1, 400]), size=st.sampled_from([3, 100_000]))
def test_no_argument_becomes_a_path(kind: str, tmp_path: Path, argument: str, times: int, size: int) -> None:
    """A call with any argument has its entry and its folder; nothing appears beside the store, or under an odd name.

    [T5]
    """
    address, argument = PLACES[kind][0].format(tmp=tmp_path), argument * times
    with open_store(address) as opened:
        assert (argument, size) == tuple(echo(argument, size).run(executor="serial")[:2])
        assert (argument, size) == tuple(echo(argument, size).result()[:2])
        echo(argument, size).clear()
        found = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
        if kind == "objects":
            found += opened.store._objects.names("checkpoint/")  # type: ignore[attr-defined]
    assert {"cache", "local", "shared"} >= {path.partition("/")[0] for path in found} - {"checkpoint"}
    parts = {part for path in found for part in path.split("/")}
    assert [] == [part for part in parts if not re.fullmatch(r"[\w.!=-]+", part, re.ASCII) or len(part) > 250]
    assert [] == [path for path in found if len(path) > 700]


def test_a_long_argument_has_a_short_name(tmp_path: Path) -> None:
    """A million characters are a key like any other. [T5]"""
    for address, _ in PLACES.values():
        with open_store(address.format(tmp=tmp_path)):
            argument = "\u6f22/" * 500_000
            assert argument == echo(argument, 3).run(executor="serial")[0]
            assert [argument] == [call.arguments["argument"] for call in echo.entries()]
    assert 250 >= max(len(path.name) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("argument", ["../../x", "/etc/passwd", "a\0b", "x" * 100_000, "\ud800", "{}#", "%2e%2e"])
@pytest.mark.parametrize("size", [3, 100_000])
def test_arguments_stay_inside(tmp_path: Path, store: Path, argument: str, size: int) -> None:
    """An argument never becomes a path; a key of any length has its entry. [T5]"""
    before = {path for path in tmp_path.rglob("*") if store not in (path, *path.parents)}
    assert (argument, size) == tuple(echo(argument, size).run(executor="serial")[:2])
    assert (argument, size) == tuple(echo(argument, size).result()[:2])
    assert before == {path for path in tmp_path.rglob("*") if store not in (path, *path.parents)}
    assert max(len(path.name) for path in store.rglob("*")) < 100


@memo
def echo(argument: str, size: int) -> tuple[str, int, bytes]:
    (task_directory() / "note").write_text("x")
    return argument, size, bytes(size)


def test_a_planted_frame_is_not_run_to_show_it(store: Path, tmp_path: Path) -> None:
    """What shows values without the task's code loads no pickle where none is allowed. [T6]"""
    mark = tmp_path / "mark"
    text(10).run(executor="serial")
    plant(store, text(10), encode(Malice(mark), "it"))
    with open_store(store, allow_pickle=False) as opened:
        ((row, _),) = opened.store.scan(text.name)
        shown = preview(opened.store, text.name, row, 80)
    assert (False, True) == (mark.exists(), "a pickle" in shown)
