"""Hosts: programs in network namespaces of their own, which share nothing but a server that they reach by network.

These need root and `ip` (Linux); elsewhere they are skipped, and say so.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import final

import pytest
from buckets import CREDENTIALS, SERVER

import checkpoint

ROOT = Path(checkpoint.__file__).parents[1]
NETWORK = "10.213.77"
#: Names of devices have at most 15 characters; several runs of these tests may be at work.
OURS = f"cp{os.getpid() % 10**7}"
#: Each test has names of its own: what a namespace held goes away some time after the command that deletes it.
NUMBERS = itertools.count()


def reason_to_skip() -> str:
    """Return why there can be no hosts here; empty if there can."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "network namespaces need Linux and the command ip"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    made = subprocess.run(["ip", "netns", "add", f"{OURS}-t"], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"this system makes no network namespaces: {made.stderr.strip()}"
    ip("netns", "del", f"{OURS}-t")
    return ""


def ip(*arguments: str) -> None:
    """Run `ip`."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@final
class Host:
    """A host with an address, a folder, and a cable that can be pulled."""

    def __init__(self, number: int, switch: str, folder: Path) -> None:
        name = self.name = f"{OURS}-{next(NUMBERS)}"
        self.address, self.folder = f"{NETWORK}.{number}", folder
        folder.mkdir()
        ip("netns", "add", name)
        ip("link", "add", f"{name}-c", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"{name}-c", "master", switch, "up")
        ip("-n", name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs Python on this host."""
        return ["ip", "netns", "exec", self.name, sys.executable, *arguments]

    def start(self, code: str, url: str) -> subprocess.Popen[str]:
        """Start a program here, with a disk of its own and the address of a store."""
        paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        environment = os.environ | CREDENTIALS | {
            "PYTHONPATH": paths, "CP_CACHE_DIR": url, "CP_LOCAL_DIR": str(self.folder / "local")}  # fmt: skip
        return subprocess.Popen(
            self.command("-c", code), cwd=self.folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip

    def cable(self, state: str) -> None:
        """Pull the cable ("down") or plug it in again ("up")."""
        ip("link", "set", f"{self.name}-c", state)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """Return three hosts on one network."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with contextlib.ExitStack() as undo:
        switch = f"{OURS}-{next(NUMBERS)}"
        ip("link", "add", switch, "type", "bridge")
        undo.callback(ip, "link", "del", switch)
        ip("link", "set", switch, "up")
        made = [Host(number, switch, tmp_path / f"host-{number}") for number in (1, 2, 3)]
        for host in made:
            undo.callback(ip, "netns", "del", host.name)
        yield made


@contextlib.contextmanager
def serving(host: Host) -> Iterator[str]:
    """Serve S3 on a host for a block; yields the address of a new store."""
    with subprocess.Popen(host.command(str(SERVER), host.address), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            endpoint = f"http://{host.address}:{process.stdout.readline().strip()}"
            making = f"import sys; sys.path.insert(0, {str(SERVER.parent)!r}); import buckets; buckets.S3({endpoint!r})"
            subprocess.run(host.command("-c", making), check=True)
            yield f"s3://bucket-of-tests/hosts?endpoint_url={endpoint}&timeout=1"
        finally:
            process.kill()


STEPS = """
import sys
from checkpoint import memo

@memo
def step(n: int, before: list) -> list:
    print("computing", n, flush=True)
    if n == 3 and sys.stdin.readline() == "":
        raise SystemExit
    return [before[0] + n, "large enough to be stored at once" * 1000]

last = step(1, [0])
for n in range(2, 6):
    last = step(n, last)
try:
    print("value", last.run(executor="serial", progress=False)[0])
except OSError as error:
    print("failed", type(error).__name__)
"""


def lines_of(program: subprocess.Popen[str], last: str | tuple[str, ...]) -> list[str]:
    """Return what a program says, up to a line that begins in a certain way."""
    assert program.stdout is not None
    said: list[str] = []
    while not said or not said[-1].startswith(last):
        line = program.stdout.readline()
        assert line, f"it ended after {said}"
        said.append(line.strip())
    return said


def go_on(program: subprocess.Popen[str]) -> None:
    """Let a program go on that waits in step 3."""
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


@pytest.mark.stress
def test_hosts_share_results_through_a_cut_and_a_kill(hosts: list[Host]) -> None:
    """A host that loses its network fails with an error and keeps what it stored; others go on from there.

    The driver is killed, the network is cut and healed, and each step is computed again only if it was running.
    """
    server, one, two = hosts
    with serving(server) as url:
        killed = one.start(STEPS, url)
        said = lines_of(killed, "computing 3")
        killed.kill()
        killed.communicate()

        cut = two.start(STEPS, url)
        said += lines_of(cut, "computing 3")
        two.cable("down")
        go_on(cut)
        rest = cut.communicate(timeout=280)[0].splitlines()
        assert ["failed StoreError"] == rest[-1:]

        two.cable("up")
        healed = two.start(STEPS, url)
        said += lines_of(healed, "computing 3")
        go_on(healed)
        said += healed.communicate(timeout=280)[0].splitlines()
        last = one.start(STEPS, url)
        said += last.communicate(timeout=280)[0].splitlines()
    computing = [line.removeprefix("computing ") for line in said if line.startswith("computing")]
    assert (["1", "2", "3", "3", "3", "4", "5"], ["value 15"] * 2) == (
        sorted(computing), [line for line in said if line.startswith("value")])  # fmt: skip


def test_a_short_cut_is_survived(hosts: list[Host]) -> None:
    """A run whose network comes back within its repetitions ends as if nothing had been."""
    server, one, _ = hosts
    with serving(server) as url:
        program = one.start(STEPS, url)
        lines_of(program, "computing 3")
        one.cable("down")
        go_on(program)
        one.cable("up")
        assert "value 15" in program.communicate(timeout=280)[0]


TURNS = """
import os, sys
from checkpoint import memo, run_report
from checkpoint.events import Observer

class Watch(Observer):
    def notify(self, event):
        if event.kind.value == "parked":
            print("parked", flush=True)

@memo
def value(n: int) -> str:
    print("computing", flush=True)
    sys.stdin.readline()
    return "of " + os.path.basename(os.getcwd())

@memo
def used(text: str) -> str:
    return text + ", used"

report = run_report(used(value(1)), executor="serial", observers=[Watch()])
print("value", report.value, flush=True)
"""


def test_a_host_takes_over_when_the_holder_is_killed(hosts: list[Host]) -> None:
    """Who waits for a host that died computes when its lease has run out; who was killed and is started again waits."""
    server, one, two = hosts
    with serving(server) as url:
        killed = one.start(TURNS, url + "&lease=3")
        lines_of(killed, "computing")
        waiting = two.start(TURNS, url + "&lease=3")
        lines_of(waiting, "parked")
        killed.kill()
        killed.communicate()
        lines_of(waiting, "computing")
        again = one.start(TURNS, url + "&lease=3")
        lines_of(again, "parked")
        go_on(waiting)
        said = [program.communicate(timeout=280)[0].splitlines()[-1] for program in (waiting, again)]
    assert ["value of host-3, used"] * 2 == said


@pytest.mark.stress
def test_of_two_owners_the_first_result_counts(hosts: list[Host]) -> None:
    """A holder whose cable is cut is taken over; back again, it ends with the result that was there first."""
    server, one, two = hosts
    with serving(server) as url:
        cut = one.start(TURNS, url + "&lease=3")
        lines_of(cut, "computing")
        waiting = two.start(TURNS, url + "&lease=3")
        lines_of(waiting, "parked")
        one.cable("down")
        lines_of(waiting, "computing")  # both own it
        go_on(waiting)
        said = waiting.communicate(timeout=280)[0].splitlines()[-1:]
        one.cable("up")
        go_on(cut)
        said += cut.communicate(timeout=280)[0].splitlines()[-1:]
        late = two.start(TURNS, url + "&lease=3")
        said += late.communicate(timeout=280)[0].splitlines()[-1:]
    assert ["value of host-3, used"] * 3 == said


@pytest.mark.stress
def test_who_waits_behind_a_cut_ends_with_an_error(hosts: list[Host]) -> None:
    """A host that is cut off while it waits does not wait for ever; started again it finds what the holder computed."""
    server, one, two = hosts
    with serving(server) as url:
        holder = one.start(TURNS, url + "&lease=30")
        lines_of(holder, "computing")
        waiting = two.start(TURNS, url + "&lease=30")
        lines_of(waiting, "parked")
        two.cable("down")
        last = waiting.communicate("\n", timeout=280)[0].splitlines()[-1]
        assert last.startswith("checkpoint.errors.StoreError: "), last
        two.cable("up")
        go_on(holder)
        said = holder.communicate(timeout=280)[0].splitlines()[-1:]
        late = two.start(TURNS, url + "&lease=30")
        said += late.communicate(timeout=280)[0].splitlines()[-1:]
    assert ["value of host-2, used"] * 2 == said
