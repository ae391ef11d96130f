"""Checking a shared store and making it smaller, while other hosts may be using it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from buckets import S3
from contract_store import KEY, NEVER_CLEARED, TASK, write_of
from kill_loop import until
from programs import chain, square, total
from test_shared import Watched, another, over

from checkpoint import ProblemKind, codec, collect, memo, open_store, run_report, verify
from checkpoint.cli import main
from checkpoint.errors import StoreError
from checkpoint.store import Entry, Write, store_at
from checkpoint.store.shared import inventory as shared_inventory
from checkpoint.store.shared.inventory import SharedInventory
from checkpoint.store.shared.shared import SharedStore


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=pytest.mark.stress)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a new store of each kind."""
    if request.param == "s3":
        s3: S3 = request.getfixturevalue("s3")
        return s3.new_url()
    return f"memory://{tmp_path}" if request.param == "memory" else f"file://{tmp_path}/care?shared"


@memo
def block(n: int, size: int) -> bytes:
    return bytes([n]) * size


@memo
def joined(parts: list[bytes]) -> int:
    return sum(map(len, parts))


def opened(url: str) -> SharedStore:
    store = store_at(url)
    assert isinstance(store, SharedStore)
    return store


def objects_of(url: str, task: str, kind: str = "m/") -> list[str]:
    store = opened(url)
    return sorted(store._objects.names(f"{store._at(task)}{kind}"))


def compute(url: str, *wanted: Any) -> int:
    return run_report(list(wanted), executor="serial", store=url).computed


def test_a_sound_store_has_no_problems(url: str) -> None:
    """Every entry is counted and read; nothing is wrong, whatever the entries were computed from."""
    compute(url, total([square(n) for n in range(20)]), chain(5), block(1, 300_000))
    found = verify(url)
    assert ((), len(list(opened(url).scan(square.name))), 0) == (found.problems, 20, found.snapshot_count)
    assert found.entry_count == sum(len(list(opened(url).scan(task))) for task in opened(url).tasks())
    assert found.size > 300_000


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:], "digest"),
        (lambda data: data[:100], ""),
        (lambda data: data + b"!", "key"),
        (lambda data: b"", ""),
    ],
)
def test_changed_bytes_are_damage(change: Callable[[bytes], bytes], reason: str, is_long: bool, tmp_path: Path) -> None:
    """Bits that flipped, and objects that were cut off or grew, are told of, though a copy on this host is sound."""
    url = f"file://{tmp_path}/care?shared"
    compute(url, block(1, 300 + 10**6 * is_long), block(2, 200))
    victim = next(name for name in objects_of(url, block.name) if f"{300 + 10**6 * is_long}" in text_of(url, name))
    objects = opened(url)._objects
    objects.put(victim, [change(objects.get(victim) or b"")])
    (problem,) = verify(url).damage
    assert (ProblemKind.DAMAGED, 2) == (problem.kind, verify(url).entry_count)
    assert reason in problem.detail


def text_of(url: str, name: str) -> str:
    return repr((opened(url)._objects.get(name) or b"")[-80:])


def test_changed_packs_and_records_are_damage(tmp_path: Path) -> None:
    """Texts beside entries are checked as well: what a pack holds by its name, records by their form."""
    url = f"file://{tmp_path}/care?shared"
    keys = [f'{{"n":"{number:0300}"}}' for number in range(40)]
    opened(url).write(TASK, [write_of(key, key, "#1") for key in keys])
    assert 40 == len(list(opened(url).scan(TASK)))  # writes a pack
    opened(url).record(TASK, "code:1", "text")
    for kind in ("k/", "t/"):
        (name,) = objects_of(url, TASK, kind)
        data = opened(url)._objects.get(name) or b""
        opened(url)._objects.put(name, [data[1:]])
        assert any(name.rpartition("/")[2] in problem.place for problem in verify(url).damage)
        opened(url)._objects.put(name, [data])


def test_what_it_was_computed_from_is_looked_up(url: str) -> None:
    """A result whose upstream was cleared is told of, and is no damage."""
    compute(url, joined([block(n, 100) for n in range(3)]))
    opened(url).clear(block.name, block(1, 100).key)
    (problem,) = verify(url).problems
    assert (ProblemKind.UPSTREAM, ()) == (problem.kind, verify(url).damage)
    assert "block(n=1" in problem.detail


