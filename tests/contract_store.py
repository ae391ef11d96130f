"""The contract of every Store: checks that take an empty store, and a random walk beside a plain dict.

A new store is tested by `check_store(make_store)`, or by one test for each of `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from checkpoint import codec
from checkpoint.store import Entry, Epoch, Store, Write

TASK = "lab.fit"
KEY = '{"n":1}'
LARGE = "x" * 100_000
NEVER_CLEARED = Epoch(0, 0)


def entry_of(value: Any, number: int = 0, *, code: str = "", generation: int = 0) -> tuple[Entry, codec.Frame]:
    """Return an entry and a frame of a value; a number to tell entries apart."""
    frame = codec.encode(value, "f()")
    basis, origin = number.to_bytes(16, "big"), number.to_bytes(8, "little")
    fingerprint, cleared = code.encode().ljust(16, b"."), generation.to_bytes(16, "big")
    entry = Entry(cleared, frame.digest, basis, fingerprint, origin, number / 4, 1e9 + number, frame.size)
    return entry, frame


def write_of(
    value: Any, key: str = KEY, suffix: str = "", *, epoch: Epoch = NEVER_CLEARED, number: int = 0, generation: int = 0
) -> Write:
    """Return what is to be written for a value; the suffix names an edition and the code that made it."""
    return Write(key, key + suffix, epoch, *entry_of(value, number, code=suffix, generation=generation))


def value_at(store: Store, row: str = KEY, task: str = TASK) -> Any:
    """Return the value of a row; raise KeyError if there is none."""
    found = store.read(task, row)
    if found is None:
        raise KeyError(row)
    return codec.decode(found[1], is_mapped=found[2])[0]


# --- checks ----------------------------------------------------------------------------------------------


def check_an_empty_store_has_nothing(store: Store) -> None:
    """Reading a store that has nothing finds nothing, and is no error."""
    assert ({}, [], [Epoch(0, 0)], None, []) == (
        store.lookup(TASK, [KEY]),
        list(store.scan(TASK)),
        store.epochs(TASK, [KEY]),
        store.read(TASK, KEY),
        store.tasks(),
    )


def check_what_is_written_is_read(store: Store) -> None:
    """Metadata and value come back as they were given."""
    write = write_of([1, "a"], number=3)
    assert store.write(TASK, [write]) == [True]
    found = store.read(TASK, KEY)
    assert found is not None
    assert (write.entry, [1, "a"]) == (found[0], value_at(store))


def check_values_of_every_size_are_read(store: Store) -> None:
    """Values around the limit where they move to files of their own come back. [47]"""
    sizes = [0, 1, 32_000, 32_768, 33_000, 300_000]
    store.write(TASK, [write_of(bytes(size), f'{{"n":{size}}}') for size in sizes])
    assert [bytes(size) for size in sizes] == [value_at(store, f'{{"n":{size}}}') for size in sizes]


def check_a_second_write_replaces_the_first(store: Store) -> None:
    """A row has one entry: the last one, whatever the sizes."""
    for value in ("small", LARGE, LARGE + "y", "small again"):
        store.write(TASK, [write_of(value)])
        assert value == value_at(store)


def check_the_first_result_stays_where_the_second_yields(store: Store) -> None:
    """Of two results that were computed at once the first stays; the second is told whether it is another one. [T3]"""
    first, large = write_of("first"), write_of(LARGE, '{"n":2}')
    store.write(TASK, [first, large])
    later = [write_of("second", number=2), write_of(LARGE + "y", '{"n":2}', number=2), write_of("new", '{"n":3}')]
    kept = store.write(TASK, [write._replace(yields=True) for write in later])
    same = store.write(TASK, [write_of("first", number=3)._replace(yields=True)])
    assert ([False, False, True], [True]) == (kept, same)
    assert ["first", LARGE, "new"] == [value_at(store, key) for key in (KEY, '{"n":2}', '{"n":3}')]
    assert [first.entry] == store.lookup(TASK, [KEY])[KEY]


def check_what_yields_may_come_with_what_was_cleared(store: Store) -> None:
    """One commit drops what was computed before a clear, and what yields to a first result; the rest of it is kept."""
    store.write(TASK, [write_of("first"), write_of("first", '{"n":3}', "#2")])
    store.clear(TASK, '{"n":2}')
    later = [
        write_of("cleared", '{"n":2}'),
        write_of("second", number=2),
        write_of("new", '{"n":3}', "#1", number=2),
        write_of("second", '{"n":3}', "#2", number=2),
        write_of("new", '{"n":4}'),
    ]
    kept = store.write(TASK, [write._replace(yields=True) for write in later])
    assert [False, False, True, False, True] == kept
    rows = (KEY, '{"n":3}#1', '{"n":3}#2', '{"n":4}')
    assert ["first", "new", "first", "new"] == [value_at(store, row) for row in rows]
    assert {} == store.lookup(TASK, ['{"n":2}'])


def check_what_is_useless_gives_way(store: Store) -> None:
    """What another generation, or files, belong to is replaced by a write that yields; so is what yields to nothing."""
    store.write(TASK, [write_of("before a clear")])
    with_files = write_of("files", '{"n":2}')
    store.write(TASK, [with_files._replace(entry=with_files.entry._replace(has_files=True))])
    later = [write_of("after it", generation=1), write_of("other files", '{"n":2}')]
    assert [True, True] == store.write(TASK, [write._replace(yields=True) for write in later])
    assert ["after it", "other files"] == [value_at(store, key) for key in (KEY, '{"n":2}')]


def check_lookup_gives_metadata_of_what_exists(store: Store) -> None:
    """Only existing rows are in the answer, however many are asked for."""
    keys = [f'{{"n":{n}}}' for n in range(1300)]
    writes = [write_of(n, key, number=n) for n, key in enumerate(keys) if n % 2]
    store.write(TASK, writes)
    assert {write.key: [write.entry] for write in writes} == store.lookup(TASK, keys)


def check_lookup_of_nothing(store: Store) -> None:
    """Asking for no rows finds none."""
    store.write(TASK, [write_of(1)])
    assert (store.lookup(TASK, []), store.epochs(TASK, [])) == ({}, [])


def check_scan_gives_all_rows_in_order(store: Store) -> None:
    """A scan has each row once, sorted, also when there are many."""
    keys = [f'{{"n":{n}}}' for n in range(1100)]
    store.write(TASK, [write_of(n, key, number=n) for n, key in enumerate(keys)])
    assert [(key, entry_of(n, n)[0]) for key, n in sorted(zip(keys, range(1100), strict=True))] == list(
        store.scan(TASK)
    )


def check_editions_belong_to_their_key(store: Store) -> None:
    """Editions of a key are separate entries, are found together, and go together when their key is cleared."""
    store.write(TASK, [write_of(suffix, suffix=suffix) for suffix in ("#0a", "#ff")])
    store.write(TASK, [write_of("other", '{"n":10}', "#0a")])
    before = [value_at(store, KEY + suffix) for suffix in ("#0a", "#ff")]
    found = store.lookup(TASK, [KEY, '{"n":10}', '{"n":']).items()
    store.clear(TASK, KEY)
    assert (before, {key: len(entries) for key, entries in found}, [row for row, _ in store.scan(TASK)]) == (
        ["#0a", "#ff"],
        {KEY: 2, '{"n":10}': 1},
        ['{"n":10}#0a'],
    )


def check_a_new_generation_replaces_the_old_one_of_the_same_code(store: Store) -> None:
    """What a clear has made useless goes with the next write, its folder too; other code's results stay."""
    entry, frame = entry_of("old", code="a")
    store.write(TASK, [Write(KEY, KEY + "#1", NEVER_CLEARED, entry, frame)])
    store.write(TASK, [Write(KEY, KEY + "#2", NEVER_CLEARED, *entry_of("same generation", code="a"))])
    store.write(TASK, [Write(KEY, KEY + "#3", NEVER_CLEARED, *entry_of("other code", code="b"))])
    before = len(list(store.scan(TASK)))
    folder = store.directory(TASK, KEY + "#1")
    folder.mkdir(parents=True)
    store.write(TASK, [Write(KEY, KEY + "#4", NEVER_CLEARED, *entry_of(LARGE, code="a", generation=1))])
    assert (before, [row for row, _ in store.scan(TASK)], folder.exists()) == (3, [KEY + "#3", KEY + "#4"], False)


