"""Bundles: entries of a store, with all that they were computed from, as one file, and back.

A bundle is a zip: `bundle.json` lists the entries with their metadata and records, `frames/` has their bytes and
`files/` what runners put into folders of their own. Reading one decodes no value and runs nothing of it; values are
pickles, though, so what was imported is to be trusted before it is used.

Invariants: a bundle is written under a temporary name and appears as a whole; all of it is compared with its digests
before the first entry is imported; an entry that is there already stays.

Must not know: tasks as objects, values, terminals.

Next: diagrams.py
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, final

import xxhash

from checkpoint import codec
from checkpoint.errors import BundleError, DamagedEntryError
from checkpoint.inventory import StoredCall
from checkpoint.reasons import described, upstream_of
from checkpoint.revival import decode_arguments
from checkpoint.store import Entry, Store, Write
from checkpoint.version import key_of, mark_of, row_of_entry, version_of

__all__ = ["Imported", "export_bundle", "import_bundle"]

_FORMAT = 1
_INDEX = "bundle.json"
#: The kinds of records that travel along: code, what counts as it, where it ran.
_RECORDS = ("code:", "accepted:", "watched:", "origin:")
_DIGESTS = ("generation", "digest", "basis", "fingerprint", "origin")
#: Entries are imported in transactions of so many bytes.
_GROUP_BYTES = 16 * 1024 * 1024


@final
@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    #: Task name -> how many entries are new.
    added: Mapping[str, int]
    #: How many were there already.
    kept: int


# --- writing ---------------------------------------------------------------------------------------------


def export_bundle(store: Store, calls: Iterable[StoredCall], path: str | os.PathLike[str]) -> int:
    """Write the newest entries of some calls, and all that they were computed from, to a file.

    Args:
        store: where they are.
        calls: the calls.
        path: the file; one of that name is replaced once the new one is complete.

    Returns:
        how many entries were written.

    Raises:
        BundleError: one of them is damaged.
        StoreError: the store cannot be read. OSError: the file cannot be written.

    Notes:
        Upstream that is gone, or was computed anew with another value, cannot be told from what never was there: what
        was computed from it is exported, and is not fresh where it is imported.
    """
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    rows: list[tuple[str, str]] = []
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with store.using(), zipfile.ZipFile(temporary, "w", allowZip64=True) as bundle:
            rows = list(_closure(store, calls))
            told = [_written(bundle, store, place, *row) for place, row in enumerate(rows)]
            tasks = dict.fromkeys(task for task, _ in rows)
            records = {task: _records_of(store, task) for task in tasks}
            index = {"format": _FORMAT, "entries": told, "records": records}
            bundle.writestr(_INDEX, json.dumps(index, separators=(",", ":")), zipfile.ZIP_DEFLATED)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return len(rows)


def _closure(store: Store, calls: Iterable[StoredCall]) -> Iterator[tuple[str, str]]:
    """Yield task and row of some calls' newest entries and of all they were computed from, as far as it is there."""
    pending: list[tuple[str, str, str | None]] = [(call.task, call.row, None) for call in calls]
    seen: set[tuple[str, str]] = set()
    while pending:
        task, row, mark = pending.pop()
        if (task, row) in seen or (mark is not None and mark != _mark_at(store, task, row)):
            continue
        seen.add((task, row))
        yield task, row
        pending += upstream_of(store, task, row)


def _mark_at(store: Store, task: str, row: str) -> str | None:
    """Return the mark of the version that a row has now; None if it is gone."""
    key = key_of(row)
    for entry in store.lookup(task, [key]).get(key, ()):
        if row_of_entry(key, entry) == row:
            return mark_of(version_of(task, key, entry.generation, entry.digest))
    return None


def _written(bundle: zipfile.ZipFile, store: Store, place: int, task: str, row: str) -> dict[str, Any]:
    """Write an entry's bytes and files; return what the index says of it."""
    try:
        found = store.read(task, row)
    except DamagedEntryError as error:
        raise _damaged(str(bundle.filename), task, row, str(error)) from None
    if found is None:
        raise BundleError(str(bundle.filename), f"{described(task, key_of(row))} was cleared meanwhile", "export again")
    entry, frame, _ = found
    _check(entry, frame, str(bundle.filename), task, row)
    with bundle.open(f"frames/{place}", "w", force_zip64=True) as file:
        file.write(frame)
    folder = store.directory(task, row)
    names = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
    for name in names:
        bundle.write(folder / name, f"files/{place}/{name}")
    files = {name: _digest_of((folder / name).open("rb")) for name in names}
    facts = entry._asdict()
    return {"task": task, "row": row, **facts, **{name: facts[name].hex() for name in _DIGESTS}, "files": files}


