"""The kill loop: a real run is killed at random moments and started again, until nothing is left to compute.

All of it is killed, its parent alone or a worker, each about as often where it has workers. In every third round
another run wants the same at the same time, and goes on.


After each kill the store is looked at as bytes: databases whole and unlocked, every entry what an undisturbed run
stores, every file one that is known. What each round computed is known from notes of the tasks themselves.

    python tests/kill_loop.py --minutes 10 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import victims

import checkpoint
from checkpoint import codec, collect, open_store
from checkpoint.store.disk import DiskStore

WAIT_S = 120
#: Results of small instances that took so many seconds in all may be lost by each worker, beside what it was running.
GATHERED_S = 0.1

KINDS = ["serial", "threads", "processes"]
SHAPES = list(victims.SHAPES)
PACKINGS = ["plain", "packed"]
#: How many turns of play each kind gets: only processes have workers to be killed.
TURNS = ["processes", "serial", "processes", "threads", "processes", "processes"]
VICTIMS = ("all", "parent", "worker")

_KNOWN = re.compile(
    r"checkpoint/(\.claims|\.runs/[^/]+\.(json\.zst|live|part)|"
    r"[^/]+/(cache\.db(-wal|-shm|-journal)?|[0-9a-f]{2}/[0-9a-f]{30}\.val(\.tmp)?))"
)
_VALUE = re.compile(r".*\.val(\.tmp)?")

Rows = dict[tuple[str, str], bytes]


class Computation(NamedTuple):
    """One call of a runner, as its notes tell."""

    call: str
    round: int
    worker: str
    began: int
    ended: int | None
    has_failed: bool = False

    @property
    def group(self) -> int:
        """The group of processes, which is that of one program."""
        return int(self.worker.partition("-")[0])


def processes_of_group(group: int) -> list[int]:
    """Return the live processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, parent_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(parent_group) == group and state != "Z":
            found.append(int(folder.name))
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; fail if it never does."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