def check_records_stay(store: Store) -> None:
    """A record keeps its first text, is found by the beginning of its name, and outlives clears."""
    before = store.records(TASK, "")
    for name, text in [("code:2", "two"), ("code:1", "one"), ("code:1", "another"), ("origin:1", "")]:
        store.record(TASK, name, text)
    store.clear(TASK)
    found = [(name, record.text) for name, record in store.records(TASK, "code:").items()]
    assert (before, found, store.records("lab.other", "")) == ({}, [("code:2", "two"), ("code:1", "one")], {})


def check_the_time_of_a_clear_is_known(store: Store) -> None:
    """`cleared_at` tells when a key or its task was cleared last."""
    store.write(TASK, [write_of(1)])
    never = store.cleared_at(TASK, KEY), store.cleared_at("lab.other", KEY)
    store.clear(TASK, KEY)
    first, other = store.cleared_at(TASK, KEY), store.cleared_at(TASK, '{"n":2}')
    store.clear(TASK)
    last = store.cleared_at(TASK, '{"n":2}')
    assert (never, other) == ((None, None), None)
    assert first is not None
    assert last is not None
    assert 1.7e9 < first <= last


def check_clear_of_a_key(store: Store) -> None:
    """A cleared key is missing and its epoch is one higher; others stay."""
    store.write(TASK, [write_of(LARGE), write_of(2, '{"n":2}')])
    store.clear(TASK, KEY)
    assert (None, 2, [Epoch(0, 1), Epoch(0, 0)]) == (
        store.read(TASK, KEY),
        value_at(store, '{"n":2}'),
        store.epochs(TASK, [KEY, '{"n":2}']),
    )