def _records_of(store: Store, task: str) -> dict[str, str]:
    return {name: record.text for kind in _RECORDS for name, record in store.records(task, kind).items()}


def _check(entry: Entry, frame: memoryview, place: str, task: str, row: str) -> None:
    """Compare an entry's bytes with its digest; where the value was collected, the digest is all that is left of it."""
    try:
        if entry.is_collected:
            is_whole = codec.digest_of(frame) == entry.digest
        else:
            is_whole = len(frame) == entry.size and codec.verify(frame) == entry.digest
    except DamagedEntryError as error:
        raise _damaged(place, task, row, str(error)) from None
    if not is_whole:
        raise _damaged(place, task, row, "its bytes are not those of its entry")


def _damaged(place: str, task: str, row: str, reason: str) -> BundleError:
    return BundleError(place, f"{described(task, key_of(row))} is damaged: {reason}", "compute it again")


# --- reading ---------------------------------------------------------------------------------------------


def import_bundle(store: Store, path: str | os.PathLike[str]) -> Imported:
    """Put the entries of a bundle into a store.

    What is there already stays: an entry in the same place, or one of the same call by the same code. So a result that
    was computed here is never replaced, and importing twice, or once more after a kill, does no harm.

    Args:
        store: where to put them.
        path: a file that `export_bundle` wrote.

    Raises:
        BundleError: the file is no bundle, or any part of it is not what was written; nothing is imported then.
        StoreError: the store cannot be written; what was imported before stays.
    """
    place = os.fspath(path)
    with store.using(), _opened(place) as (bundle, entries, records):
        for number, (task, row, entry, names) in enumerate(entries):
            frame = _bytes_of(bundle, f"frames/{number}", place, entry.size or None)
            _check(entry, memoryview(frame), place, task, row)
            _check_files(bundle, number, names, place)
        added: dict[str, int] = {}
        for task, numbers in _by_task(entries).items():
            absent = _absent(store, task, {number: entries[number] for number in numbers})
            for name, text in records.get(task, {}).items():
                store.record(task, name, text)
            for group in _groups(absent, entries):
                for number in group:
                    _unpack_files(bundle, store, number, *entries[number])
                keys_of = [key_of(entries[number][1]) for number in group]
                epochs = store.epochs(task, keys_of, creates=True)
                writes = [
                    Write(key, entries[number][1], epoch, entries[number][2], _frame_of(bundle, number, entries, place))
                    for number, key, epoch in zip(group, keys_of, epochs, strict=True)
                ]
                added[task] = added.get(task, 0) + sum(store.write(task, writes))
    return Imported(added, len(entries) - sum(added.values()))


#: Task, row, metadata, and the digests of its files by name.
_Row = tuple[str, str, Entry, dict[str, str]]


@contextlib.contextmanager
def _opened(place: str) -> Iterator[tuple[zipfile.ZipFile, list[_Row], dict[str, dict[str, str]]]]:
    """Open a bundle and read its index."""
    try:
        bundle = zipfile.ZipFile(place)
    except zipfile.BadZipFile as error:
        raise BundleError(place, str(error), "export it again") from None
    with bundle:
        try:
            index = json.loads(_bytes_of(bundle, _INDEX, place))
            if index["format"] != _FORMAT:
                raise BundleError(place, f"it has format {index['format']}", f"this version reads format {_FORMAT}")
            entries = [_row_of(told) for told in index["entries"]]
            records = {str(task): dict(texts) for task, texts in index["records"].items()}
            if not all(_is_record(name, text) for texts in records.values() for name, text in texts.items()):
                raise ValueError("a record of an unknown kind")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(place, f"its index cannot be read: {error!r}", "export it again") from None
        yield bundle, entries, records


def _is_record(name: Any, text: Any) -> bool:
    return isinstance(name, str) and isinstance(text, str) and name.startswith(_RECORDS)


