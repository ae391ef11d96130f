"""SharedInventory: every object of a shared store, as somebody sees them who checks or collects.

Nobody is ever alone in a shared store. So what goes is what can't count again whatever others do: entries of older
epochs, entries that a later write has replaced, clears that a later one stands for. Or it is replaced by a write like
any other: a value goes by writing its entry again without it. What others may be writing just now is left for a while.

Must not know: what a value means, which ones are needed.

Next: care/stock.py
"""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final

import xxhash

from checkpoint import codec
from checkpoint.errors import DamagedEntryError, StoreError
from checkpoint.store.disk import folder_name
from checkpoint.store.entry import Entry
from checkpoint.store.inventory import Found, Item, directories_in, writes_without_values
from checkpoint.store.shared.lease import LONGEST_SECONDS, abandoned
from checkpoint.store.shared.names import SIGNATURE_BYTES, Clears, EntryName, digest_of
from checkpoint.store.shared.objects import each
from checkpoint.store.shared.shared import SharedStore

__all__ = ["SharedInventory", "usages_of"]

_CHUNK = 500
#: So many bytes of entries are in memory at once, at most; a larger one is read through a temporary file, in pieces.
_BATCH_BYTES = 64 * 1024**2
_PIECE_BYTES = 16 * 1024**2
_BATCH_ENTRIES = 256
#: The heads of most entries are shorter.
_HEAD_BYTES = 4096
_PREFIXES = [f"m/{digit:x}" for digit in range(16)]
#: Where writers and openers leave something behind when they are killed.
_LOOSE = ("checkpoint/.tmp/", "checkpoint/.probe/")