def check_clear_of_a_task(store: Store) -> None:
    """A cleared task has no rows, and all its keys have a new epoch; other tasks stay."""
    store.write(TASK, [write_of(LARGE), write_of(2, '{"n":2}')])
    store.write("lab.other", [write_of(3)])
    before = store.epochs(TASK, [KEY, '{"n":3}'])
    store.clear(TASK)
    after = store.epochs(TASK, [KEY, '{"n":3}'])
    assert (
        list(store.scan(TASK)),
        value_at(store, task="lab.other"),
        all(old.task < new.task for old, new in zip(before, after, strict=True)),
    ) == ([], 3, True)


def check_clear_where_nothing_is(store: Store) -> None:
    """Clearing what isn't there is no error, and leaves no trace."""
    store.clear(TASK)
    store.clear(TASK, KEY)
    assert store.tasks() == []


def check_clear_of_a_task_that_keeps_nothing(store: Store) -> None:
    """With `creates`, epochs are counted though there never was an entry."""
    store.clear(TASK, KEY, creates=True)
    assert [Epoch(0, 1)] == store.epochs(TASK, [KEY])


def check_a_write_of_an_older_epoch_is_dropped(store: Store) -> None:
    """What was begun before a clear is not kept, the rest of the same batch is."""
    store.write(TASK, [write_of(0)])
    store.clear(TASK, KEY)
    kept = store.write(TASK, [write_of(LARGE), write_of(2, '{"n":2}')])
    assert (kept, [row for row, _ in store.scan(TASK)]) == ([False, True], ['{"n":2}'])


def check_a_write_of_an_older_epoch_of_the_task_is_dropped(store: Store) -> None:
    """Clearing the whole task drops what was begun before, for keys that never existed too."""
    store.write(TASK, [write_of(0)])
    store.clear(TASK)
    assert store.write(TASK, [write_of(2, '{"n":2}')]) == [False]


def check_a_write_of_the_new_epoch_is_kept(store: Store) -> None:
    """After a clear, results that were begun later are kept."""
    store.write(TASK, [write_of(0)])
    store.clear(TASK, KEY)
    (epoch,) = store.epochs(TASK, [KEY])
    assert (store.write(TASK, [write_of(5, epoch=epoch)]), value_at(store)) == ([True], 5)


