"""Names: what the names of a shared store's objects say, so that listing them tells everything but the values.

    {task}/name                                       the task's full name
    {task}/m/{key}!{edition}!{epoch}!{number}!{tag}!{seal}!{text}   an entry; in it: its frame, a signature, the key
    {task}/d/...                                      the same, set aside because it is damaged
    {task}/e/task!{count}!0, {task}/e/{key}!{count}!{count}  a clear of the task, of a key; in it, when
    {task}/t/{name}                                   a record
    {task}/k/{digest}                                 texts of keys that are too long for names, many together

An entry counts if its epoch is the current one; of two in one row the one with the higher number counts. So an entry
is one object, complete when it is there, and a clear is one object, too: what it made useless counts for nothing from
that moment on, whether or not it has been deleted.

Must not know: where objects are kept.

Next: store/shared/texts.py
"""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self, final
from urllib.parse import quote, unquote

import xxhash

from checkpoint.store.entry import Entry, Epoch, Write
from checkpoint.store.signature import Signer
from checkpoint.store.tag import pack, unpack

__all__ = ["SIGNATURE_BYTES", "Clears", "EntryName", "digest_of", "quoted", "unquoted"]

#: Bytes of the signature between an entry's frame and its key, where its name has a seal.
SIGNATURE_BYTES = 32
_TASK = "task"


def digest_of(key: str) -> str:
    """Return the hex digits by which a key is found, the first two as a folder."""
    digits = xxhash.xxh3_128_hexdigest(key.encode("utf-8", "surrogatepass"))
    return f"{digits[:2]}/{digits[2:]}"


def quoted(text: str) -> str:
    """Return a text as part of a name: letters, digits, "-", "." and "_". What it begins with, its name begins with."""
    safe = quote(text.encode("utf-8", "surrogatepass"), safe="").replace("_", "%5F").replace("~", "%7E")
    return safe.replace("%", "_")


def unquoted(name: str) -> str:
    """Return the text of a name that `quoted` made."""
    return unquote(name.replace("_", "%"), errors="surrogatepass")