@dataclasses.dataclass
class KillLoop:
    """Rounds of one program in one folder; `counts` says what happened."""

    folder: Path
    kind: str
    shape: str
    packing: str
    dice: random.Random
    #: What was killed how often, here and in loops before.
    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.round = 0
        self.value, self.expected, self.seconds = self._undisturbed()

    # --- programs ---

    def start(self, store: str) -> subprocess.Popen[bytes]:
        """Start the program in a process group of its own, and return when it is about to run."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        paths = [Path(checkpoint.__file__).parents[1], Path(__file__).parent]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONWARNINGS": "default",
            "CP_CACHE_DIR": str(self.folder / store),
            "TMPDIR": str(self.folder / "tmp"),
            victims.NOTES: str(self.folder / f"{store}.notes"),
            victims.ROUND: str(self.round),
        }
        process = subprocess.Popen(
            [sys.executable, victims.__file__, self.kind, self.shape, self.packing],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # else what comes right after the first line is read with it, and lost
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> tuple[str, int, int]:
        """Wait for a program, which must succeed without a word on stderr: (value, computed, hit)."""
        out, err = process.communicate(timeout=WAIT_S)
        assert (process.returncode, err) == (0, b""), f"exit code {process.returncode}: {err.decode()}"
        value, computed, hit = out.decode().split()
        return value, int(computed), int(hit)

    def _undisturbed(self) -> tuple[str, Rows, float]:
        process = self.start("undisturbed")
        began = time.monotonic()
        value, computed, hit = self.finish(process)
        seconds = time.monotonic() - began
        rows, _ = self.inspect("undisturbed")
        assert (computed, 0) == (len(rows), hit)
        return value, rows, seconds

    # --- one round ---

    def kill(self) -> None:
        """Run once more, kill something at a random moment, and look at what is left."""
        self.round += 1
        before, _ = self.inspect("killed")
        share = 1 - len(before) / len(self.expected)
        has_rival = self.dice.random() < 1 / 3
        process = self.start("killed")
        rival = self.start("killed") if has_rival else None
        self._let_run(process, self.seconds * share)
        is_running = process.poll() is None
        if is_running:
            self._kill_some(process)
        else:
            assert self.value == self.finish(process)[0]
            self.counts["came too late"] += 1
        if rival is not None:
            assert self.value == self.finish(rival)[0]
            self.counts["beside another run"] += is_running
        until(lambda: not processes_of_group(process.pid))
        after, orphans = self.inspect("killed")
        self.is_complete = len(after) == len(self.expected)
        self.counts["rounds"] += 1
        self.counts["orphan files"] = orphans
        self._check_computations(before, after, killed=process.pid)

    def _let_run(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        """Wait for a random time that counts from the first worker, as a rule."""
        if self.kind == "processes" and self.dice.random() < 0.9:
            until(lambda: process.poll() is not None or len(processes_of_group(process.pid)) > 1)
            seconds *= 0.8
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=self.dice.uniform(0.0, seconds))

    def _kill_some(self, process: subprocess.Popen[bytes]) -> None:
        workers = [pid for pid in processes_of_group(process.pid) if pid != process.pid]
        choice = VICTIMS if workers else ("all",)
        victim = min(choice, key=lambda each: (self.kills[each], self.dice.random()))
        self.kills[victim] += 1
        self.counts[f"killed {victim}"] += 1
        if victim == "worker":
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(workers), signal.SIGKILL)
            assert self.value == self.finish(process)[0]
            return
        if victim == "all":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        self.is_all_kept = victim == "parent"

    is_complete = False
    is_all_kept = False

    def _check_computations(self, before: Rows, after: Rows, killed: int) -> None:
        """Nothing that was kept was computed again, and what is not kept was being computed or gathered.

        What another run computed beside the one that was killed is kept, all of it.
        """
        attempts = [each for each in self.computations() if each.round == self.round]
        mine = [each for each in attempts if not each.has_failed]
        kept, known = _calls(after), _calls(before)
        assert [] == sorted({each.call for each in mine} & known)
        last = {each.call: each for each in mine}
        lost = [each for each in mine if each.ended is not None and (each.call not in kept or each != last[each.call])]
        assert [] == [each for each in lost if each.group != killed]
        self.counts["failed or timed out"] += len(attempts) - len(mine)
        self.counts["computed"] += len(mine)
        self.counts["was running"] += sum(each.ended is None for each in mine)
        self.counts["was not committed yet"] += len(lost)
        if self.is_all_kept:
            assert [] == [each for each in mine if each.call not in kept]
        self.is_all_kept = False
        for worker in {each.worker for each in lost}:
            of_worker = sorted((each for each in lost if each.worker == worker), key=lambda each: each.ended or 0)
            gathered = sum((each.ended or 0) - each.began for each in of_worker[:-1]) / 1e9
            assert gathered <= GATHERED_S, of_worker

    def computations(self, store: str = "killed") -> list[Computation]:
        """Return what the notes tell, in the order in which it began."""
        found: list[Computation] = []
        open_at: dict[tuple[str, str], int] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / f"{store}.notes").read_text().splitlines():
                what, call, number, worker, moment = line.split()
                if what == "begin":
                    open_at[call, worker] = len(found)
                    found.append(Computation(call, int(number), worker, int(moment), None))
                else:
                    at = open_at[call, worker]
                    found[at] = found[at]._replace(ended=int(moment), has_failed=what == "fail")
        return found

    def settle(self) -> None:
        """Let it finish undisturbed: the same value, only the rest computed; what kills left behind can be collected.

        The next round begins with nothing.
        """
        self.round += 1
        kept, _ = self.inspect("killed")
        value, computed, hit = self.finish(self.start("killed"))
        assert (self.value, len(self.expected)) == (value, computed + hit)
        mine = {each.call for each in self.computations() if each.round == self.round and not each.has_failed}
        assert (set(), computed) == (mine & _calls(kept), len(mine))
        rows, _ = self.inspect("killed")
        assert self.expected == rows
        with open_store(self.folder / "killed"):
            collect(apply=True)
        assert (self.expected, 0) == self.inspect("killed")
        assert (self.value, 0, len(self.expected)) == self.finish(self.start("killed"))
        self.counts["settled"] += 1
        shutil.rmtree(self.folder / "killed")
        for notes in self.folder.glob("killed.notes*"):
            notes.unlink()
        self.counts["orphan files in all"] += self.counts.pop("orphan files", 0)

    # --- what is on the disk ---

    def inspect(self, store: str) -> tuple[Rows, int]:
        """Return (task, row) -> digest of what can be read, and the number of files that no row names.

        Fails if anything is damaged, locked, or a file of which nothing is known.
        """
        root = self.folder / store
        named: set[Path] = set()
        rows: Rows = {}
        disk = DiskStore(str(root))
        try:
            for database in root.glob("checkpoint/*/cache.db"):
                named |= _checked_database(database)
            for task in disk.tasks():
                assert [] == disk.damaged(task)
                for row, entry in disk.scan(task):
                    found = disk.read(task, row)
                    assert found is not None
                    assert entry.digest == codec.verify(found[1])
                    rows[task, row] = entry.digest
        finally:
            disk.close()
        if store == "killed":
            assert {} == {at: digest for at, digest in rows.items() if self.expected.get(at) != digest}
        files = [path for path in root.rglob("*") if path.is_file()]
        assert [] == [str(path) for path in files if not _KNOWN.fullmatch(path.relative_to(root).as_posix())]
        in_tmp = [path.name for path in (self.folder / "tmp").iterdir()]
        assert [] == [name for name in in_tmp if not name.startswith("checkpoint-")]
        values = {path for path in files if _VALUE.fullmatch(path.name)}
        assert set() == named - values
        return rows, len(values - named)


def _checked_database(file: Path) -> set[Path]:
    """Return the files that its rows name; fail if it is damaged, or locked although no process is left."""
    with contextlib.closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Cache'").fetchall():
            return set()  # killed while it was made
        names = database.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL").fetchall()
        return {file.parent / name for (name,) in names}


def _calls(rows: Rows) -> set[str]:
    """Return the calls whose results are among rows, as the notes name them."""
    found = set()
    for task, row in rows:
        number = re.search(r'"number":(\d+)', row)
        found.add(f"{task.rpartition('.')[2]}-{number[1] if number else 0}")
    return found


@contextlib.contextmanager
def loop_in(folder: Path, kind: str, shape: str, packing: str, seed: object, kills: Counter[str]) -> Iterator[KillLoop]:
    """Give a loop; a failure tells its seed and leaves the folder as it is."""
    try:
        loop = KillLoop(folder, kind, shape, packing, random.Random(f"{seed} {kind} {shape} {packing}"), kills)
        yield loop
    except BaseException as error:
        error.add_note(f"kill loop of {kind}, {shape}, {packing} with seed {seed!r} in {folder}")
        raise
    shutil.rmtree(folder)


def play(
    folder: Path, kind: str, shape: str, packing: str, seed: object, rounds: int, kills: Counter[str] | None = None
) -> Counter[str]:
    """Play some rounds; a store ends with every sixth (for large values, every third), or when it is complete."""
    with loop_in(folder, kind, shape, packing, seed, Counter() if kills is None else kills) as loop:
        for number in range(1, rounds + 1):
            loop.kill()
            if number % (3 if shape == "large" else 6) == 0 or number == rounds or loop.is_complete:
                loop.settle()
        return loop.counts


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    ends = time.monotonic() + 60 * options.minutes
    totals: Counter[str] = Counter()
    kills: Counter[str] = Counter()
    turn = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < ends:
            kind, packing = TURNS[turn % len(TURNS)], PACKINGS[turn // 2 % 2]
            turn += 1
            for shape in SHAPES:
                seed = f"{options.seed}.{turn}"
                rounds = 3 if shape == "large" else 12
                found = play(Path(folder, "loop"), kind, shape, packing, seed, rounds, kills)
                totals += found
                print(f"{kind} {shape} {packing}: {dict(found)}", flush=True)
    print(f"in all: {dict(totals)}")


if __name__ == "__main__":
    _main()
