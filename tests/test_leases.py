"""Leases: claims that hold between hosts, whatever order things happen in. Letters in brackets name promises.

Hosts are owners of leases over the same objects, with a clock that the test sets.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from checkpoint import StoreError
from checkpoint.store import Standing
from checkpoint.store.shared.address import shared_store
from checkpoint.store.shared.lease import Lease, place_of
from checkpoint.store.shared.memory import MemoryObjects
from checkpoint.store.shared.objects import Parts
from checkpoint.store.shared.owner import Owner

NAME = 77
LEASE_S = 100.0


class Clock:
    """A clock that stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Wire:
    """A host's way to the objects: it can be cut, and something can happen before a call gets through."""

    name_limit = 700
    concurrency = 1

    def __init__(self, objects: MemoryObjects) -> None:
        self._objects = objects
        self.is_cut = False
        self.before: Callable[[str, str], None] = lambda what, name: None
        self.calls: list[str] = []

    def _pass(self, what: str, name: str) -> None:
        self.calls.append(what)
        self.before(what, name)
        if self.is_cut:
            raise StoreError("memory://", "the network is away", "plug it in")

    def names(self, prefix: str) -> list[str]:
        self._pass("names", prefix)
        return self._objects.names(prefix)

    def folders(self, prefix: str) -> list[str]:
        return self._objects.folders(prefix)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        self._pass("get", name)
        return self._objects.get(name, start, end)

    def put(self, name: str, parts: Parts) -> None:
        self._pass("put", name)
        self._objects.put(name, parts)

    def create(self, name: str, data: bytes) -> bool:
        self._pass("create", name)
        return self._objects.create(name, data)

    def move(self, name: str, to: str) -> None:
        self._objects.move(name, to)

    def delete(self, names: Sequence[str]) -> None:
        if names:
            self._pass("delete", names[0])
        self._objects.delete(names)

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


class World:
    """Objects, a clock, and hosts."""

    def __init__(self) -> None:
        self.objects = MemoryObjects()
        self.clock = Clock()
        self._hosts: list[Owner] = []

    def host(self) -> tuple[Owner, Wire]:
        """Return a new host."""
        wire = Wire(self.objects)
        self._hosts.append(Owner(wire, LEASE_S, self.clock))
        return self._hosts[-1], wire

    def end(self) -> None:
        """Let no threads be left of hosts that died."""
        for owner in self._hosts:
            if owner._heart is not None:
                owner._heart.stop()

    def leases(self) -> list[str]:
        """Return the names of the leases that are there."""
        return [name for name in self.objects.names("checkpoint/.claims/") if "owner-" not in name]


def standing(owner: Owner, scope: str = "", name: int = NAME) -> str:
    return owner.standings([name], scope)[name].name


@pytest.fixture
def world() -> Iterator[World]:
    """Return a world without hosts."""
    made = World()
    yield made
    made.end()


def test_one_host_has_a_lease(world: World) -> None:
    """What one host has another can't get until it is given back; then nothing is left of it. [T3]"""
    (one, _), (two, _) = world.host(), world.host()
    answers = [one.acquire(NAME, ""), two.acquire(NAME, ""), two.acquire(NAME + 1, "")]
    seen = standing(two)
    one.release([NAME])
    answers += [two.acquire(NAME, "")]
    two.release([NAME, NAME + 1])
    assert ([True, False, True, True], "RUNNING", []) == (answers, seen, world.leases())


def test_a_lease_costs_two_requests(world: World) -> None:
    """Taking is one request and giving back another, for any number at once. [T3]"""
    one, wire = world.host()
    for name in (1, 2, 3):
        one.acquire(name, "")
    one.release([1, 2, 3])
    assert ["create", "create", "create", "delete"] == wire.calls


def test_a_lease_runs_out_without_a_sign_of_life(world: World) -> None:
    """Who watches a dead host's lease for longer than it lasts, by its own clock, may have it. [T3]"""
    (dead, _), (two, _) = world.host(), world.host()
    dead.acquire(NAME, "")
    world.clock.now += 10 * LEASE_S  # nobody has watched so far
    seen = [standing(two)]
    world.clock.now += LEASE_S
    seen.append(standing(two))
    world.clock.now += 1
    seen.append(standing(two))
    assert (["RUNNING", "RUNNING", "FREE"], [], True) == (seen, world.leases(), two.acquire(NAME, ""))
    dead.release([NAME])
    assert 1 == len(world.leases())
    two.release([NAME])