class EntryName(NamedTuple):
    """What the name of an entry's object says."""

    #: `digest_of` the key.
    key_digest: str
    #: What follows the key in the row.
    edition: str
    epoch: Epoch
    #: Raised by each write of the row that knew of the one before.
    number: int
    entry: Entry
    #: The key itself, unless it is too long for a name.
    key: str | None
    #: What nobody can make without the key of the store; empty where there is none.
    seal: bytes = b""

    def text(self, task: str, signer: Signer | None, limit: int) -> str:
        """Return the name, below its task and kind; the key is in it if the last part has room for `limit` characters.

        Args:
            task: its task.
            signer: what seals it: nobody who lacks the key can change what it says, or where it stands.
            limit: how many characters are allowed.
        """
        start = self._unsealed()
        start += f"{_to_base64(_seal(signer, task, start))}!" if signer is not None else "!"
        key = "" if self.key is None else _to_base64(self.key.encode("utf-8", "surrogatepass"))
        return start + (key if len(start) - 3 + len(key) <= limit else "")

    def _unsealed(self) -> str:
        tag = _to_base64(pack(f"{self.key_digest}!{self.edition}", self.entry))
        return f"{self.key_digest}!{quoted(self.edition)}!{self.epoch.task}-{self.epoch.key}!{self.number}!{tag}!"

    def is_sealed(self, task: str, signer: Signer) -> bool:
        """Tell whether it was sealed for its place, with the key of a signer."""
        return hmac.compare_digest(self.seal, _seal(signer, task, self._unsealed()))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what a name says; None if it is none of this format."""
        with contextlib.suppress(ValueError):
            key_digest, edition, epoch, number, tag, seal, key = text.split("!")
            task_count, key_count = epoch.split("-")
            edition = unquoted(edition)
            entry = unpack(f"{key_digest}!{edition}", _from_base64(tag))
            if entry is not None:
                key_text = _from_base64(key).decode("utf-8", "surrogatepass") if key else None
                at = Epoch(int(task_count), int(key_count))
                return cls(key_digest, edition, at, int(number), entry, key_text, _from_base64(seal))
        return None

    @classmethod
    def following(cls, write: Write, others: Sequence[EntryName]) -> Self:
        """Return the name of an entry that counts more than others of its key."""
        edition = write.row[len(write.key) :]
        numbers = [other.number for other in others if (other.edition, other.epoch) == (edition, write.epoch)]
        number = max(numbers, default=0) + 1
        return cls(digest_of(write.key), edition, write.epoch, number, write.entry, write.key)

    def is_replaced_by(self, new: EntryName) -> bool:
        """Tell whether another entry of the same key makes this one useless."""
        if self.epoch != new.epoch:
            return self.epoch < new.epoch
        if self.edition == new.edition:
            return True
        return self.entry.fingerprint == new.entry.fingerprint and self.entry.generation != new.entry.generation

    def precedence(self) -> tuple[Epoch, int, float, str]:
        """Return what tells which of a row's objects counts: the highest. Of two that knew nothing of each other
        that is the earlier one, which others may have read by now."""
        return self.epoch, self.number, -self.entry.stored_at, self.entry.digest.hex()


@final
class Clears:
    """How often a task and its keys were cleared, from the names of the clears."""

    def __init__(self, names: Iterable[str]) -> None:
        self.task = 0
        self._of_keys: dict[str, Epoch] = {}
        #: All names that were given.
        self.names: list[str] = []
        for name in names:
            with contextlib.suppress(ValueError):
                what, task_count, key_count = name.split("!")
                count = Epoch(int(task_count), int(key_count))
                self.names.append(name)
                if what == _TASK:
                    self.task = max(self.task, count.task)
                else:
                    self._of_keys[what] = max(count, self._of_keys.get(what, count))

    def epoch(self, key_digest: str) -> Epoch:
        """Return the epoch of a key."""
        found = self._of_keys.get(key_digest)
        return found if found is not None and found.task >= self.task else Epoch(self.task, 0)

    def next(self, key_digest: str | None) -> tuple[str, Epoch]:
        """Return the name of the next clear of a key, or of the task, and the epoch that it begins."""
        if key_digest is None:
            return f"{_TASK}!{self.task + 1}!0", Epoch(self.task + 1, 0)
        now = self.epoch(key_digest)
        epoch = Epoch(now.task, now.key + 1)
        return f"{key_digest}!{epoch.task}!{epoch.key}", epoch

    def older_than(self, name: str, epoch: Epoch) -> list[str]:
        """Return the names of clears that another one stands for: those of the same key, or before the task's."""
        what = name.partition("!")[0]
        return [other for other in self.names if other != name and (other.startswith(f"{what}!") or what == _TASK)
                and _epoch_in(other) < epoch]  # fmt: skip

    def latest_of(self, key_digest: str) -> list[str]:
        """Return the names of the last clear of the task and of a key."""
        newest: dict[str, str] = {}
        for name in self.names:
            what = name.partition("!")[0]
            if what in (_TASK, key_digest) and (what not in newest or _epoch_in(newest[what]) < _epoch_in(name)):
                newest[what] = name
        return list(newest.values())

    def obsolete(self) -> list[str]:
        """Return the names of clears that a later one stands for."""
        return [name for name in self.names if _epoch_in(name) < self.epoch(name.partition("!")[0])]

    def current(self, names: Iterable[str]) -> dict[tuple[str, str], tuple[EntryName, str]]:
        """Return the entries that count, of those with the given names: (digest of the key, edition) -> it, its name.

        One of a later epoch than is known here was written since: it counts, too.
        """
        found: dict[tuple[str, str], tuple[EntryName, str]] = {}
        for text in names:
            name = EntryName.parse(text)
            if name is None or name.epoch < self.epoch(name.key_digest):
                continue
            at = name.key_digest, name.edition
            if at not in found or found[at][0].precedence() < name.precedence():
                found[at] = name, text
        return found


def _epoch_in(name: str) -> Epoch:
    _, task_count, key_count = name.split("!")
    return Epoch(int(task_count), int(key_count))


def _seal(signer: Signer, task: str, unsealed: str) -> bytes:
    place = f"{task}\n{unsealed}".encode("utf-8", "surrogatepass")
    return signer.of_bytes("shared entry", [place])


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _from_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
