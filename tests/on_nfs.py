"""What a store in a folder on NFS promises: run in the machine of `nfs_machine.py`, not by itself."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from contract_store import CHECKS, TASK, value_at, walk_store
from nfs_machine import MOUNTS

from checkpoint import StoreError, memo, run
from checkpoint.store import Store, store_at
from checkpoint.store.mounts import network_kind_of
from checkpoint.store.shared.folder import FolderObjects

_numbers = itertools.count()
#: Where each mount believes nothing for longer.
BELIEVED_SECONDS = 1.0
CREATE = """
import sys
from checkpoint.store.shared.folder import FolderObjects
objects = FolderObjects(sys.argv[1])
print([n for n in range(100) if objects.create(f"checkpoint/x/{n}", sys.argv[2].encode())])
"""
WRITE = """
import sys
from contract_store import TASK, write_of
from checkpoint.store import store_at
store = store_at(sys.argv[1])
for n in range(int(sys.argv[2]), int(sys.argv[3])):
    assert store.write(TASK, [write_of(n, '{"n":%d}' % n, "#1")]) == [True]
"""


@memo
def square(x: int) -> int:
    return x * x


def new_folder() -> str:
    return f"{next(_numbers)}-{time.time_ns()}"


def at_once(program: str, *arguments: tuple[object, ...]) -> list[str]:
    """Run a program several times at once; return what each prints."""
    started = [
        subprocess.Popen([sys.executable, "-c", program, *map(str, given)], stdout=subprocess.PIPE, text=True)
        for given in arguments
    ]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [0] * len(started) == [process.returncode for process in started]
    return outputs


def test_both_mounts_are_nfs() -> None:
    """The folders are on NFS, and SQLite is refused there."""
    assert ["nfs4", "nfs4"] == [network_kind_of(folder) for folder in MOUNTS]
    with pytest.raises(StoreError, match=r"file://.*\?shared"):
        run(square(2), store=f"{MOUNTS[0]}/sqlite")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_contract_holds(check: Callable[[Store], None]) -> None:
    """A folder on NFS keeps what every store promises."""
    store = store_at(f"file://{MOUNTS[0]}/{new_folder()}?shared")
    check(store)
    store.close()


def test_a_random_walk_agrees_with_a_dict() -> None:
    """Whatever is done in whatever order, it has what a dict would have."""
    walk_store(lambda: store_at(f"file://{MOUNTS[0]}/{new_folder()}?shared"), walks=3)


def test_of_two_hosts_that_create_a_name_one_is_told_so() -> None:
    """A name is created by one of two mounts, and both read what that one wrote."""
    folder = new_folder()
    created = [json.loads(each) for each in at_once(CREATE, *((f"{at}/{folder}", at) for at in MOUNTS))]
    assert list(range(100)) == sorted(created[0] + created[1])
    for at in MOUNTS:
        objects = FolderObjects(f"{at}/{folder}")
        found = [objects.get(f"checkpoint/x/{n}") for n in range(100)]
        assert [MOUNTS[n in created[1]].encode() for n in range(100)] == found


def test_what_two_hosts_write_at_once_both_find() -> None:
    """Of 100 results, half of them written by both hosts, each host finds all and reads the right values."""
    folder = new_folder()
    urls = [f"file://{at}/{folder}?shared" for at in MOUNTS]
    at_once(WRITE, (urls[0], 0, 75), (urls[1], 25, 100))
    time.sleep(BELIEVED_SECONDS)
    for url in urls:
        store = store_at(url)
        rows = sorted(json.loads(row.partition("#")[0])["n"] for row, _ in store.scan(TASK))
        assert list(range(100)) == rows
        assert list(range(100)) == [value_at(store, '{"n":%d}#1' % n) for n in range(100)]  # noqa: UP031
        store.close()


def test_what_one_host_clears_the_other_loses() -> None:
    """A result, and then its clear, are seen by the other host as soon as its mount looks again."""
    folder = new_folder()
    urls = [f"file://{at}/{folder}?shared" for at in MOUNTS]
    one, other = map(store_at, urls)
    for n in range(3):
        assert n * n == square(n).run(store=urls[0])
        time.sleep(BELIEVED_SECONDS)
        assert 1 == len(list(other.scan(square.name)))
        other.clear(square.name)
        time.sleep(BELIEVED_SECONDS)
        assert [] == list(one.scan(square.name))
    one.close()
    other.close()


def test_a_store_on_nfs_leaves_no_temporary_files() -> None:
    """After all of this, nothing that was written half is left."""
    assert [] == [file for file in Path(MOUNTS[0]).rglob(".tmp/*") if file.is_file()]