def test_signs_of_life_keep_a_lease(world: World) -> None:
    """A host that gives a sign now and then keeps what it has, however long that takes. [T3]"""
    (one, wire), (two, _) = world.host(), world.host()
    one.acquire(NAME, "")
    seen = []
    for _ in range(10):
        world.clock.now += 0.6 * LEASE_S
        one.beat()
        seen.append(standing(two))
    one.release([NAME])
    assert ({"RUNNING"}, [], 10) == (set(seen), world.leases(), wire.calls.count("put"))


def test_how_a_lease_stands_is_told_with_the_signs(world: World) -> None:
    """A holder that waits itself, or has gathered, can be seen to from other hosts. [T3]"""
    (one, _), (two, _) = world.host(), world.host()
    one.acquire(NAME, "")
    seen = []
    for mark in (Standing.GATHERED, Standing.WAITING, Standing.RUNNING):
        one.mark(NAME, mark)
        one.beat()
        seen.append(standing(two))
    one.release([NAME])
    assert ["GATHERED", "WAITING", "RUNNING"] == seen


def test_who_begins_to_wait_tells_so_at_once(world: World) -> None:
    """The mark of a holder that waits doesn't wait for the next sign. [T3]"""
    (one, wire), (two, _) = world.host(), world.host()
    told = threading.Event()
    wire.before = lambda what, name: told.set() if what == "delete" and "owner-" in name else None
    one.acquire(NAME, "")
    puts = threading.Event()
    wire.before = lambda what, name: puts.set() if what == "put" else None
    one.mark(NAME, Standing.WAITING)
    assert puts.wait(20)
    one.release([NAME])  # waits for the thread
    assert "FREE" == standing(two)
    assert [] == world.objects.names("checkpoint/.claims/")


def test_the_next_process_of_a_host_need_not_wait(world: World) -> None:
    """Who holds the local claim knows that another one of the same scope has died, and has its lease at once. [T3]"""
    (dead, _), (two, _), (three, _) = world.host(), world.host(), world.host()
    dead.acquire(NAME, "boot:1:2")
    answers = [two.acquire(NAME, "boot:1:3"), standing(three, "boot:1:2"), three.acquire(NAME, "boot:1:2")]
    three.release([NAME])
    assert ([False, "FREE", True], []) == (answers, world.leases())


def test_what_cannot_be_asked_is_granted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """With the network away everything is granted, for a while without asking again, and the log says so. [T3]"""
    (one, _), (two, wire) = world.host(), world.host()
    one.acquire(NAME, "")
    wire.is_cut = True
    answers = [two.acquire(NAME, ""), two.acquire(NAME, ""), standing(two)]
    asked = len(wire.calls)
    two.release([NAME])
    wire.is_cut = False
    world.clock.now += 2 * LEASE_S
    answers.append(two.acquire(NAME, ""))
    one.release([NAME])
    assert ([True, True, "FREE", False], 2) == (answers, asked)
    assert ["claims hold on this machine alone for the next 100 s"] == [
        record.getMessage().partition(":")[0] for record in caplog.records]  # fmt: skip


def test_a_host_that_was_cut_off_leaves_the_lease_of_its_follower_alone(world: World) -> None:
    """A lease that ran out during a cut isn't the old owner's any more, although its signs go on. [T3]"""
    (one, wire), (two, _) = world.host(), world.host()
    one.acquire(NAME, "")
    standing(two)
    wire.is_cut = True
    one.beat()
    world.clock.now += LEASE_S + 1
    assert ("FREE", True) == (standing(two), two.acquire(NAME, ""))
    wire.is_cut = False
    one.beat()
    one.release([NAME])
    assert 1 == len(world.leases())
    two.release([NAME])
    assert [] == world.leases()


@pytest.mark.parametrize("data", [b"", b"[]", b'["a"]', b'["/../x","","",1e9,""]', b'["x","o","s",NaN,"p"]', b"\xff\0"])
def test_what_is_no_lease_runs_out_as_well(data: bytes, world: World) -> None:
    """Whatever stands in a lease's place, nobody waits for it for ever. [T3]"""
    two, _ = world.host()
    world.objects.put(place_of(NAME), [data])
    seen = [two.acquire(NAME, ""), standing(two)]
    world.clock.now += 601
    assert ([False, "RUNNING"], "FREE", []) == (seen, standing(two), world.leases())