@final
class SharedInventory:
    """What a shared store has of each task."""

    def __init__(self, store: SharedStore, grace: float) -> None:
        self._store = store
        self._objects = store._objects
        self.grace = grace

    def tasks(self) -> tuple[list[str], list[StoreError]]:
        """Return the names of the tasks."""
        return self._store.tasks(), []

    def path(self, task: str) -> str:
        """Return the address of a task's objects."""
        return f"{self._store.url.partition('?')[0]}/{self._store._at(task)[:-1]}"

    # --- entries ---

    def items(self, task: str) -> Iterator[Item]:
        """Yield all entries that count, in the order of their rows, then names that nobody can read."""
        clears, names = self._listed(task)
        current = clears.current(names)
        keys = self._keys(task, "m/", (found for found in current.values()))
        signer = self._store.settings.signer
        items: list[Item] = []
        for (digest, edition), (name, text) in current.items():
            is_signed = signer is None or name.is_sealed(task, signer)
            if digest in keys:
                items.append(Item(keys[digest] + edition, name.entry, is_signed, f"m/{text}", name.entry.size))
            elif self._objects.get(f"{self._store._at(task)}m/{text}", 0, 1) is not None:
                items.append(Item(digest + edition, None, is_signed, f"m/{text}", name.entry.size))
        yield from sorted(items, key=lambda item: item.row)
        yield from (Item(text, None, True, f"m/{text}", 0) for text in names if EntryName.parse(text) is None)

    def aside(self, task: str) -> list[Item]:
        """Return what was set aside as damaged."""
        texts = [text.removeprefix("d/") for text in self._store._listed(task, ["d/"])[0]]
        parsed = [(name, text) for text in texts if (name := EntryName.parse(text)) is not None]
        keys = self._keys(task, "d/", parsed)
        return [
            Item(f"damaged:{keys.get(name.key_digest, name.key_digest)}{name.edition}", name.entry, True,
                 f"d/{text}", name.entry.size)
            for name, text in parsed
        ]  # fmt: skip

    def _listed(self, task: str) -> tuple[Clears, list[str]]:
        clears, *shards = self._store._listed(task, ["e/", *_PREFIXES])
        names = [name.removeprefix("m/") for shard in shards for name in shard]
        return Clears(name.removeprefix("e/") for name in clears), names

    def _keys(self, task: str, kind: str, names: Iterable[tuple[EntryName, str]]) -> dict[str, str]:
        try:
            return self._store._texts_of(task).keys((name, kind + text) for name, text in names)
        except (ValueError, DamagedEntryError):  # a pack is damaged, which `damage` tells
            return {}

    # --- reading ---

    def read(self, task: str, items: Iterable[Item]) -> Iterator[Found]:
        """Yield what is read of items, several at once, and not more than fits into some memory."""
        for batch in _batches(items):
            yield from (found for found in each(self._objects, lambda item: self._found(task, item), batch) if found)

    def _found(self, task: str, item: Item) -> Found | None:
        entry, name = item.entry, EntryName.parse(str(item.file).removeprefix("m/"))
        assert entry is not None
        assert name is not None
        data = self._whole(f"{self._store._at(task)}{item.file}", entry.size)
        if data is None:
            return None  # cleared or replaced meanwhile
        try:
            size = entry.size or codec.value_start(data)
            end = size + (SIGNATURE_BYTES if name.seal else 0)
            frame, signature, key = data[:size], bytes(data[size:end]), bytes(data[end:])
            if digest_of(key.decode("utf-8", "surrogatepass")) != name.key_digest:
                raise DamagedEntryError(f"it has {len(data)} bytes, and does not end with its key")
            signer = self._store.settings.signer
            if signer is not None and not signer.is_of_bytes(signature, "shared frame", [name.seal, frame]):
                raise DamagedEntryError("its bytes do not match their signature")
            return Found(item, entry, frame)
        except (DamagedEntryError, UnicodeDecodeError) as damage:
            return Found(item, entry, damage if isinstance(damage, DamagedEntryError) else _NO_KEY)

    def _whole(self, place: str, size: int) -> memoryview | None:
        """Return an object; a large one as a map of a temporary file."""
        if size <= _BATCH_BYTES:
            data = self._objects.get(place)
            return None if data is None else memoryview(data)
        with tempfile.TemporaryFile() as file:
            for start in itertools.count(0, _PIECE_BYTES):
                piece = self._objects.get(place, start, start + _PIECE_BYTES)
                if piece is None:
                    return None
                file.write(piece)
                if len(piece) < _PIECE_BYTES:
                    break
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.tell() else b"")

    def without_values(self, task: str, rows: Sequence[str]) -> dict[str, tuple[Entry, codec.Frame]]:
        """Return the entries of rows and their frames without the values, which are read only if they are signed."""
        divided = {row: (row[: row.rfind("}") + 1], row[row.rfind("}") + 1 :]) for row in rows}
        clears, names = self._store._look(task, [key for key, _ in divided.values()])
        current = self._store._current(task, clears, names)
        places = {row: current.get((digest_of(key), edition)) for row, (key, edition) in divided.items()}
        wanted = [(row, *found) for row, found in places.items() if found is not None]
        frames = each(self._objects, lambda each_: self._without_value(task, each_[1], each_[2]), wanted)
        return {
            row: (name.entry, frame) for (row, name, _), frame in zip(wanted, frames, strict=True) if frame is not None
        }

    def _without_value(self, task: str, name: EntryName, text: str) -> codec.Frame | None:
        with contextlib.suppress(DamagedEntryError):
            if name.seal:
                found = self._store._frame(task, text)
                return None if found is None else codec.without_value(found[0])
            place = f"{self._store._at(task)}m/{text}"
            data = self._objects.get(place, 0, _HEAD_BYTES)
            if data is not None and (end := codec.value_start(data)) > len(data):
                data = self._objects.get(place, 0, end)
            return None if data is None else codec.without_value(data)
        return None

    # --- what counts for nothing ---

    def damage(self, task: str) -> list[tuple[str, str]]:
        """Return which names of clears, packs of keys and records are not as they were written."""
        clears, packs, records = self._store._listed(task, ["e/", "k/", "t/"])
        known = set(Clears(name.removeprefix("e/") for name in clears).names)
        wrong = [(name, "its name tells no clear") for name in clears if name.removeprefix("e/") not in known]
        at = self._store._at(task)
        read = each(self._objects, lambda name: (name, self._objects.get(at + name)), [*packs, *records])
        for name, data in read:
            if data is not None and not (_is_pack(name, data) if name.startswith("k/") else _is_record(data)):
                wrong.append((name, "its bytes are not those that were written"))
        return [(f"{self.path(task)}/{name}", text) for name, text in wrong]

    def orphans(self, task: str) -> dict[str, int]:
        """Return entries that no longer count, and clears that another one stands for."""
        clears, names = self._listed(task)
        current = {text for _, text in clears.current(names).values()}
        parsed = [(text, name) for text in names if (name := EntryName.parse(text)) is not None]
        found = {f"m/{text}": name.entry.size for text, name in parsed if text not in current}
        return found | {f"e/{name}": 0 for name in clears.obsolete()}

    def loose(self) -> dict[str, int]:
        """Return what killed writers have left, and nobody has touched for a while."""
        now = time.time()
        found = [size for prefix in _LOOSE for size in self._objects.sizes(prefix)]
        left = [size for size in found if size.written_at <= now - self.grace]
        left += abandoned(self._objects, now - max(self.grace, LONGEST_SECONDS))
        return {size.name: size.size for size in left}

    def directories(self, task: str) -> dict[str, int]:
        """Return the folders of task_directory() that this host sees."""
        return directories_in(os.path.join(self._store._files, folder_name(task), "files"))

    # --- removing ---

    def alone(self, *, patience: float | None = None) -> contextlib.AbstractContextManager[None]:
        """Return a block in which nothing is different: others are on other hosts."""
        return contextlib.nullcontext()

    def release(self, task: str, rows: Sequence[tuple[str, Entry]]) -> list[str]:
        """Write entries again without their values; one that another host has just written anew is left alone."""
        released: list[str] = []
        for start in range(0, len(rows), _CHUNK):
            writes = writes_without_values(self, self._store, task, dict(rows[start : start + _CHUNK]))
            kept = self._store.write(task, writes)
            released += [write.row for write, is_kept in zip(writes, kept, strict=True) if is_kept]
        for row in released:
            shutil.rmtree(self._store.directory(task, row), ignore_errors=True)
        return released

    def remove(self, task: str, items: Sequence[Item]) -> None:
        """Delete objects by the names that their items have."""
        self.remove_files(task, [item.file for item in items if item.file is not None])

    def remove_files(self, task: str, names: Sequence[str]) -> None:
        """Delete objects below a task's place."""
        at = self._store._at(task)
        self._objects.delete([at + name for name in names])

    def remove_loose(self, names: Sequence[str]) -> None:
        """Delete objects that belong to no task."""
        self._objects.delete(names)

    def shrink(self, task: str) -> None:
        """Do nothing: what is deleted takes no space."""


