"""The examples are programs that work, and go on where they were killed."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
#: How often an example is killed before it is left alone.
KILLS = [1, pytest.param(6, marks=pytest.mark.stress)]


@contextmanager
def started(name: str, store: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start an example in a process group of its own, which is gone when the block ends."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    surroundings = {**os.environ, "CP_CACHE_DIR": str(store), "PYTHONPATH": str(EXAMPLES.parent)}
    process = subprocess.Popen(
        command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        try:
            yield process
        finally:
            kill_group(process)


def kill_group(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def output_of(name: str, store: Path, *arguments: object) -> str:
    with started(name, store, *arguments) as process:
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    return output


def results_of(output: str) -> str:
    """Return the lines that don't tell how much was computed."""
    return "".join(line for line in output.splitlines(keepends=True) if "computed" not in line)


def counts_of(output: str, label: str) -> tuple[int, int]:
    found = re.search(rf"{label}: (\d+) computed, (\d+) found", output)
    assert found is not None, output
    return int(found[1]), int(found[2])


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Make a folder of 24 small files for the word counts."""
    folder = tmp_path / "sources"
    (folder / "inner").mkdir(parents=True)
    for number in range(24):
        parent = folder / "inner" if number % 2 else folder
        (parent / f"file_{number:02}.py").write_text(
            "alpha beta beta\n" * (number + 1) + f"word_{'x' * (number + 3)}\n"
        )
    return folder


def test_binomials_computes_what_was_cleared_and_no_more(store: Path) -> None:
    """The example prints 15, 0, 4 and 15 computed tasks, and keeps results under the script's own name."""
    lines = output_of("binomials", store).splitlines()
    expected = ["15 computed, 0 found", "0 computed, 15 found", "4 computed, 11 found", "15 computed, 0 found"]
    assert [f"choose(6, 3) = 20: {counts}" for counts in expected] == lines
    assert (store / "checkpoint" / "binomials.choose" / "cache.db").exists()


@pytest.mark.stress
def test_word_counts_counts_the_standard_library_once(store: Path) -> None:
    """A second run of the example computes nothing and prints the same words."""
    first = output_of("word_counts", store)
    again = output_of("word_counts", store)
    assert results_of(first) == results_of(again)
    assert len(first.splitlines()) == 12
    computed, found = counts_of(first, "counts")
    assert computed > 100
    assert found == 0
    assert counts_of(again, "counts") == (0, computed)


def test_word_counts_counts_only_a_changed_file_again(store: Path, sources: Path) -> None:
    """After an edit of one of 24 files, that file and the two merges above it are computed."""
    before = output_of("word_counts", store, sources)
    assert counts_of(before, "counts") == (24, 0)
    assert counts_of(before, "merges") == (4, 0)
    (sources / "file_00.py").write_text("gamma " * 1000)
    after = output_of("word_counts", store, sources)
    assert after.startswith("gamma")
    assert counts_of(after, "counts") == (1, 23)
    assert counts_of(after, "merges") == (2, 2)


def kill_when_it_got_further(process: subprocess.Popen[str], store: Path, chance: random.Random) -> None:
    """Kill the group a random moment after it has stored more results, or after some seconds; or let it end."""
    count = stored_results(store)
    deadline = time.monotonic() + 5
    while stored_results(store) <= count and time.monotonic() < deadline:
        if has_ended(process, 0.02):
            return
    if not has_ended(process, chance.uniform(0, 0.6)):
        kill_group(process)


def has_ended(process: subprocess.Popen[str], seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def stored_results(store: Path, task: str = "*") -> int:
    """Return how many results the store has, of a task or of all."""
    count = 0
    for file in store.glob(f"checkpoint/{task}/cache.db"):
        connection = sqlite3.connect(file)
        try:
            count += connection.execute("SELECT count(*) FROM Cache WHERE key >= '{' AND key < '|'").fetchone()[0]
        except sqlite3.OperationalError:
            pass  # it is just being made
        finally:
            connection.close()
    return count


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize(
    "name", ["binomials", *(pytest.param(name, marks=pytest.mark.stress) for name in ("word_counts", "sweep"))]
)
def test_an_example_that_is_killed_goes_on_to_the_same_result(
    name: str, kills: int, store: Path, tmp_path: Path
) -> None:
    """Killed with all its workers at random moments, then left alone, it prints what an undisturbed run prints."""
    chance = random.Random(name)
    undisturbed = output_of(name, tmp_path / "other")
    for _ in range(kills):
        with started(name, store) as process:
            kill_when_it_got_further(process, store, chance)
    kept = stored_results(store, "sweep.fit")
    final = output_of(name, store)
    assert results_of(undisturbed) == results_of(final)
    if name == "sweep":
        (computed, found), (total, none) = counts_of(final, "fits"), counts_of(undisturbed, "fits")
        assert (computed + found, found, none) == (total, kept, 0)
    if name == "binomials":  # it clears its results first, so all of its lines are the same
        assert undisturbed == final


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what the linear example prints when it is left alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return output_of("linear", folder / "store", folder).splitlines()


def test_linear_fits_once_although_its_last_step_fails(store: Path, tmp_path: Path) -> None:
    """Killed after the failure, the example goes on with the evaluation alone."""
    lines = []
    with started("linear", store, tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("interrupted"):
                break
    again = output_of("linear", store, tmp_path).splitlines()
    assert ["load", "fit", "interrupted"] == [line.partition(":")[0] for line in lines]
    # It may have come to its end before it was killed, and then starts over.
    assert [line.partition(":")[0] for line in again] in (
        ["evaluate"], ["interrupted", "evaluate"], ["load", "fit", "interrupted", "evaluate"])  # fmt: skip


@pytest.mark.stress
@pytest.mark.parametrize("kills", [6])
def test_linear_goes_on_wherever_it_is_killed(undisturbed: list[str], kills: int, store: Path, tmp_path: Path) -> None:
    """Killed at random moments, the example ends as it does when it is left alone."""
    chance = random.Random()
    seen: list[str] = []
    for _ in range(kills):
        with started("linear", store, tmp_path) as process:
            has_ended(process, chance.uniform(0.5, 3))
            kill_group(process)
            assert process.stdout is not None
            seen += process.stdout.read().splitlines()
    seen += output_of("linear", store, tmp_path).splitlines()
    assert undisturbed[-1] == seen[-1]
    assert set(undisturbed) == set(seen)


@pytest.mark.parametrize("compares", [False, pytest.param(True, marks=pytest.mark.stress)])
def test_pipeline_goes_on_with_the_stage_it_was_in(compares: bool, store: Path, tmp_path: Path) -> None:
    """Killed after its second stage, it loads that, runs the rest, and prints what an undisturbed run prints."""
    with started("pipeline", store) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[clean] stored"):
                break
        kill_group(process)
    with started("pipeline", store) as process:
        output, steps = process.communicate(timeout=120)
    with started("pipeline", store) as process:
        again, loaded = process.communicate(timeout=120)
    assert 4 == len(output.splitlines())
    assert output == again
    assert "[load]" not in steps
    assert "[clean] loaded\n" in steps
    assert "[evaluate] running\n" in steps
    assert "[evaluate] loaded\n" == loaded
    if compares:
        with started("pipeline", tmp_path / "other") as process:
            assert output == process.communicate(timeout=120)[0]
