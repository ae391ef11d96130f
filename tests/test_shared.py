"""The shared store: the contract in every kind of place, what it costs, and what faults and other hosts do to it."""

from __future__ import annotations

import functools
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from buckets import CREDENTIALS, IMPATIENT, S3
from contract_store import CHECKS, KEY, LARGE, NEVER_CLEARED, TASK, entry_of, value_at, walk_store, write_of
from programs import choose, square

import checkpoint.journal
import checkpoint.store.disk
from checkpoint import DamagedEntryError, StoreError, codec, open_store, run
from checkpoint.store import Entry, Epoch, Store, Write, store_at
from checkpoint.store.mounts import network_kind_of
from checkpoint.store.settings import Settings
from checkpoint.store.shared.address import reopened, shared_store
from checkpoint.store.shared.memory import MemoryObjects
from checkpoint.store.shared.objects import Objects, Parts
from checkpoint.store.shared.shared import SharedStore
from checkpoint.store.shared.tier import Tier

ROOT = Path(checkpoint.store.__file__).parents[2]
_numbers = itertools.count()
KINDS = ["memory", "folder", "s3"]
#: For tests with several programs, which take long in a bucket.
SELDOM_IN_S3 = pytest.mark.parametrize("url", ["folder", pytest.param("s3", marks=pytest.mark.stress)], indirect=True)


@pytest.fixture(params=KINDS)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Return a function that gives the address of a new store, of each kind in turn."""
    if request.param == "s3":
        s3: S3 = request.getfixturevalue("s3")
        return s3.new_url
    return lambda: (
        f"memory://{next(_numbers)}" if request.param == "memory" else f"file://{tmp_path}/{next(_numbers)}?shared"
    )


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a new store that other processes can open."""
    return request.getfixturevalue("s3").new_url() if request.param == "s3" else f"file://{tmp_path}/shared?shared"


def another(url: str, tmp_path: Path) -> SharedStore:
    """Return a store that shares nothing with the others of this process but the place: another host's."""
    known = shared_store(url)
    tier = Tier(str(tmp_path / f"host-{next(_numbers)}"))
    return SharedStore(
        url, known._objects, tier, str(tmp_path / "files"), str(tmp_path / "claims"), Settings(), reopened
    )


def over(objects: Objects, tmp_path: Path, *, tier: Tier | None = None) -> SharedStore:
    """Return a store over objects."""
    return SharedStore(
        "memory://own", objects, tier, str(tmp_path / "files"), str(tmp_path / "claims"), Settings(), reopened
    )


# --- the contract ----------------------------------------------------------------------------------------


#: What these store takes minutes on a server that is made for tests.
MANY = ("check_lookup_gives_metadata_of_what_exists", "check_scan_gives_all_rows_in_order")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_the_contract_holds(check: Callable[[Store], None], kind: str, tmp_path: Path) -> None:
    """A shared store keeps what every store promises, wherever it is."""
    store = store_at(f"memory://{next(_numbers)}" if kind == "memory" else f"file://{tmp_path}/contract?shared")
    check(store)
    store.close()


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, marks=[pytest.mark.stress] * (check.__name__ in MANY)) for check in CHECKS],
    ids=lambda check: check.__name__.removeprefix("check_"),
)
def test_the_contract_holds_in_a_bucket(check: Callable[[Store], None], s3: S3) -> None:
    """A store in a bucket keeps what every store promises."""
    store = store_at(s3.new_url())
    check(store)
    store.close()


