"""Event-driven workflows that are killed, again and again, and go on in new processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from events_programs import COUNT, Crowd

from checkpoint.flows.events import Context
from checkpoint.journal import journal_at

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("events_programs.py")
#: The sum of all parts, their number, and how often the shared counter was raised.
RESULT = [3 * COUNT, 3 * COUNT, COUNT]


def started(folder: Path) -> subprocess.Popen[str]:
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", str(PROGRAM), str(folder)]
    return subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def executed(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def committed(folder: Path) -> list[str]:
    """Return step and item of each completion that is in the journal."""
    rows = journal_at(folder / "store").snapshots()
    journal_at(folder / "store").close()
    return [f"{row.step} {id_}" for row in rows if row.metadata["kind"] == "step" for id_ in row.metadata["items"][:1]]


def kill_somewhere(process: subprocess.Popen[str], folder: Path, chance: random.Random) -> bool:
    """Kill a program a random moment after it has executed some more steps; tell whether that was before its end."""
    goal = len(executed(folder)) + chance.randint(0, 4)
    deadline = time.monotonic() + 30
    while len(executed(folder)) < goal and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, 0.004))
    process.send_signal(signal.SIGKILL)
    output, errors = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGKILL), errors
    return not output


def survive(folder: Path, chance: random.Random, most_kills: int) -> int:
    """Kill a run again and again, then let it end; return the number of kills that hit it."""
    kills = 0
    finished_before: list[str] = []
    for _ in range(most_kills):
        count = len(executed(folder))
        was_hit = kill_somewhere(started(folder), folder, chance)
        assert [] == [line for line in executed(folder)[count:] if line in finished_before]
        finished_before = committed(folder)
        assert max(Counter(finished_before).values(), default=1) == 1
        if not was_hit:
            break
        kills += 1
    count = len(executed(folder))
    output, errors = started(folder).communicate(timeout=60)
    assert (f"{RESULT}\n", "") == (output, errors)
    assert [] == [line for line in executed(folder)[count:] if line in finished_before]
    assert set(executed(folder)) == set(committed(folder))
    return kills


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """Nothing is lost, nothing that was complete runs again, after several kills in a row. [32, 36, 37, 41, 42]"""
    assert survive(tmp_path, random.Random(7), most_kills=4) >= 1


def test_another_process_starts_from_an_id(tmp_path: Path) -> None:
    """A finished run of a program is forked here, by the id of a checkpoint. [32]"""
    output, errors = started(tmp_path).communicate(timeout=60)
    assert (f"{RESULT}\n", "") == (output, errors)
    done = len(executed(tmp_path))

    async def main() -> object:
        flow = Crowd(tmp_path)
        store = tmp_path / "store"
        rows = journal_at(store).snapshots(step="spread")
        try:
            return await flow.run_from(f"{rows[0].run}.{rows[0].index}", ctx=Context(flow, store=store))
        finally:
            journal_at(store).close()

    assert RESULT == asyncio.run(main())
    assert "spread" not in {line.split()[0] for line in executed(tmp_path)[done:]}


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(40))
def test_hundreds_of_kills(tmp_path: Path, seed: int) -> None:
    """The same, at other moments. [41, 42]"""
    kills = survive(tmp_path, random.Random(seed), most_kills=12)
    print(f"kills: {kills}, executions: {len(executed(tmp_path))}, items: {len(set(executed(tmp_path)))}")
    assert kills >= 1