def test_who_dies_while_ending_a_lease_holds_nobody_up(world: World) -> None:
    """The right to end a lease runs out, too, at whatever step its owner died. [T3]"""
    for step in range(1, 5):
        (dead, _), (second, wire), (third, _) = world.host(), world.host(), world.host()
        dead.acquire(NAME, "")
        for watcher in (second, third):
            standing(watcher)
        world.clock.now += LEASE_S + 1
        ended = [0]

        def die(what: str, name: str, left: list[int] = ended, last: int = step) -> None:
            left[0] += "!" in name or what == "delete"
            if left[0] == last:
                raise KeyboardInterrupt

        wire.before = die
        try:
            standing(second)
        except KeyboardInterrupt:
            pass
        for _ in range(4):
            standing(third)
            world.clock.now += LEASE_S + 1
        assert ("FREE", True) == (standing(third), third.acquire(NAME, ""))
        third.release([NAME])
        assert place_of(NAME) not in world.leases()  # a right that was used may be left over, and stands for nothing


def test_an_address_says_how_long_leases_last() -> None:
    """`lease=` is a number of seconds, none with 0, and no more than ten minutes. [T3]"""
    kinds = [type(shared_store(f"memory://l?lease={text}").claims()).__name__ for text in ("0", "5")]
    assert [True, False] == [kind == "LeasedClaims" for kind in kinds][::-1]
    for text in ("", "x", "-1", "0.5", "601", "nan", "inf"):
        with pytest.raises(ValueError, match="lease="):
            shared_store(f"memory://l?lease={text}")


def test_a_lease_says_whose_it_is() -> None:
    """What a lease says comes back from its bytes; another one differs. [T3]"""
    lease = Lease.new("me", "here", 30)
    assert (lease, True) == (Lease.parse(lease.to_bytes()), lease != Lease.new("me", "here", 30))


# --- any order -------------------------------------------------------------------------------------------

HOSTS, NAMES = 4, 2
acts = st.sampled_from(["take", "take", "release", "look", "look", "look"])
hosts = st.integers(0, HOSTS - 1)
names = st.integers(0, NAMES - 1)
#: Before which of its calls a host is held up, and what others do meanwhile.
interrupts = st.lists(st.tuples(st.integers(0, 4), hosts, acts, names, st.booleans()), max_size=4)


