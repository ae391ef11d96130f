"""Values: from an entry's bytes to its value, and back, with the files that belong to it.

Must not know: graphs of instances, plans, executors.

Next: version.py
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, TypeVar

from checkpoint import codec
from checkpoint.codec import Codec, Frame
from checkpoint.errors import DamagedEntryError, StoreError
from checkpoint.graph import Instance, TaskInfo
from checkpoint.store import Entry, Store

__all__ = ["changed_files", "check_codec", "encoded", "head_of", "load"]

K = TypeVar("K")
V = TypeVar("V")

_ADVICE = 'give the task codec="json" or a codec of its own, or use a store that allows pickles'
_IMPORT_ADVICE = "install what it needs or make it importable; if that is gone for good, clear the result"


def check_codec(store: Store, task: TaskInfo) -> None:
    """See that a store takes values of a task.

    Raises:
        StoreError: they would be pickles, and it allows none.
    """
    if not store.settings.allows_pickle and codec.uses_pickle(task.codec):
        raise StoreError(store.url, f"it allows no pickles, and results of {task.name} would be pickled", _ADVICE)


def load(store: Store, task: TaskInfo, row: str) -> tuple[Entry, Any, bytes] | None:
    """Return the entry, the value and the value's digest of a row; None if there is no such row, or no value in it.

    Raises:
        DamagedEntryError: its bytes are not what was written; it is set aside.
        StoreError: it is a pickle, and the store allows none; or what it needs cannot be imported here.
    """
    try:
        found = store.read(task.name, row)
        if found is None or found[0].is_collected:
            return None
        entry, frame, is_mapped = found
        known = _decoded.get((task.name, row))
        if known is not None and known[:4] == (frame.obj, entry, task.codec, store.settings.allows_pickle):
            return entry, known[4], entry.digest
        identity, verification = getattr(frame.obj, "identity", None), store.settings.verification
        is_known = verification == "never" or (verification == "once" and identity in _compared)
        decode = functools.partial(
            codec.decode,
            frame,
            codec=task.codec,
            is_mapped=is_mapped and is_known,
            allows_pickle=store.settings.allows_pickle,
        )
        if entry.has_files:
            from checkpoint import files

            with files.in_folder(lambda: store.directory(task.name, row)):
                value, digest = decode()
        else:
            value, digest = decode()
        if digest != entry.digest:
            raise DamagedEntryError("it is the value of another entry")
        if identity is not None and not is_known:
            _remember(_compared, identity, None, _MOST_COMPARED)
    except DamagedEntryError as damage:
        if isinstance(damage.__cause__, ImportError):  # there is nothing wrong with the entry
            reason = f"entry {row} of {task.name} cannot be loaded here: {damage.__cause__}"
            raise StoreError(store.url, reason, _IMPORT_ADVICE) from damage.__cause__
        store.quarantine(task.name, row)
        raise
    except PermissionError as refusal:
        raise StoreError(store.url, f"entry {row} of {task.name} was not read: {refusal}", _ADVICE) from None
    if type(value) in codec.ATOMS and len(frame) <= _SMALL_BYTES:
        decoded = frame.obj, entry, task.codec, store.settings.allows_pickle, value
        _remember(_decoded, (task.name, row), decoded, _MOST_DECODED)
    return entry, value, digest


#: (Task name, row) -> frame and entry as they were read, codec, whether pickles were allowed, and the value that came
#: of them, which nobody can change: so the same bytes are decoded once. The oldest first.
_decoded: dict[tuple[str, str], tuple[object, Entry, Codec | None, bool, Any]] = {}
_MOST_DECODED = 1_000
_SMALL_BYTES = 1024
#: The files of values that this process has compared with their digests, the oldest first.
_compared: dict[tuple[int, ...], None] = {}
_MOST_COMPARED = 100_000


def _remember(memory: dict[K, V], key: K, value: V, most: int) -> None:
    """Add something to a dict that forgets the oldest."""
    memory[key] = value
    with contextlib.suppress(KeyError, RuntimeError):  # another thread does the same
        while len(memory) > most:
            del memory[next(iter(memory))]


def encoded(
    store: Store, instance: Instance, row: str, value: Any, upstream: Sequence[tuple[str, str, str]]
) -> tuple[Frame, bool]:
    """Return the frame of a value, and whether files belong to it.

    Args:
        store: where it will be.
        instance: what it is the value of.
        row: its row.
        value: the value; files in it are looked at now.
        upstream: what it was computed from: task name, row and mark of the version of each.

    Raises:
        UnstorableError: it cannot be turned into bytes; OSError: a file in it cannot be read.
    """
    task = instance.task
    check_codec(store, task)
    if type(value) in codec.ATOMS:  # no files
        return codec.encode(value, instance, codec=task.codec, level=task.level, head=_text_of(upstream)), False
    from checkpoint import files

    head: dict[str, Any] = {"upstream": upstream} if upstream else {}
    with files.in_folder(lambda: store.directory(task.name, row), head):
        frame = codec.encode(value, instance, codec=task.codec, level=task.level, head=head)
    return frame, "files" in head


def _text_of(upstream: Sequence[tuple[str, str, str]]) -> str:
    """Return the head that tells of upstream alone as JSON, which `json` takes five times as long for."""
    if not upstream:
        return ""
    rows = [f"[{_quoted(task)},{_quoted(row)},{_quoted(mark)}]" for task, row, mark in upstream]
    return f'{{"upstream":[{",".join(rows)}]}}'


def head_of(store: Store, task: str, row: str) -> dict[str, Any]:
    """Return what is recorded beside a value: "upstream" and "files"; nothing if it is gone or damaged."""
    try:
        found = store.read(task, row)
        head = codec.read_head(found[1]) if found is not None else None
    except DamagedEntryError:
        return {}  # it is reported when somebody wants its value
    return head if isinstance(head, dict) else {}


def changed_files(store: Store, task: str, row: str) -> list[str]:
    """Return the files of a value that are gone or changed since it was computed. Cost: one read, a `stat` each."""
    from checkpoint import files

    return files.changed_files(head_of(store, task, row), store.directory(task, row))