@pytest.mark.parametrize(
    ("kind", "walks"), [("memory", 15), ("folder", 5), pytest.param("s3", 2, marks=pytest.mark.stress)]
)
def test_a_random_walk_agrees_with_a_dict(
    kind: str, walks: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whatever is done in whatever order, a shared store has what a dict would have."""
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: f"memory://{next(_numbers)}",
        "folder": lambda: f"file://{tmp_path}/{next(_numbers)}?shared",
    }
    new = request.getfixturevalue("s3").new_url if kind == "s3" else urls[kind]
    walk_store(lambda: store_at(new()), walks=walks)


@pytest.mark.parametrize("length", [10, 70, 500, 3000])
def test_keys_of_any_length_are_told(length: int, new_url: Callable[[], str], tmp_path: Path) -> None:
    """A scan gives whole rows, whether or not their keys fit into the names of objects."""
    store = store_at(new_url())
    keys = [json.dumps({"name": f"{number}/ü\ud800~." + "x" * length}, ensure_ascii=False) for number in range(15)]
    store.write(TASK, [write_of(number, key, "#1") for number, key in enumerate(keys)])
    expected = sorted(key + "#1" for key in keys)
    assert [expected] * 2 == [[row for row, _ in store.scan(TASK)] for _ in range(2)]


# --- addresses -------------------------------------------------------------------------------------------


def test_an_address_is_one_store(s3: S3, tmp_path: Path) -> None:
    """The same address gives the same store, which is pickled as its address."""
    for url in (s3.new_url(), f"file://{tmp_path}/a?shared", "memory://a"):
        store = store_at(url)
        assert (store, store, url) == (store_at(url), pickle.loads(pickle.dumps(store)), store.url)


def test_a_shared_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with signs of URLs, and one below the working directory, are folders like others."""
    for name in ("a b", "a?b", "a#b", "me@host", "50%41"):
        assert square(2).run(store=f"file://{tmp_path}/{name}?shared") == 4
        assert (tmp_path / name / "checkpoint").is_dir()
    store = store_at("file://below?shared")
    monkeypatch.chdir("/")
    store.write(TASK, [write_of(1)])
    assert (f"file://{tmp_path}/below?shared", True) == (store.url, (tmp_path / "below").is_dir())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3x://bucket", "unknown scheme 's3x'"),
        ("https://host/folder", "unknown scheme 'https'"),
        ("s3://", "names no bucket"),
        ("file:///folder?share", "only \\?shared"),
        ("s3://id:verysecret@bucket/x", "credentials in the environment"),
        ("s3://bucket/x?secret=verysecret", "credentials in the environment"),
        ("s3://bucket/x?aws_session_token=verysecret", "credentials in the environment"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(url: str, reason: str) -> None:
    """A wrong address is an error at once; the error doesn't repeat a secret."""
    with pytest.raises(ValueError, match=reason) as caught:
        store_at(url)
    assert "verysecret" not in str(caught.value)


def test_credentials_stay_in_the_process(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What storage_options say is used, and is neither in the store's text, nor its pickle, nor errors, files, logs."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    url = s3.new_url()
    options = {"key": "my-own-id", "secret": "my-own-secret", "client_kwargs": {"region_name": "us-east-1"}}
    with open_store(url, storage_options=options | IMPATIENT) as opened:
        assert square(3).run() == 9
        s3.fail({"method": "GET", "match": "list-type", "times": 99, "do": "busy"})
        monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
        with pytest.raises(StoreError) as caught:
            opened.store.lookup(TASK, [KEY])
    texts = [repr(opened.store), opened.store.url, str(caught.value), caplog.text, repr(opened.store._objects)]  # type: ignore[attr-defined]
    stored = b"".join(
        [pickle.dumps(opened.store), *(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())]
    )
    assert not any(secret in text for secret in ("my-own-id", "my-own-secret") for text in [*texts, repr(stored)])


def test_a_store_in_memory_is_one_process_s() -> None:
    """Threads share a store in memory; a run in other processes is an error that says what to do."""
    with open_store("memory://one"):
        assert choose(5, 2).run(executor="threads", max_workers=2) == 10
        with pytest.raises(StoreError, match="executor="):
            choose(6, 2).run(executor="processes", max_workers=2)


# --- what it costs ---------------------------------------------------------------------------------------


class Watched:
    """Objects in memory that count calls and, if told so, let a call go on only when others came at the same time."""

    name_limit = 700
    concurrency = 16

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.together: threading.Barrier | None = None
        self.before: Callable[[str, str], None] = lambda what, name: None
        self._objects = MemoryObjects()

    def _called(self, what: str, name: str) -> None:
        self.calls.append(what)
        self.before(what, name)
        if self.together is not None:
            self.together.wait(timeout=20)

    def names(self, prefix: str) -> list[str]:
        self._called("names", prefix)
        return self._objects.names(prefix)

    def folders(self, prefix: str) -> list[str]:
        return self._objects.folders(prefix)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        self._called("get", name)
        return self._objects.get(name, start, end)

    def put(self, name: str, parts: Parts) -> None:
        self._called("put", name)
        self._objects.put(name, parts)

    def create(self, name: str, data: bytes) -> bool:
        self._called("create", name)
        return self._objects.create(name, data)

    def move(self, name: str, to: str) -> None:
        self._objects.move(name, to)

    def delete(self, names: Sequence[str]) -> None:
        self._called("delete", names[0] if names else "")
        self._objects.delete(names)

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_hit_is_one_round_trip(tmp_path: Path) -> None:
    """A lookup asks two things at once; a read after it asks three at once, or two where a copy is on this host."""
    objects = Watched()
    over(objects, tmp_path).write(TASK, [write_of("value")])
    store = over(objects, tmp_path, tier=Tier(str(tmp_path / "tier")))
    asked: list[tuple[list[str], Any]] = []
    for parties, ask in [
        (2, lambda: len(store.lookup(TASK, [KEY]))),
        (3, lambda: value_at(store)),
        (2, lambda: value_at(store)),
    ]:
        objects.calls, objects.together = [], threading.Barrier(parties)
        asked.append((sorted(objects.calls), ask()))
        asked[-1] = sorted(objects.calls), asked[-1][1]
    store.close()
    assert [(["names"] * 2, 1), (["get", "names", "names"], "value"), (["names"] * 2, "value")] == asked


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.stress)])
@pytest.mark.parametrize("length", [5, 1000])
def test_metadata_of_thousands_of_entries_is_listed_without_values(length: int, count: int, tmp_path: Path) -> None:
    """A scan lists 16 parts and reads nothing; keys too long for names are read once and then from one pack."""
    objects = Watched()
    store = over(objects, tmp_path)
    frame = codec.encode(None, "f()")
    entry = Entry(bytes(16), frame.digest, bytes(16), bytes(16), bytes(8), 0.5, 1e9, frame.size)
    keys = [f'{{"n":"{number:0{length}}"}}' for number in range(count)]
    store.write(TASK, [Write(key, key + "#1", NEVER_CLEARED, entry, frame) for key in keys])
    counted = []
    for _ in range(2):
        objects.calls = []
        assert len(list(store.scan(TASK))) == count
        counted.append((objects.calls.count("get"), objects.calls.count("names")))
    objects.calls = []
    assert len(store.lookup(TASK, keys)) == count
    assert ([0, 0] if length == 5 else [count, 1], 18) == ([count for count, _ in counted], len(objects.calls))
    assert max(names for _, names in counted) <= 18