def test_reading_takes_bounded_memory_and_many_requests_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries are read 16 at once, never more than a batch of them; a larger one comes in pieces."""
    monkeypatch.setattr(shared_inventory, "_BATCH_BYTES", 50_000)
    monkeypatch.setattr(shared_inventory, "_PIECE_BYTES", 20_000)
    objects = Watched()
    store = over(objects, tmp_path)
    sizes = {"{0}": 100_000} | {f"{{{number}}}": 1_000 for number in range(1, 41)}
    for key, size in sizes.items():
        frame = codec.encode(bytes(size), "f()")
        entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.5, 1e9, frame.size)
        store.write(TASK, [Write(key, key + "#1", NEVER_CLEARED, entry, frame)])
    inventory = SharedInventory(store, 0.0)
    items = list(inventory.items(TASK))
    waiting, most = threading.Barrier(16), []
    large, got = items[0].file or "", 0

    def before(what: str, name: str) -> None:
        nonlocal got
        got += what == "get" and name.endswith(large)

    objects.before = before
    read = []
    for found in inventory.read(TASK, items):
        assert isinstance(found.frame, memoryview)
        assert codec.verify(found.frame) == found.entry.digest
        read.append(found.item.row)
        most.append(len(found.frame))
    assert ([item.row for item in items], 100_000 < max(most)) == (read, True)
    assert 6 == got
    objects.before = lambda what, name: waiting.wait(timeout=20) and None if what == "get" else None
    assert 32 == len(list(inventory.read(TASK, items[1:33])))


# --- collecting ------------------------------------------------------------------------------------------


def test_values_go_from_a_bucket(s3: S3) -> None:
    """What goes from a bucket, and what is known of it afterwards, is what it is elsewhere."""
    check_that_values_go(s3.new_url())


def test_values_go_and_what_is_known_of_them_stays(tmp_path: Path) -> None:
    """Looking removes nothing; afterwards nothing is computed again until a value itself is needed."""
    check_that_values_go(f"file://{tmp_path}/care?shared")


def check_that_values_go(url: str) -> None:
    wanted = joined([block(n, 50_000) for n in range(3)])
    compute(url, wanted, block(9, 10))
    seen = collect(url, tasks=[block], larger_than=1000, grace=0)
    assert (3, False, 0) == (len(seen.values), seen.is_applied, compute(url, wanted))
    done = collect(url, tasks=[block], larger_than=1000, grace=0, apply=True)
    assert (3, True) == (len(done.values), done.is_applied)
    assert done.freed > 150_000
    assert sum(len(opened(url)._objects.get(name) or b"") for name in objects_of(url, block.name)) < 5_000
    assert ((), 0) == (verify(url).problems, compute(url, wanted))
    assert [True, False] == cached(url, block(9, 10), block(1, 50_000))
    assert 1 == compute(url, block(1, 50_000))
    assert ((), 0) == (verify(url).problems, compute(url, wanted))


def cached(url: str, *instances: Any) -> list[bool]:
    with open_store(url):
        return [instance.is_cached() for instance in instances]


def test_what_was_written_lately_stays(url: str) -> None:
    """By default nothing goes that is younger than a day; a shorter time can be given."""
    compute(url, block(1, 1000))
    assert () == collect(url, max_size=0).values
    assert () == collect(url, older_than=0, grace=60).values
    assert 1 == len(collect(url, max_size=0, grace=0).values)


def test_what_killed_programs_left_goes(tmp_path: Path) -> None:
    """Entries of older epochs and clears that others stand for go at once; half-written files after a while."""
    url = f"file://{tmp_path}/care?shared"
    store = opened(url)
    store.write(TASK, [write_of("old", KEY, "#1")])
    (name,) = objects_of(url, TASK)
    data = store._objects.get(name) or b""
    for _ in range(2):
        store.clear(TASK, KEY)
    store.clear(TASK)
    store.write(TASK, [write_of("new", KEY, "#1", epoch=store.epochs(TASK, [KEY])[0])])
    store._objects.put(name, [data])  # a clear that was killed did not delete it
    store._objects.put(f"{store._at(TASK)}e/{'ab/' + '0' * 30}!0!1", [b"1"])
    temporary = tmp_path / "care" / "checkpoint" / ".tmp"
    for age, file in ((0, "young"), (90_000, "old")):
        (temporary / file).write_bytes(b"half")
        os.utime(temporary / file, (time.time() - age,) * 2)
    assert 3 == [problem.kind for problem in verify(url).problems].count(ProblemKind.ORPHAN)
    found = collect(url, apply=True)
    assert (3, ()) == (len(found.leftovers), found.values)
    assert ["young"] == [file.name for file in temporary.iterdir()]
    assert 1 == len(objects_of(url, TASK))
    assert (1, 0) == (len(list(store.scan(TASK))), len(collect(url).leftovers))
    assert (1, 0) == tuple(store.epochs(TASK, [KEY])[0])


def test_what_instances_need_stays_and_a_size_is_reached(url: str) -> None:
    """Conditions are those of folders: what is kept by name stays, and the rest goes until a size is reached."""
    compute(url, *(joined([block(n, 20_000)]) for n in range(4)))
    with open_store(url):
        found = collect(keep=[block(3, 20_000)], tasks=[block], grace=0)
    assert 3 == len(found.values)
    found = collect(url, max_size=50_000, grace=0, apply=True)
    assert (True, True) == (found.size_after <= 50_000, all("block" in each.what for each in found.values))
    assert 0 == compute(url, *(joined([block(n, 20_000)]) for n in range(4)))


def test_a_run_goes_on_when_another_host_collects_what_it_needs(tmp_path: Path) -> None:
    """A value that goes while a run counts on it is computed again, and the run ends as it would have."""
    url = f"file://{tmp_path}/care?shared"
    compute(url, *(block(n, 1000) for n in range(3)))
    calls: list[int] = []

    @memo
    def slow(n: int) -> int:
        if not calls:
            calls.append(n)
            elsewhere = another(url, tmp_path)
            assert 3 == len(collect(elsewhere, tasks=[block], grace=0, apply=True).values)
            elsewhere.close()
        return n

    @memo
    def both(parts: list[bytes], n: int) -> int:
        return sum(map(len, parts)) + n

    report = run_report(both([block(n, 1000) for n in range(3)], slow(5)), executor="serial", store=url)
    assert (3005, [5]) == (report.value, calls)


def test_a_value_that_is_written_anew_meanwhile_stays(tmp_path: Path) -> None:
    """What was chosen and has been replaced since is left as it is."""
    url = f"file://{tmp_path}/care?shared"
    store = opened(url)
    store.write(TASK, [write_of("first", KEY, "#1")])
    ((row, entry),) = store.scan(TASK)
    store.write(TASK, [write_of("second", KEY, "#1")])
    assert [] == SharedInventory(store, 0.0).release(TASK, [(row, entry)])
    ((_, kept),) = store.scan(TASK)
    assert not kept.is_collected


def test_entries_without_a_signature_are_told_and_can_go(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key, what was written without it is damage that collecting may remove; values that go stay signed."""
    compute(url, block(1, 1000))
    monkeypatch.setenv("CP_CACHE_KEY", "a key")
    (problem,) = verify(url).damage
    assert ProblemKind.UNSIGNED == problem.kind
    (left,) = collect(url, unsigned=True, apply=True).leftovers
    assert ("not signed" in left.what, ()) == (True, verify(url).problems)
    compute(url, block(2, 1000))
    assert 1 == len(collect(url, max_size=0, grace=0, apply=True).values)
    assert ((), 1) == (verify(url).problems, verify(url).entry_count)
    assert 1 == compute(url, block(2, 1000))