def check_a_quarantined_row_is_missing(store: Store) -> None:
    """What is set aside is found no more, and can be written again."""
    for value in (LARGE, "small", LARGE):
        store.write(TASK, [write_of(value)])
        store.quarantine(TASK, KEY)
        assert (store.read(TASK, KEY), store.lookup(TASK, [KEY]), list(store.scan(TASK))) == (None, {}, [])


def check_quarantine_is_no_clear(store: Store) -> None:
    """Setting an entry aside doesn't change an epoch, nor other rows."""
    store.write(TASK, [write_of(1), write_of(2, '{"n":2}')])
    store.quarantine(TASK, KEY)
    store.quarantine(TASK, '{"n":3}')
    assert ([Epoch(0, 0)], 2) == (store.epochs(TASK, [KEY]), value_at(store, '{"n":2}'))


def check_who_reads_again_and_again_sees_every_change(store: Store) -> None:
    """What was read before is forgotten once this thread, or another one, has changed it."""

    def write(value: int) -> None:
        store.write(TASK, [write_of(value, number=value, epoch=store.epochs(TASK, [KEY])[0])])

    changes: list[tuple[Callable[[], None], int | None]] = [
        (lambda: write(1), 1),
        (lambda: write(2), 2),
        (lambda: store.quarantine(TASK, KEY), None),
        (lambda: write(3), 3),
        (lambda: store.clear(TASK, KEY), None),
        (lambda: write(4), 4),
        (lambda: store.clear(TASK), None),
    ]
    with ThreadPoolExecutor(1) as other:
        for is_elsewhere in (False, True):
            for change, value in changes:
                other.submit(change).result() if is_elsewhere else change()
                found = [store.read(TASK, KEY) for _ in range(4)]
                assert [value] * 4 == [codec.decode(each[1])[0] if each is not None else None for each in found]


def check_tasks_are_told_by_their_names(store: Store) -> None:
    """`tasks` gives the true names, whatever they look like, sorted."""
    names = sorted(["b.f", "a.<locals>.f", "../f", "a/b", "f" * 300, "ü.é", ".hidden", "A.f", "con", "a b"])
    for number, name in enumerate(names):
        store.write(name, [write_of(number)])
    assert (names, list(range(len(names)))) == (store.tasks(), [value_at(store, task=name) for name in names])


def check_closing_loses_nothing(store: Store) -> None:
    """A closed store opens itself again."""
    store.write(TASK, [write_of(1), write_of(LARGE, '{"n":2}')])
    store.close()
    store.close()
    assert (value_at(store), value_at(store, '{"n":2}')) == (1, LARGE)


def check_directories_go_with_their_row(store: Store) -> None:
    """A row's folder is its own, isn't made by asking for it, and goes when the row is cleared."""
    store.write(TASK, [write_of(1), write_of(2, '{"n":2}')])
    folders = [store.directory(TASK, row) for row in (KEY, '{"n":2}')]
    existed = [folder.exists() for folder in folders]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "model.bin").write_bytes(b"1")
    store.clear(TASK, KEY)
    assert (existed, [folder.exists() for folder in folders]) == ([False, False], [False, True])


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]


def check_store(make_store: Callable[[], Store]) -> None:
    """Check that stores keep the contract; `make_store` gives an empty one each time."""
    for check in CHECKS:
        store = make_store()
        try:
            check(store)
        finally:
            store.close()
    walk_store(make_store)


# --- a random walk ---------------------------------------------------------------------------------------

tasks = st.sampled_from(["a.f", "b.g"])
keys = st.sampled_from(["{}", '{"n":1}', '{"n":10}', '{"x":"#|~"}'])
suffixes = st.sampled_from(["", "#v1", "#f00"])
contents = st.one_of(st.integers(), st.text(max_size=5), st.sampled_from([LARGE, LARGE[:40_000]]))