def test_a_run_on_a_bucket_asks_little(s3: S3, tmp_path: Path) -> None:
    """A warm run lists and reads nothing else on the host that computed; another host reads the root's value."""
    url = s3.new_url()
    choose(4, 2).run(store=url, executor="serial")
    s3.log()
    counts = []
    for store in (shared_store(url), another(url, tmp_path)):
        assert choose(4, 2).run(store=store) == 6
        requests = s3.log()
        gets = [request for request in requests if "list-type" not in request]
        counts.append((len(gets), len(requests) - len(gets)))
        store.close()
    assert [(0, True), (1, True)] == [(gets, lists <= 12) for gets, lists in counts]


# --- the copies on this host -----------------------------------------------------------------------------


def test_a_copy_is_never_stale(url: str, tmp_path: Path) -> None:
    """What another host has cleared or computed again is missing, or new, at once, whatever copies are here."""
    here, there = another(url, tmp_path), another(url, tmp_path)
    here.write(TASK, [write_of("old")])
    seen = [value_at(here)]
    there.write(TASK, [write_of("new")])
    seen.append(value_at(here))
    there.clear(TASK, KEY)
    seen.append(here.read(TASK, KEY))
    here.close()
    there.close()
    assert ["old", "new", None] == seen


def test_a_damaged_copy_is_fetched_again(url: str, tmp_path: Path) -> None:
    """Copies are compared with their digest: what the local disk has changed is not used."""
    folder = tmp_path / "tier"
    known = shared_store(url)
    store = SharedStore(
        url, known._objects, Tier(str(folder)), str(tmp_path), str(tmp_path / "claims"), Settings(), reopened
    )
    store.write(TASK, [write_of(LARGE)])
    (file,) = folder.rglob("*.val")
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    assert LARGE == value_at(store)
    store.close()


