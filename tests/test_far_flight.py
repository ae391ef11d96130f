"""Programs on several hosts at once, which share a store and nothing else: each instance is computed by one of them.

A host is a local folder of its own here, so that no lock of the operating system is shared. `test_hosts.py` has some
with a network of their own. Letters in brackets name promises.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from buckets import S3

import checkpoint

WAIT_S = 120
FOLDER = Path(__file__).parent
PATHS = os.pathsep.join(map(str, [Path(checkpoint.__file__).parents[1], FOLDER]))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these tests need the locks of Linux")


#: For tests whose long waits and many programs cost too much in both kinds of store.
SELDOM_IN_S3 = pytest.mark.parametrize(
    "new_url", ["folder", pytest.param("s3", marks=pytest.mark.stress)], indirect=True
)


@pytest.fixture(params=["folder", "s3"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """Return a function that gives the address of the store, with leases of so many seconds."""
    url = request.getfixturevalue("s3").new_url() if request.param == "s3" else f"file://{tmp_path}/shared?shared"
    return lambda lease: f"{url}&lease={lease}"


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program on a host, which has a disk of its own."""
    started: list[subprocess.Popen[str]] = []

    def start_program(host: str, url: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        own = {"PYTHONPATH": PATHS, "CP_CACHE_DIR": url, "CP_LOCAL_DIR": str(tmp_path / host), "HOST": host}
        started.append(
            subprocess.Popen(
                [sys.executable, *arguments], cwd=tmp_path, env=os.environ | own | environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        )  # fmt: skip
        return started[-1]

    yield start_program
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


PROGRAM = """
import os, sys
from checkpoint import memo, run_report
from checkpoint.events import Observer

class Watch(Observer):
    def notify(self, event):
        if event.kind.value == "parked":
            print("parked", flush=True)

@memo(name="far.value")
def value(number: int) -> str:
    print("computing", flush=True)
    sys.stdin.readline()
    return "of " + os.environ["HOST"]

@memo(name="far.after")
def after(text: str) -> str:
    return text + ", used"

@memo(name="far.left")
def left() -> str:
    if os.environ["HOST"] == "two":
        return "left"
    print("computing", flush=True)
    sys.stdin.readline()
    return "left of " + right().run(observers=[Watch()])

@memo(name="far.right")
def right() -> str:
    if os.environ["HOST"] == "one":
        return "right"
    print("computing", flush=True)
    sys.stdin.readline()
    return "right of " + left().run(observers=[Watch()])

wanted = {"value": lambda: after(value(1)), "left": left, "right": right}[sys.argv[1]]()
report = run_report(wanted, executor="serial", observers=[Watch()])
print("value", report.value, "computed", report.computed, "found", report.found, flush=True)
"""


def heard(program: subprocess.Popen[str], line: str) -> None:
    """Wait until a program says something."""
    assert program.stdout is not None
    assert f"{line}\n" == program.stdout.readline()


def finish(program: subprocess.Popen[str], said: str | None = "\n", seconds: float = WAIT_S) -> str:
    """Let a program go on and wait for its end; return the last thing that it says."""
    out, err = program.communicate(said, timeout=seconds)
    assert (program.returncode, err) == (0, "")
    return out.splitlines()[-1]


def test_a_host_waits_for_what_another_one_computes(new_url: Callable[..., str], start: Start) -> None:
    """The second host leaves the instance aside and takes the first one's result, not its own. [T3]"""
    one = start("one", new_url(30), "-c", PROGRAM, "value")
    heard(one, "computing")
    two = start("two", new_url(30), "-c", PROGRAM, "value")
    heard(two, "parked")
    said = [finish(one), finish(two)]
    assert ["value of one, used computed 2 found 0"] == said[:1]
    assert said[1] in ("value of one, used computed 1 found 1", "value of one, used computed 0 found 2")


@SELDOM_IN_S3
def test_a_host_takes_over_from_one_that_died(new_url: Callable[..., str], start: Start) -> None:
    """After SIGKILL of the host that computes, another one has the lease when it has run out. [T3]"""
    one = start("one", new_url(2), "-c", PROGRAM, "value")
    heard(one, "computing")
    two = start("two", new_url(2), "-c", PROGRAM, "value")
    heard(two, "parked")
    os.killpg(one.pid, signal.SIGKILL)
    heard(two, "computing")
    assert "value of two, used computed 2 found 0" == finish(two)


def test_a_program_that_is_started_again_need_not_wait(new_url: Callable[..., str], start: Start) -> None:
    """The same host knows by its locks that the owner of a lease is dead, however long that would last. [T3]"""
    one = start("one", new_url(600), "-c", PROGRAM, "value")
    heard(one, "computing")
    os.killpg(one.pid, signal.SIGKILL)
    one.communicate()
    again = start("one", new_url(600), "-c", PROGRAM, "value")
    heard(again, "computing")
    assert "value of one, used computed 2 found 0" == finish(again)


@SELDOM_IN_S3
def test_a_host_that_is_stopped_for_long_yields_to_the_first_result(new_url: Callable[..., str], start: Start) -> None:
    """Two owners for a while: the first result stays, and the later one's run uses it, too. [T3]"""
    one = start("one", new_url(2), "-c", PROGRAM, "value")
    heard(one, "computing")
    os.killpg(one.pid, signal.SIGSTOP)
    two = start("two", new_url(2), "-c", PROGRAM, "value")
    heard(two, "parked")
    heard(two, "computing")
    said = [finish(two)]
    os.killpg(one.pid, signal.SIGCONT)
    said.append(finish(one))
    assert "value of two, used computed 2 found 0" == said[0]
    assert said[1].startswith("value of two, used ")


@SELDOM_IN_S3
def test_without_leases_hosts_do_not_wait(new_url: Callable[..., str], start: Start) -> None:
    """With lease=0 both hosts compute; the first result counts, for both. [T3]"""
    one, two = (start(host, new_url(0), "-c", PROGRAM, "value") for host in ("one", "two"))
    heard(one, "computing")
    heard(two, "computing")
    said = [finish(two), finish(one)]
    assert "value of two, used computed 2 found 0" == said[0]
    assert said[1].startswith("value of two, used ")


@SELDOM_IN_S3
def test_inner_runs_that_wait_for_each_other_go_on(new_url: Callable[..., str], start: Start) -> None:
    """A holds a and wants b, B holds b and wants a, on two hosts: both end. [T3]"""
    one, two = start("one", new_url(2), "-c", PROGRAM, "left"), start("two", new_url(2), "-c", PROGRAM, "right")
    for program in (one, two):
        heard(program, "computing")
    for program in (one, two):
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    said = [finish(program, None).partition(" computed")[0] for program in (one, two)]
    assert said[0] in ("value left", "value left of right")  # the first result of each stays, whoever had it
    assert said[1] in ("value right", "value right of left")


# --- many at once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new_url", "programs", "size", "wanted", "kills", "lease"),
    [
        pytest.param("folder", 3, 60, 6, 2, 4, id="folder-few"),
        pytest.param("folder", 16, 1000, 400, 60, 15, id="folder-many", marks=pytest.mark.stress),
        pytest.param("s3", 3, 60, 6, 2, 4, id="s3-few", marks=pytest.mark.stress),
        pytest.param("s3", 6, 150, 60, 12, 15, id="s3-some", marks=pytest.mark.stress),  # the server is a slow one
    ],
    indirect=["new_url"],
)
def test_a_kill_on_one_of_many_hosts_costs_what_was_running(
    programs: int,
    size: int,
    wanted: int,
    kills: int,
    lease: int,
    new_url: Callable[..., str],
    start: Start,
    tmp_path: Path,
) -> None:
    """With random kills, only attempts of killed programs are made again, and every host gets the same values. [T3]"""
    kinds, dice, log = ["serial", "threads", "processes"], random.Random(kills), tmp_path / "log"

    def start_one(host: int, asking: int = wanted) -> subprocess.Popen[str]:
        return start(
            f"host-{host}", new_url(lease), str(FOLDER / "overlapping.py"), kinds[host % 3], str(host), str(asking),
            LOG=str(log), SECONDS="0.15", SIZE=str(size))  # fmt: skip

    running = [start_one(host) for host in range(programs)]
    killed = set()
    until(log)
    for _ in range(kills):
        host = dice.randrange(programs)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running[host].wait(timeout=dice.uniform(0.2, 2.0))
            continue
        os.killpg(running[host].pid, signal.SIGKILL)
        killed.add(running[host].pid)
        running[host] = start_one(host)
    values = [finish(process, None, 20 * WAIT_S).split()[0] for process in running]
    attempts = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    computed = Counter(cell for group, cell in attempts if group not in killed)
    assert {1} == set(computed.values()) | {1}
    again = [cell for cell, count in Counter(cell for _, cell in attempts).items() if count > 1]
    assert {cell for group, cell in attempts if group in killed} >= set(again)
    alone = start_one(0)
    assert [values[0], "0", "0"] == finish(alone).split()


def until(path: Path) -> None:
    """Wait until a file exists; fail if it never does."""
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_s3_has_nothing_left(s3: S3, start: Start) -> None:
    """After programs that ended by themselves there is no lease and no sign of life in the bucket. [T3]"""
    url = s3.new_url()
    one = start("one", url, "-c", PROGRAM, "value")
    heard(one, "computing")
    finish(one)
    s3.log()
    from checkpoint.store.shared.address import shared_store

    assert [] == shared_store(url)._objects.names("checkpoint/.claims/")