class _Hosts(RuleBasedStateMachine):
    """Hosts that take, give back, look and die, each held up by what others do between any two of its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.hosts = [self.world.host() for _ in range(HOSTS)]
        #: (host, name) that hold for certain: alive, and reachable ever since.
        self.holding: set[tuple[int, int]] = set()
        #: (host, name) that may have been taken over.
        self.doubtful: set[tuple[int, int]] = set()
        self.busy: set[int] = set()

    def act(self, host: int, what: str, name: int) -> None:
        owner, wire = self.hosts[host]
        if what == "take" and (host, name) not in self.holding | self.doubtful:
            is_cut = wire.is_cut or owner._away_until > self.world.clock.now
            if owner.acquire(name, f"scope {host}") and not (is_cut or wire.is_cut):
                self.holding.add((host, name))
                self.check(name)
        elif what == "release":
            self.holding.discard((host, name))
            self.doubtful.discard((host, name))
            owner.release([name])
        elif what == "look" and (host, name) not in self.holding | self.doubtful:
            owner.standings([name], f"scope {host}")

    def check(self, name: int) -> None:
        assert 1 >= len([host for host, held in self.holding if held == name])

    def tick(self, seconds: float) -> None:
        self.world.clock.now += seconds
        for owner, _ in self.hosts:
            owner.beat()

    @rule(host=hosts, what=acts, name=names, meanwhile=interrupts)
    def work(self, host: int, what: str, name: int, meanwhile: list[Any]) -> None:
        calls = [0]

        def before(_: str, __: str) -> None:
            number, calls[0] = calls[0], calls[0] + 1
            for at, other, act, about, is_later in meanwhile:
                if at == number and other not in self.busy:
                    self.busy.add(other)
                    if is_later:
                        self.tick(LEASE_S / 50)
                    self.act(other, act, about)
                    self.busy.discard(other)

        self.busy = {host}
        wire = self.hosts[host][1]
        wire.before = before
        self.act(host, what, name)
        wire.before = lambda what, name: None

    @rule(seconds=st.sampled_from([1.0, LEASE_S / 4, LEASE_S / 2]))
    def wait(self, seconds: float) -> None:
        self.tick(seconds)

    @rule(host=hosts)
    def kill(self, host: int) -> None:
        self.hosts[host] = self.world.host()
        self.holding = {(other, name) for other, name in self.holding if other != host}
        self.doubtful = {(other, name) for other, name in self.doubtful if other != host}

    @rule(host=hosts)
    def cut(self, host: int) -> None:
        self.hosts[host][1].is_cut = True
        lost = {(other, name) for other, name in self.holding if other == host}
        self.holding -= lost
        self.doubtful |= lost

    @rule(host=hosts)
    def heal(self, host: int) -> None:
        self.hosts[host][1].is_cut = False

    def teardown(self) -> None:
        for owner, wire in self.hosts:
            if not wire.is_cut:
                owner.release(range(NAMES))
        survivor, _ = self.world.host()
        for _ in range(4):
            survivor.standings(range(NAMES), "")
            self.world.clock.now += LEASE_S + 1
        assert {Standing.FREE} == set(survivor.standings(range(NAMES), "").values())
        assert [] == self.world.leases()
        self.world.end()


@pytest.mark.parametrize("walks", [60, pytest.param(3000, marks=pytest.mark.stress)])
def test_no_two_hosts_hold_a_lease_and_nobody_waits_for_ever(walks: int) -> None:
    """In any order of requests, ticks, deaths and cuts: one holder at most is alive and in touch, and all end. [T3]"""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        _Hosts, settings=settings(max_examples=walks, stateful_step_count=40, deadline=None)
    )


class Turns:
    """Runs calls in threads, one request at a time, in an order that is given."""

    def __init__(self, wires: Sequence[Wire], calls: Sequence[Callable[[], None]]) -> None:
        self._arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._go = [threading.Semaphore(0) for _ in calls]
        self._ended: set[int] = set()
        for number, (wire, call) in enumerate(zip(wires, calls, strict=True)):
            wire.before = functools.partial(self._wait, number)
            threading.Thread(target=self._run, args=(number, call)).start()
            self._arrived.get(timeout=60)

    def _wait(self, number: int, what: str = "", name: str = "") -> None:
        self._arrived.put(number)
        assert self._go[number].acquire(timeout=60)

    def _run(self, number: int, call: Callable[[], None]) -> None:
        call()
        self._ended.add(number)
        self._arrived.put(number)

    def take(self, order: Sequence[int]) -> None:
        """Let each go on by one request in the order; then one after the other to their ends."""
        for number in order:
            self._step(number)
        for number in range(len(self._go)):
            while number not in self._ended:
                self._step(number)

    def _step(self, number: int) -> None:
        if number not in self._ended:
            self._go[number].release()
            self._arrived.get(timeout=60)


@given(order=st.lists(st.integers(0, 2), max_size=24))
@settings(max_examples=300, deadline=None)
def test_of_several_that_take_over_one_gets_it(order: list[int]) -> None:
    """Three hosts that end and take a dead one's lease, request by request in any order: one at most has it. [T3]"""
    world = World()
    dead, _ = world.host()
    found = [world.host() for _ in range(3)]
    dead.acquire(NAME, "")
    for owner, _ in found:
        standing(owner)
    world.clock.now += LEASE_S + 1
    holders: list[int] = []

    def take_over(number: int) -> None:
        owner = found[number][0]
        if standing(owner) == "FREE" and owner.acquire(NAME, ""):
            holders.append(number)

    Turns([wire for _, wire in found], [functools.partial(take_over, number) for number in range(3)]).take(order)
    for _, wire in found:
        wire.before = lambda what, name: None
    assert 1 >= len(holders)
    for number in holders:
        assert ([place_of(NAME)], "RUNNING") == (world.leases(), standing(found[(number + 1) % 3][0]))
    world.end()