def _row_of(told: Mapping[str, Any]) -> _Row:
    """Return what the index says of an entry.

    Raises:
        ValueError, KeyError, TypeError: that is none, or not in its own row.
    """
    facts = {name: told[name] for name in Entry._fields}
    facts.update({name: bytes.fromhex(told[name]) for name in _DIGESTS})
    numbers = float(told["seconds"]), float(told["stored_at"]), int(told["size"])
    entry = Entry(**facts)._replace(seconds=numbers[0], stored_at=numbers[1], size=numbers[2])
    if [len(getattr(entry, name)) for name in _DIGESTS] != [16, 16, 16, 16, 8] or type(entry.has_files) is not bool:
        raise ValueError("the metadata of an entry are none")
    task, row = told["task"], told["row"]
    key = key_of(row)
    decode_arguments(key)
    if type(task) is not str or not task or "\0" in task or row != row_of_entry(key, entry):
        raise ValueError(f"the row of an entry of {task!r} is not its own")
    names = dict(told["files"])
    for name in names:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
            raise ValueError(f"a file is called {name!r}")
    return task, row, entry, names


_UNREADABLE = (
    KeyError,
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    zlib.error,
)


def _bytes_of(bundle: zipfile.ZipFile, name: str, place: str, size: int | None = None) -> bytes:
    """Return a part of a bundle; its checksum is compared, its size before it is read."""
    try:
        if size is not None and bundle.getinfo(name).file_size != size:
            raise ValueError(f"it has {bundle.getinfo(name).file_size} bytes instead of {size}")
        return bundle.read(name)
    except _UNREADABLE as error:
        raise BundleError(place, f"{name} cannot be read: {error}", "export it again") from None


def _check_files(bundle: zipfile.ZipFile, number: int, names: Mapping[str, str], place: str) -> None:
    """Compare the files of an entry with their digests."""
    for name, digest in names.items():
        part = f"files/{number}/{name}"
        try:
            is_whole = _digest_of(bundle.open(part)) == digest
        except _UNREADABLE as error:
            raise BundleError(place, f"{part} cannot be read: {error}", "export it again") from None
        if not is_whole:
            raise BundleError(place, f"{part} does not match its digest", "export it again")


def _digest_of(file: IO[bytes]) -> str:
    """Return the digest of what is left of a file, and close it."""
    hasher = xxhash.xxh3_128()
    with file:
        while block := file.read(1024 * 1024):
            hasher.update(block)
    return hasher.hexdigest()


def _by_task(entries: list[_Row]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, (task, *_) in enumerate(entries):
        found.setdefault(task, []).append(number)
    return found


def _absent(store: Store, task: str, wanted: Mapping[int, _Row]) -> list[int]:
    """Return the numbers of those entries for which the store has nothing by the same code from the same upstream."""
    there = store.lookup(task, [key_of(row) for _, row, _, _ in wanted.values()])
    absent = []
    for number, (_, row, entry, _) in wanted.items():
        others = there.get(key_of(row), ())
        if not any(_takes_its_place(other, entry) for other in others):
            absent.append(number)
    return absent


def _takes_its_place(there: Entry, entry: Entry) -> bool:
    """Tell whether a store would have room for only one of two entries of a key, and the one that is there stays."""
    is_value_back = there.is_collected and not entry.is_collected
    if is_value_back and (there.generation, there.digest, there.basis) == (entry.generation, entry.digest, entry.basis):
        return False
    is_same_code = there.fingerprint == entry.fingerprint
    return is_same_code and (there.basis == entry.basis or there.generation != entry.generation)


def _groups(numbers: Iterable[int], entries: list[_Row]) -> Iterator[list[int]]:
    """Yield numbers of entries in groups that fit into memory."""
    group: list[int] = []
    total = 0
    for number in numbers:
        group.append(number)
        total += entries[number][2].size
        if total >= _GROUP_BYTES:
            yield group
            group, total = [], 0
    if group:
        yield group


def _frame_of(bundle: zipfile.ZipFile, number: int, entries: list[_Row], place: str) -> codec.Frame:
    return codec.Frame([_bytes_of(bundle, f"frames/{number}", place)], entries[number][2].digest)


def _unpack_files(
    bundle: zipfile.ZipFile, store: Store, number: int, task: str, row: str, _: Entry, names: Any
) -> None:
    """Put the files of an entry into its folder."""
    folder = store.directory(task, row)
    for name in names:
        file = folder / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with bundle.open(f"files/{number}/{name}") as source, open(file, "wb") as target:
            while block := source.read(1024 * 1024):
                target.write(block)