def usages_of(store: SharedStore) -> Iterator[tuple[str | None, str, int, int, int]]:
    """Yield what each task takes: its name, its folder, bytes of entries, of folders of its own, and of everything."""
    inventory = SharedInventory(store, 0.0)
    for task in store.tasks():
        at = store._at(task)
        objects = {each_.name: each_.size for each_ in store._objects.sizes(at)}
        entries = sum(entry.size for _, entry in store.scan(task))
        files = sum(inventory.directories(task).values())
        is_among_them = any(name.startswith(f"{at}files/") for name in objects)
        yield task, folder_name(task), entries, files, sum(objects.values()) + (0 if is_among_them else files)
    loose = sum(size.size for prefix in _LOOSE for size in store._objects.sizes(prefix))
    if loose:
        yield None, ".", 0, 0, loose


_NO_KEY = DamagedEntryError("it does not end with its key")


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield items, so many together as fit into the memory that reading may take; a large one alone."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (size + item.size > _BATCH_BYTES or len(batch) == _BATCH_ENTRIES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def _is_pack(name: str, data: bytes) -> bool:
    return name.removeprefix("k/") == xxhash.xxh3_128_hexdigest(data)


def _is_record(data: bytes) -> bool:
    try:
        found: Any = json.loads(data)
    except ValueError:
        return False
    return isinstance(found, list) and len(found) == 3
