"""Dask whose workers are other processes in other folders, which have nothing of the user's code, and may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import PACKAGE, Cluster, cluster_in, wait_for

from checkpoint import ExecutorTraits, TaskLostError, memo, run, run_report
from checkpoint.foreign import logger as foreign_logger
from checkpoint.remote import Facts, difference, facts_of_here
from checkpoint.testing import slow_or_bad

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask warns of lost connections

HELPERS = """
import os, time
from pathlib import Path

def begun(folder, i):
    '''Note that an instance runs, and wait as long as a file says.'''
    name = f"{i}-{os.getpid()}-{time.time_ns()}"
    Path(folder, "begun", name).touch()
    while Path(folder, f"hold-{i}").exists():
        time.sleep(0.01)
    time.sleep(0.2)  # longer than what is put into one batch
    Path(folder, "ended", name).touch()
"""
PROGRAM = """
import sys
from checkpoint import memo, run_report
from helpers import begun

@memo(version=1)
def part(i, folder):
    begun(folder, i)
    return i * i

@memo(version=1)
def total(parts):
    return sum(parts)

if __name__ == "__main__":
    address, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    report = run_report(total([part(i, folder) for i in range(count)]), executor=address, progress=False)
    print(report.value, report.computed, flush=True)
"""


class Program:
    """The user's script, with a module beside it that no worker has."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self._processes: list[subprocess.Popen[str]] = []
        for name in ("begun", "ended"):
            (folder / name).mkdir(parents=True)
        (folder / "helpers.py").write_text(HELPERS)
        (folder / "program.py").write_text(PROGRAM)

    def start(self, address: str, patience: str = "3s") -> subprocess.Popen[str]:
        """Start the script; it gives up a lost scheduler after some time."""
        command = [sys.executable, "program.py", address, str(self.folder), str(self.count)]
        environment = {**os.environ, "PYTHONPATH": PACKAGE, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": patience}
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End what was started, also after a test that failed."""
        self.let_go()
        for process in self._processes:
            with process:  # waits, and closes its pipes
                process.kill()

    def finish(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        output, errors = process.communicate(timeout=120)
        return output.strip(), errors

    def calls(self, what: str) -> Counter[int]:
        """Return how often each part was begun, or ended."""
        return Counter(int(name.split("-")[0]) for name in os.listdir(self.folder / what))

    def hold(self, *parts: int) -> None:
        for i in parts:
            (self.folder / f"hold-{i}").touch()

    def let_go(self) -> None:
        for file in self.folder.glob("hold-*"):
            file.unlink()

    def expected(self) -> int:
        return sum(i * i for i in range(self.count))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_in(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster that tests share which harm no part of it."""
    with cluster_in(tmp_path_factory.mktemp("standing")) as cluster:
        yield cluster


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path / "project", 20)
    yield program
    program.close()


@pytest.mark.stress
def test_a_killed_worker_costs_what_it_was_running(cluster: Cluster, program: Program) -> None:
    """A script whose modules no worker has completes although a worker is killed; only its call is made twice."""
    program.hold(3)
    process = program.start(cluster.address)
    wait_for(lambda: 3 in program.calls("begun"))
    (name,) = [name for name in os.listdir(program.folder / "begun") if name.startswith("3-")]
    victim = next(worker for worker in cluster.workers if worker.pid == int(name.split("-")[1]))
    victim.kill()
    victim.wait()
    program.let_go()
    output, errors = program.finish(process)
    assert f"{program.expected()} 21" == output, errors
    assert {3: 2} == {i: count for i, count in program.calls("begun").items() if count != 1}


@pytest.mark.stress
def test_a_killed_driver_goes_on_where_it_was(cluster: Cluster, program: Program) -> None:
    """After a kill of the driver, the next one computes only what was neither kept nor being computed."""
    program.hold(8, 9)
    process = program.start(cluster.address)
    wait_for(lambda: {8, 9} <= set(program.calls("begun")))
    process.kill()
    process.communicate()
    program.let_go()
    wait_for(lambda: program.calls("begun").total() == program.calls("ended").total())
    kept = set(program.calls("ended")) - {8, 9}
    output, errors = program.finish(program.start(cluster.address))
    assert str(program.expected()) == output.split()[0], errors
    assert len(kept) > 0
    assert {} == {i: count for i, count in program.calls("begun").items() if count > 1 + (i in (8, 9))}


def test_a_run_that_loses_a_worker_and_its_driver_completes(cluster: Cluster, program: Program) -> None:
    """A worker and then the driver are killed; the next driver computes nothing twice but what was running then."""
    program.hold(3, 12, 13)
    process = program.start(cluster.address)
    wait_for(lambda: 3 in program.calls("begun"))
    (name,) = [name for name in os.listdir(program.folder / "begun") if name.startswith("3-")]
    victim = next(worker for worker in cluster.workers if worker.pid == int(name.split("-")[1]))
    victim.kill()
    victim.wait()
    (program.folder / "hold-3").unlink()
    wait_for(lambda: program.calls("begun").total() > program.calls("ended").total() + 1)
    process.kill()
    process.communicate()
    running = set(program.calls("begun")) - set(program.calls("ended")) | {3}
    program.let_go()
    output, errors = program.finish(program.start(cluster.address))
    assert str(program.expected()) == output.split()[0], errors
    again = {i for i, count in program.calls("begun").items() if count > 1}
    assert again <= running
    assert len(program.calls("ended")) == program.count > len(running)


