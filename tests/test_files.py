"""Files as arguments and results."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from checkpoint import Cue, File, FileChangedError, memo, run_report, task_directory


@memo
def size_of(file: File) -> int:
    return len(file.path.read_text())


@memo
def written(text: str) -> File:
    path = task_directory() / "out.txt"
    path.write_text(text[:5])
    return File(path)


@memo
def written_to(path: str, text: str) -> dict[str, Any]:
    Path(path).write_text(text)
    return {"files": [File(path)], "text": text}


@memo
def length(file: File) -> int:
    return len(file.path.read_text())


@memo
def spoils(file: File) -> int:
    Path(file).write_text("changed by the runner itself")
    return 1


def computed(instance: Any, **options: Any) -> int:
    """Run serially and return how many instances were computed."""
    report = run_report(instance, executor="serial", **options)
    _ = report.value
    return report.computed


def put(path: Path, text: str) -> Path:
    """Write a file that looks as if it had been there for long."""
    path.write_text(text)
    os.utime(path, ns=(10**18, 10**18))
    return path


# --- arguments -------------------------------------------------------------------------------------------


def test_a_file_is_its_name_and_content(tmp_path: Path) -> None:
    """Content in another folder is found again; another content or name is another call."""
    (tmp_path / "other").mkdir()
    first = put(tmp_path / "a.txt", "12345")
    instances = [size_of(File(path)) for path in (first, put(tmp_path / "other" / "a.txt", "12345"))]
    assert (5, 1, 0) == (instances[0].run(executor="serial"), len(set(instances)), computed(instances[1]))
    assert size_of(File(put(tmp_path / "b.txt", "12345"))) != instances[0]


def test_an_edited_file_is_another_call(tmp_path: Path) -> None:
    """The content counts when the call is made; going back finds the old result."""
    path = tmp_path / "a.txt"
    sizes = []
    for text in ("1", "22", "1"):
        path.write_text(text)
        report = run_report(size_of(File(path)), executor="serial")
        sizes.append((report.value, report.computed))
    assert [(1, 1), (2, 1), (1, 0)] == sizes


def test_one_file_object_sees_edits_between_calls(tmp_path: Path) -> None:
    """A File is looked at whenever it becomes an argument, and an instance keeps what it saw."""
    file = File(tmp_path / "a.txt")
    file.path.write_text("1")
    first = size_of(file)
    file.path.write_text("22")
    second = size_of(file)
    assert (first.key != second.key, second.run(executor="serial")) == (True, 2)
    with pytest.raises(FileChangedError, match=r"a\.txt was changed"):
        first.run(executor="serial")
    assert not first.is_cached()


def test_a_touched_file_is_the_same(tmp_path: Path) -> None:
    """A new time without a new content changes nothing."""
    path = put(tmp_path / "a.txt", "1")
    size_of(File(path)).run(executor="serial")
    os.utime(path, ns=(11**17, 11**17))
    assert computed(size_of(File(path))) == 0


def test_a_settled_file_is_not_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where size, time and inode are known, the digest is."""
    path = put(tmp_path / "a.txt", "1")
    first = File(path).digest
    os.chmod(path, 0o000)
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda *args, **options: pytest.fail("it was read"))
        assert first == File(path).digest


def test_the_digest_of_a_large_file_is_kept_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process needn't read it again."""
    from checkpoint import files

    monkeypatch.setattr(files, "_LARGE_BYTES", 4)
    path = put(tmp_path / "a.txt", "12345")
    first = File(path).digest
    files._digests.clear()
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda *args, **options: pytest.fail("it was read"))
        assert first == File(path).digest


def test_a_runner_that_changes_its_file_is_told(tmp_path: Path) -> None:
    """A result that was computed while its file changed is not kept."""
    path = put(tmp_path / "a.txt", "1")
    with pytest.raises(FileChangedError):
        spoils(File(path)).run(executor="serial")


def test_a_missing_file_is_an_error_at_the_call(tmp_path: Path) -> None:
    """The call names the file that isn't there."""
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt"):
        size_of(File(tmp_path / "nothing.txt"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder has no content of its own."""
    with pytest.raises(IsADirectoryError):
        size_of(File(tmp_path))


@pytest.mark.parametrize("path", [1, None, b"a.txt"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    """The error says what was given."""
    with pytest.raises(TypeError, match=r"File\(\) takes a path, not"):
        File(path)


def test_files_are_paths_and_values(tmp_path: Path) -> None:
    """A File opens like a path, is equal by path, hashes, pickles and shows itself."""
    file = File(put(tmp_path / "a.txt", "1"))
    with open(file) as one, file.open("rb") as other:
        assert ("1", b"1") == (one.read(), other.read())
    assert (file, {file}) == (File(str(file.path)), {pickle.loads(pickle.dumps(file))})
    assert f"File({str(file.path)!r})" == repr(file)
    assert file != str(file.path)


@pytest.mark.parametrize("executor", ["threads", "processes", "async"])
def test_files_reach_every_executor(executor: str, tmp_path: Path) -> None:
    """Arguments and results that are files work wherever the task runs."""
    path = put(tmp_path / "a.txt", "123")
    report = run_report([size_of(File(path)), length(written("hello world"))], executor=executor, max_workers=2)
    assert [3, 5] == report.value


# --- results ---------------------------------------------------------------------------------------------


def test_a_written_file_is_handed_on() -> None:
    """It lives in the instance's folder, and its consumer gets its path there."""
    file = written("hello world").run(executor="serial")
    assert (file.path.parent, 5) == (written("hello world").directory, length(written("hello world")).run())


def test_equal_files_stop_the_rerun() -> None:
    """A file that comes out with the same content reruns nothing, wherever it was written."""
    instance = length(written("hello world"))
    instance.run(executor="serial")
    written("hello world").run(executor="serial", force=True)
    assert computed(instance) == 0


@pytest.mark.parametrize("change", [lambda path: path.write_text("other"), lambda path: path.unlink()])
def test_a_file_that_was_changed_or_removed_is_written_again(change: Any) -> None:
    """The entry is stale, says so, and is computed again; equal content then reruns nothing below."""
    instance = written("hello world")
    length(instance).run(executor="serial")
    file = instance.run(executor="serial")
    change(file.path)
    reason = instance.why()
    assert (Cue.FILES, (str(file.path),)) == (reason.cue, reason.calls)
    assert (1, "hello") == (computed(length(instance)), file.path.read_text())


def test_a_file_that_was_only_touched_is_fresh() -> None:
    """Content decides."""
    instance = written("hello world")
    file = instance.run(executor="serial")
    os.utime(file.path, ns=(10**18, 10**18))
    assert computed(instance) == 0


def test_files_inside_a_result_count(tmp_path: Path) -> None:
    """Files anywhere in a value, and outside of the store, are looked at."""
    instance = written_to(str(tmp_path / "x.txt"), "text")
    assert File(tmp_path / "x.txt").path == instance.run(executor="serial")["files"][0].path
    (tmp_path / "x.txt").write_text("text, changed")
    assert (1, "text") == (computed(instance), (tmp_path / "x.txt").read_text())


def test_clearing_removes_the_file() -> None:
    """The file goes with its entry."""
    file = written("hello world").run(executor="serial")
    written("hello world").clear()
    assert not file.path.exists()