@memo
def length(text: str) -> int:
    return len(text)


def test_keys_that_are_too_long_for_names_are_known_after_their_values_went(tmp_path: Path) -> None:
    """A key is read from what is left of its entry."""
    url = f"file://{tmp_path}/care?shared"
    compute(url, *(length(f"{number}" * 300) for number in range(3)))
    rows = [row for row, _ in opened(url).scan(length.name)]
    assert 3 == len(collect(url, max_size=0, grace=0, apply=True).values)
    assert ((), rows) == (verify(url).problems, [row for row, _ in another(url, tmp_path).scan(length.name)])


def test_leases_of_the_dead_are_collected(tmp_path: Path) -> None:
    """What an owner left who gives no sign of life goes, and a lease of somebody who does stays, however old it is."""
    folder = tmp_path / "care"
    dead, alive = (opened(f"file://{folder}?shared&lease={seconds}").claims() for seconds in (60, 1))
    assert (dead.take(1), alive.take(2)) == (True, True)
    claims = folder / "checkpoint" / ".claims"
    until(lambda: any(claims.glob("owner-*")))
    long_ago = time.time() - 10**6
    for file in [file for file in claims.iterdir() if not file.name.startswith("owner-")]:
        os.utime(file, (long_ago, long_ago))
    collect(f"file://{folder}?shared", grace=0, apply=True)
    assert [f"{2:015x}"] == [file.name for file in claims.iterdir() if not file.name.startswith("owner-")]
    alive.close()
    dead.close()


# --- the rest --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", pytest.param("s3", marks=pytest.mark.stress)])
def test_commands_work_on_shared_stores(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """`verify`, `gc` and `du` take an address."""
    url = request.getfixturevalue("s3").new_url() if kind == "s3" else f"file://{tmp_path}/care?shared"
    compute(url, block(1, 40_000), square(3))

    def told(*command: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            main([*command, "--json", "--store", url])
        assert 0 == ended.value.code
        return json.loads(capsys.readouterr().out)

    assert (2, 0) == (told("verify")["entries"], told("verify")["damage"])
    assert [] == told("gc", "--max-size", "1KB")["values"]
    assert 1 == len(told("gc", "--max-size", "1KB", "--grace", "0s", "--apply")["values"])
    used = told("du")
    assert {block.name, square.name} == {part["task"] for part in used["parts"]}
    assert used["total"] >= sum(part["entries"] for part in used["parts"]) > 0


def test_a_maximum_size_is_for_folders(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No run makes a shared store smaller: whoever asks for it is told so, and what to do."""
    with pytest.raises(ValueError, match="collect"):
        open_store(url, max_size=1000)
    monkeypatch.setenv("CP_CACHE_SIZE", "1KB")
    for _ in range(2):
        compute(url, block(1, 5_000))
    assert 1 == caplog.text.count("checkpoint gc --max-size")
    assert 1 == len(list(opened(url).scan(block.name)))


@pytest.mark.stress
def test_a_bucket_that_is_away_is_an_error(s3: S3) -> None:
    """What cannot be listed is never taken for empty."""
    url = s3.new_url()
    compute(url, square(3))
    s3.fail({"method": "GET", "match": "list-type", "times": 999, "do": "busy"})
    for ask in (verify, collect):
        with pytest.raises(StoreError):
            ask(url)
