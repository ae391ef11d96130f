"""The examples of event-driven workflows are programs that work, and go on where they were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def started(name: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py"), *arguments]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output_of(name: str, *arguments: str) -> str:
    process = started(name, *arguments)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def test_jokes_prints_what_it_says() -> None:
    """3, 9 and 10 checkpoints, 6 and 7 calls."""
    lines = output_of("jokes").splitlines()
    assert "after one run: 3 checkpoints" == lines[0]
    assert "after three runs: 9 checkpoints, 6 calls" == lines[1]
    assert "once more from the joke about biology: 10 checkpoints, 7 calls" == lines[3]
    assert "A parrot walks into a talk on biology. -- too short by half" == lines[4]


def test_documents_reads_each_file_once(tmp_path: Path) -> None:
    """Killed after three files, it reads the others in the next process; each is a checkpoint once. [41]"""
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(40):
        (folder / f"file_{number:02}.py").write_text(f"def f{number}():\n" + "    word = 1\n" * (number + 1) * 20)
    whole = output_of("documents", str(folder)).splitlines()
    (folder / "file_39.py").write_text("def g():\n    pass\n")
    process = started("documents", str(folder))
    assert process.stderr is not None
    for _ in range(3):
        process.stderr.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    again = output_of("documents", str(folder)).splitlines()
    assert ["40 files, 16440 words", "longest function: f39, 801 lines"] == [whole[0], whole[2]]
    assert ["40 files, 15641 words", "longest function: f38, 781 lines"] == [again[0], again[2]]
    assert "done before this process: 0 files" == whole[3]
    assert 1 <= int(again[3].split()[4]) < 40


def test_approval_waits_for_a_person_in_another_process(tmp_path: Path) -> None:
    """The question stays open when its program has ended; the answer publishes, once."""
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "notes.txt").write_text("all new")
    assert "publish 1 files (" in output_of("approval", "start", str(folder))
    assert "cancelled: pack, check\n" == output_of("approval", "status")
    first = output_of("approval", "yes")
    assert first.startswith("published as published/")
    assert first == output_of("approval", "yes")
    assert "finished: pack, check, publish\n" == output_of("approval", "status")
    assert 1 == len(list(Path("published").iterdir()))


def test_approval_takes_no_for_an_answer(tmp_path: Path) -> None:
    """Nothing is published."""
    (tmp_path / "release").mkdir()
    output_of("approval", "start", str(tmp_path / "release"))
    assert "not published\n" == output_of("approval", "no")
    assert not Path("published").exists()