def test_without_a_place_for_copies_everything_works(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no copies can be kept, that is said once, and values come from the shared store."""
    (tmp_path / "file").write_text("")
    tier = Tier(str(tmp_path / "file" / "tier"))
    store = SharedStore(
        url, shared_store(url)._objects, tier, str(tmp_path), str(tmp_path / "claims"), Settings(), reopened
    )
    store.write(TASK, [write_of(1), write_of(LARGE, '{"n":2}')])
    assert (1, LARGE) == (value_at(store), value_at(store, '{"n":2}'))
    assert 1 == len([record for record in caplog.records if "local copies" in record.getMessage()])


# --- faults ----------------------------------------------------------------------------------------------


def test_damage_is_set_aside_and_computed_again(url: str, tmp_path: Path) -> None:
    """Bytes that aren't what was written never become a value; the next run computes it again."""
    assert square(3).run(store=url) == 9
    objects = shared_store(url)._objects
    (name,) = objects.names("checkpoint/programs.square/m/")
    data = bytearray(objects.get(name) or b"")
    data[len(data) // 3] ^= 1
    objects.put(name, [data])
    store = another(url, tmp_path)
    with pytest.warns(UserWarning, match="damaged"):
        assert square(3).run(store=store) == 9
    assert (1, 1) == (len(store.damaged("programs.square")), len(list(store.scan("programs.square"))))
    store.close()


def test_an_object_that_is_cut_off_is_damaged(url: str, tmp_path: Path) -> None:
    """A short object raises DamagedEntryError where its value is decoded, whatever it is short of."""
    shared_store(url).write(TASK, [write_of(LARGE)])
    objects = shared_store(url)._objects
    (name,) = objects.names("checkpoint/lab.fit/m/")
    data = objects.get(name) or b""
    for size in (0, 10, 1000, len(data) - len(KEY) - 1):
        objects.put(name, [data[:size]])
        store = another(url, tmp_path)
        found = store.read(TASK, KEY)
        assert found is not None
        with pytest.raises(DamagedEntryError):
            codec.decode(found[1])
        store.close()


@pytest.mark.parametrize("fault", ["busy", "lost"])
@pytest.mark.parametrize(("method", "match"), [("PUT", ""), ("GET", ""), ("POST", "delete")])
def test_requests_that_fail_now_and_then_are_repeated(fault: str, method: str, match: str, s3: S3) -> None:
    """A busy server, or an answer that is lost after the work was done, changes nothing of what is stored."""
    url = s3.new_url()
    s3.fail({"method": method, "match": match, "times": 2, "do": fault})
    store = store_at(url)
    store.write(TASK, [write_of("one")])
    store.record(TASK, "code:1", "text")
    store.write(TASK, [write_of("two")])
    before = value_at(store)
    store.clear(TASK, KEY)
    (epoch,) = store.epochs(TASK, [KEY])
    assert ("two", True, ["code:1"]) == (before, epoch > Epoch(0, 0), list(store.records(TASK, "")))
    assert [True] == store.write(TASK, [write_of("three", epoch=epoch)])
    assert ("three", [KEY]) == (value_at(store), [row for row, _ in store.scan(TASK)])


def test_the_lost_answer_to_a_clear_does_not_undo_it(s3: S3) -> None:
    """A clear whose answer is lost clears; it may count twice, which drops nothing that began after it."""
    store = store_at(s3.new_url())
    store.write(TASK, [write_of("old")])
    s3.fail({"method": "PUT", "match": "/e/", "times": 1, "do": "lost"})
    store.clear(TASK, KEY)
    s3.log()
    (epoch,) = store.epochs(TASK, [KEY])
    assert (None, [False], [True]) == (
        store.read(TASK, KEY),
        store.write(TASK, [write_of("late")]),
        store.write(TASK, [write_of("new", epoch=epoch)]),
    )


def test_a_server_that_is_away_is_an_error(s3: S3, unused_port: int) -> None:
    """With nobody there, every call ends soon with an error that names the store and says what to do."""
    url = f"s3://bucket-of-tests/x?endpoint_url=http://127.0.0.1:{unused_port}"
    store = shared_store(url, options=IMPATIENT)
    for call in (
        lambda: store.lookup(TASK, [KEY]),
        lambda: store.write(TASK, [write_of(1)]),
        lambda: store.read(TASK, KEY),
        lambda: store.clear(TASK),
        lambda: store.tasks(),
    ):
        with pytest.raises(StoreError, match="run again: what was stored is kept") as caught:
            call()
        assert "s3://bucket-of-tests/x" == caught.value.folder


def test_a_server_that_does_not_answer_is_an_error(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without an answer is given up and repeated; when none is answered it is an error."""
    store = shared_store(s3.new_url(), options=IMPATIENT)
    store.write(TASK, [write_of(1)])
    s3.fail({"method": "GET", "match": "list-type", "times": 1, "do": "slow"})
    assert 1 == value_at(store)
    s3.fail({"method": "GET", "match": "list-type", "times": 999, "do": "slow"})
    with monkeypatch.context() as patch:
        patch.setattr("s3fs.S3FileSystem.retries", 2)
        with pytest.raises(StoreError):
            store.epochs(TASK, [KEY])
    s3.forget()
    assert 1 == value_at(store)


def test_a_server_without_conditional_writes_is_refused(s3: S3) -> None:
    """Where If-None-Match is ignored, nothing is stored, and the error says why."""
    url = s3.new_url()
    s3.fail({"method": "PUT", "match": "", "times": 99, "do": "blind"})
    with pytest.raises(StoreError, match="If-None-Match"):
        square(3).run(store=url)
    s3.fail()
    assert [] == [name for name in shared_store(url)._objects.names("checkpoint/") if ".probe" not in name]


def test_a_bucket_that_does_not_exist(s3: S3) -> None:
    """Reading a bucket that isn't there finds nothing; writing says that it must be made."""
    store = store_at(f"s3://no-such-bucket/x?endpoint_url={s3.endpoint}")
    assert {} == store.lookup(TASK, [KEY])
    with pytest.raises(StoreError, match="make the bucket"):
        store.write(TASK, [write_of(1)])


def test_a_place_of_another_layout_is_refused(url: str) -> None:
    """A store written by a later version in another layout isn't written to."""
    shared_store(url)._objects.put("checkpoint/.checked", [b"2"])
    with pytest.raises(StoreError, match="layout"):
        store_at(url).write(TASK, [write_of(1)])


# --- what it may hold ------------------------------------------------------------------------------------


def test_entries_are_signed_and_others_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key in CP_CACHE_KEY results are signed; what another key, or none, has signed is refused."""
    square(3).run(store=url)
    monkeypatch.setenv("CP_CACHE_KEY", "one")
    with pytest.raises(StoreError, match="not signed with the key"):
        square(3).run(store=url)
    with open_store(url):
        square.clear()
        assert (9, 9) == (square(3).run(), square(3).result())
        assert [{"x": 3}] == [dict(call.arguments) for call in square.entries()]
    monkeypatch.setenv("CP_CACHE_KEY", "two")
    with pytest.raises(StoreError, match="not signed with the key"):
        square(3).run(store=url)


def test_a_signed_value_in_another_place_is_damaged(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that was signed for one entry doesn't pass for another's."""
    monkeypatch.setenv("CP_CACHE_KEY", "one")
    objects, settings = shared_store(url)._objects, Settings.of()
    store = SharedStore(url, objects, None, str(tmp_path), str(tmp_path / "claims"), settings, reopened)
    store.write(TASK, [write_of("a"), write_of("b", '{"n":2}')])
    one, two = objects.names(f"checkpoint/{TASK}/m/")
    objects.put(one, [objects.get(two) or b""])
    found = []
    for key in (KEY, '{"n":2}'):
        try:
            found.append(value_at(store, key))
        except DamagedEntryError:
            found.append("damaged")
    assert "damaged" in found
    assert {"a", "b"} & set(found) != set()


def test_pickles_are_refused_where_they_are_not_allowed(url: str) -> None:
    """With allow_pickle=False a task whose results would be pickles is an error before it is computed."""
    with open_store(url, allow_pickle=False), pytest.raises(StoreError, match="no pickles"):
        square(3).run()


# --- clears and commits at the same time -----------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, None])
def test_a_commit_that_a_clear_overtakes_is_never_seen(key: str | None, tmp_path: Path) -> None:
    """A result that is put after a clear of which it doesn't know counts for nothing, and the next clear removes it."""
    objects = Watched()
    store, other = over(objects, tmp_path), over(objects, tmp_path)
    other.write(TASK, [write_of("first")])

    def clear_first(what: str, name: str) -> None:
        if what == "put" and "/m/" in name:
            objects.before = lambda what, name: None
            other.clear(TASK, key)

    objects.before = clear_first
    store.write(TASK, [write_of("late")])
    seen = store.read(TASK, KEY), store.lookup(TASK, [KEY]), list(store.scan(TASK))
    other.clear(TASK, key)
    assert ((None, {}, []), []) == (seen, objects.names(f"checkpoint/{TASK}/m/"))


def test_a_clear_that_dies_half_way_has_cleared(tmp_path: Path) -> None:
    """From the moment at which a clear is there, what it made useless is gone, deleted or not."""
    objects = Watched()
    store = over(objects, tmp_path)
    store.write(TASK, [write_of("old")])

    def die(what: str, name: str) -> None:
        if what == "delete":
            raise KeyboardInterrupt

    objects.before = die
    with pytest.raises(KeyboardInterrupt):
        store.clear(TASK)
    objects.before = lambda what, name: None
    left = len(objects.names(f"checkpoint/{TASK}/m/"))
    assert (1, None, [], [False]) == (
        left, store.read(TASK, KEY), list(store.scan(TASK)), store.write(TASK, [write_of("late")]))  # fmt: skip


def test_two_clears_at_once_both_count(tmp_path: Path) -> None:
    """Two hosts that clear at the same time begin two epochs: what began between them is dropped."""
    objects = Watched()
    one, two = over(objects, tmp_path), over(objects, tmp_path)
    one.write(TASK, [write_of(1)])
    between: list[Epoch] = []

    def clear_first(what: str, name: str) -> None:
        if what == "create" and "/e/" in name:
            objects.before = lambda what, name: None
            two.clear(TASK, KEY)
            between.extend(two.epochs(TASK, [KEY]))

    objects.before = clear_first
    one.clear(TASK, KEY)
    assert ([Epoch(0, 1)], [Epoch(0, 2)]) == (between, one.epochs(TASK, [KEY]))


@pytest.mark.parametrize("attempts", [2, pytest.param(20, marks=pytest.mark.stress)])
def test_of_many_that_create_a_name_one_is_told_so(attempts: int, url: str) -> None:
    """Creating is exclusive between threads that all begin at once, again and again."""
    objects = shared_store(url)._objects
    start_line = threading.Barrier(8)

    def race(number: int, name: str) -> bool:
        start_line.wait(timeout=60)
        return objects.create(name, str(number).encode())

    for attempt in range(attempts):
        name = f"checkpoint/races/{attempt}"
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(race, range(8), [name] * 8))
        assert (1, str(won.index(True)).encode()) == (won.count(True), objects.get(name))


def test_two_writers_of_a_row_leave_one_result(tmp_path: Path) -> None:
    """Of two results that knew nothing of each other everybody takes the earlier one; a later write replaces both."""
    objects = Watched()
    one, two = over(objects, tmp_path), over(objects, tmp_path)

    def write_first(what: str, name: str) -> None:
        if what == "put" and "/m/" in name:
            objects.before = lambda what, name: None
            two.write(TASK, [write_of("second", number=2)])

    objects.before = write_first
    one.write(TASK, [write_of("first", number=1)])
    seen = value_at(one), value_at(two), len(objects.names(f"checkpoint/{TASK}/m/"))
    one.write(TASK, [write_of("third", number=3)])
    assert (("first", "first", 2), "third", 1) == (
        seen, value_at(two), len(objects.names(f"checkpoint/{TASK}/m/")))  # fmt: skip


# --- other processes -------------------------------------------------------------------------------------

PRELUDE = f"""
import os, sys
sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]!r}
from contract_store import TASK, KEY, entry_of, value_at, write_of
from checkpoint.store import Epoch, store_at
"""


def start(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a program that knows this package and these tests."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


WRITE_ALL = """
store, me = store_at(sys.argv[1]), int(sys.argv[2])
store.epochs(TASK, [KEY], creates=True)
print("ready", flush=True)
sys.stdin.readline()
for n in range(8):
    store.write(TASK, [write_of([me, n] * 50, '{"n":%d}' % n, number=me)])
"""


@SELDOM_IN_S3
def test_processes_that_write_the_same_keys_agree(url: str, tmp_path: Path) -> None:
    """Whoever reads finds for each row one whole result, the same as everybody else's."""
    writers = [start(WRITE_ALL, url, str(number)) for number in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [0] * 3 == [writer.wait(timeout=120) for writer in writers]
    for writer in writers:
        writer.communicate()
    hosts = [another(url, tmp_path) for _ in range(2)]
    values = [[value_at(host, f'{{"n":{n}}}') for n in range(8)] for host in hosts]
    for host in hosts:
        host.close()
    assert values[0] == values[1]
    assert [[value[0], n] * 50 for n, value in enumerate(values[0])] == values[0]


WRITE_UNTIL_KILLED = """
import itertools
store = store_at(sys.argv[1])
for n in itertools.count():
    assert store.write(TASK, [write_of("x" * 50_000 + str(n), '{"n":%d}' % n)]) == [True]
    print(n, flush=True)
"""


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.stress)])
def test_a_kill_loses_only_what_was_being_written(kills: int, url: str, tmp_path: Path) -> None:
    """What was acknowledged before a kill -9 is there and whole; a rerun needs no repair."""
    for _ in range(kills):
        writer = start(WRITE_UNTIL_KILLED, url)
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(5)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        acknowledged += [int(line) for line in rest.splitlines() if line]
        store = another(url, tmp_path)
        rows = [row for row, _ in store.scan(TASK)]
        values = {row: value_at(store, row) for row in rows}
        store.close()
        assert {f'{{"n":{n}}}' for n in acknowledged} <= set(rows)
        assert {row: "x" * 50_000 + str(json.loads(row)["n"]) for row in rows} == values


RUN_CHOOSE = """
from programs import choose
from checkpoint import run_report
report = run_report(choose(5, 2), **eval(sys.argv[1]))
print(report.value, report.computed)
"""


SERIAL, PROCESSES = {"executor": "serial"}, {"executor": "processes", "max_workers": 2}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("folder", SERIAL),
        ("folder", PROCESSES),
        pytest.param("s3", PROCESSES, marks=pytest.mark.stress),
        pytest.param("s3", SERIAL, marks=pytest.mark.stress),
    ],
    ids=str,
    indirect=["url"],
)
def test_another_host_finds_what_one_has_computed(options: dict[str, Any], url: str, tmp_path: Path) -> None:
    """Two hosts, with nothing in common but the address in CP_CACHE_DIR, compute each task once between them."""
    outputs = []
    for host in ("one", "two"):
        folder = tmp_path / host
        folder.mkdir()
        program = start(RUN_CHOOSE, repr(options), CP_CACHE_DIR=url, CP_LOCAL_DIR=str(folder / "local"))
        outputs.append(program.communicate(timeout=120)[0])
    assert ["10 11\n", "10 0\n"] == outputs