def walk_store(make_store: Callable[[], Store], *, walks: int = 15) -> None:
    """Do random things to a store and to a dict, and compare."""

    class Walk(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.store = make_store()
            self.rows: dict[tuple[str, str], tuple[str, Any, Entry]] = {}
            self.task_epochs = {"a.f": 0, "b.g": 0}
            self.key_epochs: dict[tuple[str, str], int] = {}
            self.known: set[str] = set()
            self.count = 0

        def epoch(self, task: str, key: str) -> Epoch:
            return Epoch(self.task_epochs[task], self.key_epochs.get((task, key), 0))

        @rule(task=tasks, key=keys, suffix=suffixes, content=contents)
        def write(self, task: str, key: str, suffix: str, content: Any) -> None:
            self.count += 1
            write = write_of(content, key, suffix, epoch=self.epoch(task, key), number=self.count)
            assert self.store.write(task, [write]) == [True]
            self.rows[task, write.row] = key, content, write.entry
            self.known.add(task)

        @rule(task=tasks, key=keys, suffix=suffixes, content=contents)
        def write_second(self, task: str, key: str, suffix: str, content: Any) -> None:
            self.count += 1
            write = write_of(content, key, suffix, epoch=self.epoch(task, key), number=self.count)
            first = self.rows.setdefault((task, write.row), (key, content, write.entry))
            is_same = first[2].digest == write.entry.digest
            assert self.store.write(task, [write._replace(yields=True)]) == [is_same]
            self.known.add(task)

        @rule(task=tasks, key=keys, content=contents)
        def write_late(self, task: str, key: str, content: Any) -> None:
            epoch = self.epoch(task, key)
            if any(epoch):
                old = Epoch(epoch.task - 1, epoch.key) if epoch.task else Epoch(0, epoch.key - 1)
                assert self.store.write(task, [write_of(content, key, epoch=old)]) == [False]

        @rule(task=tasks, key=keys)
        def clear_key(self, task: str, key: str) -> None:
            self.store.clear(task, key)
            if task in self.known:
                self.key_epochs[task, key] = self.key_epochs.get((task, key), 0) + 1
            self.rows = {at: row for at, row in self.rows.items() if (at[0], row[0]) != (task, key)}

        @rule(task=tasks)
        def clear_task(self, task: str) -> None:
            self.store.clear(task)
            if task in self.known:
                self.task_epochs[task] += 1
            self.key_epochs = {at: epoch for at, epoch in self.key_epochs.items() if at[0] != task}
            self.rows = {at: row for at, row in self.rows.items() if at[0] != task}

        @rule(task=tasks, key=keys, suffix=suffixes)
        def quarantine(self, task: str, key: str, suffix: str) -> None:
            if task in self.known:
                self.store.quarantine(task, key + suffix)
                self.rows.pop((task, key + suffix), None)

        @rule()
        def reopen(self) -> None:
            self.store.close()

        @rule(task=tasks, key=keys, suffix=suffixes)
        def read(self, task: str, key: str, suffix: str) -> None:
            found = self.store.read(task, key + suffix)
            expected = self.rows.get((task, key + suffix))
            assert (expected and expected[2]) == (found and found[0])
            assert expected is None or expected[1] == value_at(self.store, key + suffix, task)

        @invariant()
        def has_the_same_rows(self) -> None:
            for task in self.task_epochs:
                expected = {row: entry for (name, row), (_, _, entry) in self.rows.items() if name == task}
                assert expected == dict(self.store.scan(task))
                found = self.store.lookup(task, ["{}", '{"n":1}', '{"n":10}', '{"x":"#|~"}'])
                editions = [(row.partition("#")[0], entry) for row, entry in expected.items() if "~" not in row]
                assert sorted(editions) == sorted(
                    (key, entry) for key, entries in found.items() for entry in entries if "~" not in key
                )

        @invariant()
        def has_the_same_epochs(self) -> None:
            pairs = [(task, key) for task in self.task_epochs for key in ("{}", '{"n":1}', '{"n":10}')]
            expected = [self.epoch(*pair) for pair in pairs]
            assert expected == [self.store.epochs(task, [key])[0] for task, key in pairs]

        @invariant()
        def has_the_same_tasks(self) -> None:
            assert sorted(self.known) == self.store.tasks()

        def teardown(self) -> None:
            self.store.close()

    run_state_machine_as_test(Walk, settings=settings(max_examples=walks, stateful_step_count=25, deadline=None))