def test_a_scheduler_that_is_gone_ends_the_run_and_loses_nothing(
    cluster: Cluster, standing: Cluster, program: Program
) -> None:
    """When the scheduler dies the run ends with an error that says so; on another cluster the rest is computed."""
    program.hold(8, 9)
    process = program.start(cluster.address)
    wait_for(lambda: {8, 9} <= set(program.calls("begun")))
    cluster.close()
    output, errors = program.finish(process)
    assert "" == output
    assert "TaskLostError" in errors.splitlines()[-1]
    assert "scheduler" in errors
    program.let_go()
    kept = set(program.calls("ended"))
    output, errors = program.finish(program.start(standing.address))
    assert str(program.expected()) == output.split()[0], errors
    assert len(kept) > 0
    assert {} == {i: count for i, count in program.calls("begun").items() if i in kept and count > 1}


@pytest.mark.stress
def test_a_scheduler_that_comes_back_is_used_again(cluster: Cluster, program: Program) -> None:
    """A run outlives a restart of the scheduler at the same address; what was running is computed once more."""
    program.hold(8, 9)
    process = program.start(cluster.address, patience="60s")
    wait_for(lambda: {8, 9} <= set(program.calls("begun")))
    port = int(cluster.address.rpartition(":")[2])
    cluster.close()
    cluster.start_scheduler(port)
    cluster.start_worker()
    program.let_go()
    output, errors = program.finish(process)
    assert f"{program.expected()} 21" == output, errors
    assert {} == {i: count for i, count in program.calls("begun").items() if count > 1 + (i in (8, 9))}


# --- what a worker has not --------------------------------------------------------------------------------


@memo
def half(x: int) -> int:
    return x // 2


@memo
def added(parts: list[int]) -> int:
    return sum(parts)


def test_values_travel_where_workers_cannot_open_the_store(
    standing: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Workers that find another folder at the store's path are noticed at once, and nothing is written to it."""
    private = tmp_path / "private"
    mount = Path("/proc/self/cwd/private")  # this folder is another one in each process
    monkeypatch.chdir(tmp_path)
    wanted = added([half(i) for i in range(10)])
    with caplog.at_level("WARNING", foreign_logger.name):
        report = run_report(wanted, executor=standing.address, store=mount)
    assert (20, 11) == (report.value, report.computed)
    assert "values travel through this process" in caplog.text
    assert 0 == run_report(wanted, executor="serial", store=private).computed
    assert [] == list(standing.folder.glob("worker-*/private"))


def test_workers_of_another_python_are_refused() -> None:
    """What differs is named, with what to do."""
    here = facts_of_here()
    other = Facts("3.9", here.checkpoint, "node7")
    assert "" == difference(here, here._replace(host="node7"))
    assert "a worker on node7 has Python 3.9" in difference(here, other)
    assert "start workers with the same versions" in difference(here, other)


def test_workers_without_this_package_are_named(tmp_path: Path) -> None:
    """A cluster where the package isn't installed is refused before anything is submitted."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "checkpoint.py").write_text("raise ImportError('there is none')")
    cluster = Cluster(tmp_path / "bare")
    try:
        cluster.start_scheduler()
        cluster.start_worker(PYTHONPATH=str(hidden))
        wait_for_workers(cluster, 1)
        with pytest.raises(TaskLostError, match="cannot import checkpoint"):
            run([half(1), half(2)], executor=cluster.address)
    finally:
        cluster.close()


def wait_for_workers(cluster: Cluster, count: int) -> None:
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


# --- what Dask is asked -----------------------------------------------------------------------------------


def test_a_pool_is_a_resource_of_the_workers(standing: Cluster) -> None:
    """Instances with pool="gpu" run on workers that offer it, as many at once as these offer."""

    @memo(pool="gpu", version=1)
    def where(i: int) -> int:
        import os
        import time

        time.sleep(0.05)
        return os.getpid()

    special = standing.start_worker("--resources", "gpu=1")
    wait_for_workers(standing, 3)
    found = run([where(i) for i in range(6)], executor=standing.address)
    assert {special.pid} == set(found)


def test_a_run_that_stops_tells_all_workers(standing: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure, batches that wait in Dask's queue are not begun, though the workers see none of our files."""
    wait_for_workers(standing, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", "/proc/self/cwd")  # another folder in each process
    wanted = [slow_or_bad(x) for x in range(60)]
    with pytest.raises(KeyError, match="bad"):
        run(wanted, executor=standing.address, max_workers=60)
    assert sum(instance.is_cached() for instance in wanted) < 30


def test_a_client_of_the_user_stays_open(standing: Cluster) -> None:
    """A Client that was given, or is the default one, is used and left as it is."""
    from distributed import Client

    with Client(standing.address) as client:
        client.wait_for_workers(2, timeout=60)
        before = client.id
        for executor in (client, "dask", client.get_executor()):
            any_executor: Any = executor
            assert [0, 0, 1] == run([half(i) for i in range(3)], executor=any_executor, force=True)
        assert (before, "running") == (client.id, client.status)


def test_traits_can_be_given_beside_a_client(standing: Cluster) -> None:
    """What is stated in run(traits=...) counts more than what is known of Dask."""
    assert 1 == run(half(3), executor=standing.address, traits=ExecutorTraits(via="parent", workers=1))


def test_nobody_at_an_address() -> None:
    """An address where no scheduler answers is an error that says so."""
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}), pytest.raises(OSError, match="no Dask sched"):
        run([half(1), half(2)], executor="tcp://127.0.0.1:9")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