ONCE = """
from checkpoint import memo, run_report

@memo
def slow(n: int) -> int:
    print("computing", flush=True)
    sys.stdin.readline()
    return n

slow_report = run_report(slow(1), executor="serial")
print("value", slow_report.value)
"""


@SELDOM_IN_S3
def test_processes_of_a_host_compute_a_thing_once(url: str, tmp_path: Path) -> None:
    """A second process on the host waits for the first one's result, and takes that."""
    first = start(ONCE, CP_CACHE_DIR=url)
    assert first.stdout is not None
    assert "computing\n" == first.stdout.readline()
    second = start(ONCE, CP_CACHE_DIR=url)
    first_said = first.communicate("\n", timeout=120)[0]
    second_said = second.communicate("\n", timeout=120)[0]
    assert ("value 1\n", "value 1\n") == (first_said, second_said)


# --- SQLite on network file systems ----------------------------------------------------------------------

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /mnt/nfs nfs4 rw 0 0
tmpfs /mnt/nfs/scratch tmpfs rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
me@host: /home/me/far fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfs/a/b", "nfs4"),
        ("/mnt/nfs2", None),
        ("/mnt/nfs/scratch/a", None),
        ("/mnt/my share/a", "cifs"),
        ("/home/me/far/cache", "fuse.sshfs"),
        ("/home/me", None),
    ],
)
def test_network_file_systems_are_known(folder: str, kind: str | None, tmp_path: Path) -> None:
    """The mount that a folder is on tells whether other hosts may write it."""
    (tmp_path / "mounts").write_text(MOUNTS)
    assert kind == network_kind_of(folder, str(tmp_path / "mounts"))


def test_sqlite_is_refused_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain folder on NFS is refused before anything is written; with ?shared it works."""
    folder = tmp_path / "nfs"
    (tmp_path / "mounts").write_text(f"server:/export {folder} nfs4 rw 0 0\n")
    kind_of = functools.partial(network_kind_of, mounts=str(tmp_path / "mounts"))
    monkeypatch.setattr(checkpoint.store.disk, "network_kind_of", kind_of)
    with pytest.raises(StoreError, match=r"nfs4.*use file://.*/nfs\?shared"):
        square(4).run(store=folder)
    monkeypatch.setattr(checkpoint.journal, "network_kind_of", kind_of)
    for place in (folder, f"file://{folder}?shared"):
        with pytest.raises(StoreError, match="local disk"):
            checkpoint.journal.journal_at(place)
    assert (False, 16) == (folder.exists(), square(4).run(store=f"file://{folder}?shared"))


def test_a_run_may_name_a_shared_store(url: str) -> None:
    """`run(store=...)` takes an address, as `open_store` does."""
    assert [9, 16] == run([square(3), square(4)], store=url)
    with open_store(url):
        assert (9, True) == (square(3).result(), square(4).is_cached())
    assert entry_of(1)[0].size > 0
