"""SharedStore: the store that many hosts use at once, kept as objects in a bucket, a shared folder or memory.

An entry is one object and becomes visible in one step. Nothing is locked: two writers of one row both succeed, and
every reader takes the same one. A clear is one object, created exclusively; what an older epoch wrote counts for
nothing from then on, and is deleted afterwards by whoever notices. So a kill leaves objects that nobody sees.

Invariants: whether an entry counts is asked of the place each time; only bytes come from the tier.

Next: store/shared/address.py
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import final

import xxhash

from checkpoint import codec
from checkpoint.codec import Frame
from checkpoint.errors import DamagedEntryError, StoreError
from checkpoint.store.claims import Claims, changes_at, open_claims
from checkpoint.store.disk import folder_name
from checkpoint.store.entry import Entry, Epoch, Record, Write
from checkpoint.store.settings import Settings
from checkpoint.store.shared.claims import LeasedClaims
from checkpoint.store.shared.names import SIGNATURE_BYTES, Clears, EntryName, digest_of
from checkpoint.store.shared.objects import Objects, both, each
from checkpoint.store.shared.owner import Owner
from checkpoint.store.shared.place import Places
from checkpoint.store.shared.texts import Texts
from checkpoint.store.shared.tier import Tier
from checkpoint.store.signature import KEY_VARIABLE

__all__ = ["SharedStore"]

#: Up to so many keys are looked up one by one, 16 at once; with more, listing all of a task may be less.
_FEW_KEYS = 64
_LISTED_AT_ONCE = 1000
#: Names of objects that are remembered by row, so that a read after a lookup takes one round trip.
_HINTS = 10_000
#: Attempts at what succeeds unless others keep doing the same.
_ATTEMPTS = 50


@final
class SharedStore:
    """A store of objects. Safe to share between threads, processes and hosts.

    Args:
        url: its address, without anything secret.
        objects: where they are.
        tier: where copies of frames are kept on this host; None for nowhere.
        files: folder that has a folder for each task, with what belongs to rows (`directory`).
        claims: file of this host by which its processes tell each other what they compute.
        lease_seconds: how long other hosts wait for this process without a sign of life; 0 for not at all.
        settings: what it may hold, and who signs.
        reopen: importable function that returns the store in another process; it takes the address, the number of the
            process that sends it, whether pickles are allowed, and whether entries are signed.
    """

    def __init__(
        self,
        url: str,
        objects: Objects,
        tier: Tier | None,
        files: str,
        claims: str,
        settings: Settings,
        reopen: Callable[[str, int, bool, bool], SharedStore],
        lease_seconds: float = 0,
    ) -> None:
        self.url, self.settings = url, settings
        self._objects = objects
        self._tier = tier
        self._files = files
        self._claims = claims
        self._reopen = reopen
        self._places = Places(url, objects)
        self._texts: dict[str, Texts] = {}
        self._hints: dict[tuple[str, str], str] = {}
        self._owner = Owner(objects, lease_seconds) if lease_seconds else None
        for part in (tier, self._owner) if hasattr(os, "register_at_fork") else ():
            if part is not None:
                os.register_at_fork(after_in_child=part.forget)

    def __repr__(self) -> str:
        return f"SharedStore({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        is_signed = self.settings.signer is not None
        return self._reopen, (self.url, os.getpid(), self.settings.allows_pickle, is_signed)

    # --- places ---

    def _at(self, task: str) -> str:
        return self._places.at(task)

    def _texts_of(self, task: str) -> Texts:
        return self._texts.setdefault(task, Texts(self._objects, self._at(task)))

    # --- reading ---

    def _clears(self, task: str) -> Clears:
        return self._look(task, [])[0]

    def _listed(self, task: str, prefixes: Sequence[str]) -> list[list[str]]:
        """Return the names that begin with each prefix, below the task's place and without that."""
        at = self._at(task)
        found = each(self._objects, self._objects.names, [at + prefix for prefix in prefixes])
        return [[name.removeprefix(at) for name in names] for names in found]

    def _look(self, task: str, keys: Sequence[str]) -> tuple[Clears, list[str]]:
        """Return the clears, and the names of all entries of some keys, below "m/"."""
        digests = list(dict.fromkeys(map(digest_of, keys)))
        prefixes = [f"m/{digest}!" for digest in digests]
        if len(digests) > _FEW_KEYS:
            # Keys are spread evenly: one folder of 256 tells how many entries there are in all.
            in_one = len(self._objects.names(f"{self._at(task)}m/00/"))
            if in_one * 256 / _LISTED_AT_ONCE < len(digests):
                prefixes = [f"m/{digit:x}" for digit in range(16)]
        clears, *found = self._listed(task, ["e/", *prefixes])
        names = [name.removeprefix("m/") for some in found for name in some]
        return Clears(name.removeprefix("e/") for name in clears), names

    def lookup(self, task: str, keys: Sequence[str]) -> dict[str, list[Entry]]:
        """Return the metadata of all entries of those keys that have any.

        Notes:
            One round trip for up to 15 keys; for thousands one request for each thousand of entries, 16 at once.
        """
        found: dict[str, list[Entry]] = {}
        if not keys:
            return found
        clears, names = self._look(task, keys)
        by_digest = {digest_of(key): key for key in keys}
        for (digest, edition), (name, text) in sorted(self._current(task, clears, names).items()):
            key = by_digest.get(digest)
            if key is not None:
                found.setdefault(key, []).append(name.entry)
                self._remember(task, key + edition, text)
        return found

    def _current(self, task: str, clears: Clears, names: Iterable[str]) -> dict[tuple[str, str], tuple[EntryName, str]]:
        """Return the entries that count; where there is a key, all of them are signed with it."""
        found = clears.current(names)
        signer = self.settings.signer
        if signer is not None:
            for name, _ in found.values():
                if not name.is_sealed(task, signer):
                    reason = f"entry {name.key or name.key_digest}{name.edition} of {task} is not signed with the key "
                    advice = "set the key that it was written with, or compute into another place"
                    raise StoreError(self.url, f"{reason}in ${KEY_VARIABLE}", advice)
        return found

    def _remember(self, task: str, row: str, text: str) -> None:
        if len(self._hints) >= _HINTS:
            self._hints.clear()
        self._hints[task, row] = text

    def scan(self, task: str) -> Iterator[tuple[str, Entry]]:
        """Yield each row of a task and its metadata, in the order of the rows."""
        clears, *shards = self._listed(task, ["e/", *(f"m/{digit:x}" for digit in range(16))])
        names = (name.removeprefix("m/") for shard in shards for name in shard)
        current = self._current(task, Clears(name.removeprefix("e/") for name in clears), names)
        keys = self._texts_of(task).keys((name, f"m/{text}") for name, text in current.values())
        rows = [(keys[digest] + edition, name.entry) for (digest, edition), (name, _) in current.items()
                if digest in keys]  # fmt: skip
        yield from sorted(rows)

    def epochs(self, task: str, keys: Sequence[str], *, creates: bool = False) -> list[Epoch]:
        """Return the epoch of each key. One request for a thousand clears."""
        if creates:
            self._places.settle(task)
        if not keys:
            return []
        clears, _ = self._look(task, [])
        return [clears.epoch(digest_of(key)) for key in keys]

    def read(self, task: str, row: str) -> tuple[Entry, memoryview, bool] | None:
        """Return metadata, frame and whether the frame is a map of a file.

        Notes:
            One round trip after a lookup or write of the row in this process, or with a copy on this host; else two.
        """
        key, edition = _divided(row)
        at = digest_of(key), edition
        for _ in range(_ATTEMPTS):
            hint = self._hints.get((task, row))
            (clears, names), frame = both(
                self._objects,
                lambda: self._look(task, [key]),
                lambda: self._frame(task, hint),  # noqa: B023  # called before the next turn
            )
            found = self._current(task, clears, names).get(at)
            if found is None:
                return None
            name, text = found
            if text != hint or frame is None:
                frame = self._frame(task, text)
            if frame is not None:
                self._remember(task, row, text)
                return name.entry, *frame
            # Replaced or cleared between the two steps: look again.
        raise StoreError(self.url, f"row {row} of {task} is listed and not there", "run again")

    def _frame(self, task: str, text: str | None) -> tuple[memoryview, bool] | None:
        """Return a frame by the name of its entry, and whether it is a map of a file; None if it is gone.

        Raises:
            DamagedEntryError: it is not the one that was signed.
        """
        name = EntryName.parse(text) if text is not None else None
        if name is None or text is None:
            return None
        place = f"{self._at(task)}m/{text}"
        found = self._tier.get(f"{self.url}/{place}") if self._tier is not None else None
        if found is None:
            end = None if name.entry.is_collected else name.entry.size + SIGNATURE_BYTES
            data = self._objects.get(place, 0, end)
            if data is None:
                return None
            found = memoryview(data), False
            if self._tier is not None and len(data) >= name.entry.size:
                self._tier.put(f"{self.url}/{place}", Frame([data], b""))
        whole, is_mapped = found
        size = codec.value_start(whole) if name.entry.is_collected else name.entry.size
        frame = whole[:size]
        if self.settings.signer is None:
            return frame, is_mapped
        frame, signature = memoryview(bytes(frame)), bytes(whole[size : size + SIGNATURE_BYTES])
        if not self.settings.signer.is_of_bytes(signature, "shared frame", [name.seal, frame]):
            raise DamagedEntryError("its bytes do not match their signature")
        return frame, False

    # --- writing ---

    def write(self, task: str, writes: Sequence[Write]) -> list[bool]:
        """Commit entries, each of them in one step.

        Returns:
            False for each that was cleared since its epoch was read, or that left another result in its place.

        Notes:
            Two round trips, one more where older entries go.
        """
        if not writes:
            return []
        self._places.settle(task)
        clears, names = self._look(task, [write.key for write in writes])
        by_digest: dict[str, list[tuple[EntryName, str]]] = {}
        for text in names:
            if (name := EntryName.parse(text)) is not None:
                by_digest.setdefault(name.key_digest, []).append((name, text))
        kept, puts, dead = [], [], []
        for write in writes:
            digest = digest_of(write.key)
            others = by_digest.setdefault(digest, [])
            kept.append(write.epoch == clears.epoch(digest))
            first = self._first(task, write, others) if kept[-1] else None
            if first is not None:
                kept[-1] = first.digest == write.entry.digest
            elif kept[-1]:
                name = EntryName.following(write, [other for other, _ in others])
                text = name.text(task, self.settings.signer, self._objects.name_limit)
                gone = [other for other in others if other[0].is_replaced_by(name)]
                dead += gone
                by_digest[digest] = [*(other for other in others if other not in gone), (name, text)]
                puts.append((write, text))
        each(self._objects, lambda put: self._put(task, *put), puts)
        at = self._at(task)
        self._objects.delete([f"{at}m/{text}" for _, text in dead])
        written = {write.row for write, _ in puts}
        keys = {digest_of(write.key): write.key for write in writes}
        for name, _ in dead:
            if (row := keys[name.key_digest] + name.edition) not in written:
                shutil.rmtree(self.directory(task, row), ignore_errors=True)
        return kept

    def _first(self, task: str, write: Write, others: Sequence[tuple[EntryName, str]]) -> Entry | None:
        """Return the result that an entry leaves in its place, if there is one."""
        edition = write.row[len(write.key) :]
        there = [name for name, _ in others if (name.edition, name.epoch) == (edition, write.epoch)]
        first = max(there, key=EntryName.precedence, default=None)
        if first is None or not write.gives_way_to(first.entry):
            return None
        signer = self.settings.signer
        return first.entry if signer is None or first.is_sealed(task, signer) else None

    def _put(self, task: str, write: Write, text: str) -> None:
        place = f"{self._at(task)}m/{text}"
        signature = b""
        if self.settings.signer is not None and (name := EntryName.parse(text)) is not None:
            signature = self.settings.signer.of_bytes("shared frame", [name.seal, *write.frame.parts])
        parts = [*write.frame.parts, signature, write.key.encode("utf-8", "surrogatepass")]
        self._objects.put(place, parts)
        if self._tier is not None:
            self._tier.put(f"{self.url}/{place}", Frame(parts[:-1], b""))
        self._remember(task, write.row, text)

    def clear(self, task: str, key: str | None = None, *, creates: bool = False) -> None:
        """Raise the epoch of a key, or of the whole task, and remove what is there."""
        if creates:
            self._places.settle(task)
        elif not self._places.is_settled(task):
            return
        at = self._at(task)
        digest = None if key is None else digest_of(key)
        for _ in range(_ATTEMPTS):
            clears = self._clears(task)
            marker, epoch = clears.next(digest)
            if self._objects.create(f"{at}e/{marker}", repr(time.time()).encode()):
                break
        else:
            raise StoreError(self.url, f"others clear {task} all the time", "run again")
        kinds = [kind if digest is None else f"{kind}{digest}!" for kind in ("m/", "d/")]
        dead = [text for texts in self._listed(task, kinds) for text in texts]
        names = {text: name for text in dead if (name := EntryName.parse(text[2:])) is not None and name.epoch < epoch}
        packs = self._listed(task, ["k/"])[0] if key is None else []
        old = [f"e/{name}" for name in clears.older_than(marker, epoch)]
        self._objects.delete([at + name for name in (*names, *packs, *old)])
        rows = {key or "", *((key or "") + name.edition for name in names.values())}
        folders = [os.path.join(self._files, folder_name(task), "files")] if key is None else [
            self.directory(task, row) for row in rows]  # fmt: skip
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    def quarantine(self, task: str, row: str) -> None:
        """Set a damaged entry aside."""
        key, edition = _divided(row)
        digest = digest_of(key)
        at = self._at(task)
        aside, names = self._listed(task, [f"d/{digest}!", f"m/{digest}!"])
        parsed = [(name, text) for text in names if (name := EntryName.parse(text[2:])) and name.edition == edition]
        if not parsed:
            return
        damaged, *others = sorted(parsed, key=lambda found: found[0].precedence(), reverse=True)
        before = [text for text in aside if (name := EntryName.parse(text[2:])) and name.edition == edition]
        # What it stood for goes first: it would count again.
        self._objects.delete([at + text for text in (*before, *(text for _, text in others))])
        self._objects.move(at + damaged[1], f"{at}d/{damaged[1][2:]}")

    def damaged(self, task: str) -> list[str]:
        """Return the rows of a task that are set aside."""
        names = [(name, text) for text in self._listed(task, ["d/"])[0] if (name := EntryName.parse(text[2:]))]
        keys = self._texts_of(task).keys(names)
        return sorted({keys[name.key_digest] + name.edition for name, _ in names if name.key_digest in keys})

    # --- records, and the rest ---

    def record(self, task: str, name: str, text: str) -> None:
        """Keep a text beside the entries of a task."""
        self._places.settle(task)
        self._texts_of(task).record(name, text)

    def records(self, task: str, kind: str) -> dict[str, Record]:
        """Return the records of a task whose names begin with `kind`, by name, the oldest first."""
        return self._texts_of(task).records(kind)

    def cleared_at(self, task: str, key: str) -> float | None:
        """Return when a key, or the whole task, was last cleared, by the clock of who did it."""
        names = [f"{self._at(task)}e/{name}" for name in self._clears(task).latest_of(digest_of(key))]
        return max((float(data) for data in each(self._objects, self._objects.get, names) if data), default=None)

    def tasks(self) -> list[str]:
        """Return the names of the tasks that have a place here, sorted."""
        return self._places.tasks()

    def directory(self, task: str, row: str) -> Path:
        """Return the folder that belongs to a row: in a shared folder for all hosts, else on this host alone."""
        digest = xxhash.xxh3_128_hexdigest(row.encode("utf-8", "surrogatepass"))
        return Path(self._files, folder_name(task), "files", digest)

    def claims(self) -> Claims:
        """Return a new holder of claims, which hold between hosts unless that was switched off."""
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._claims), mode=0o700, exist_ok=True)
        local = open_claims(self._claims)
        return local if self._owner is None else LeasedClaims(local, self._owner)

    def changes(self) -> int:
        """Return a number that is another one after this host has committed results that had been claimed."""
        return changes_at(self._claims)

    def using(self, *, creates: bool = False) -> contextlib.AbstractContextManager[None]:
        """Return a block without meaning here: who collects from a shared store can't know who uses it."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Close connections."""
        self._objects.close()
        if self._tier is not None:
            self._tier.close()


def _divided(row: str) -> tuple[str, str]:
    """Return the key and the edition of a row; a key ends with "}"."""
    end = row.rfind("}") + 1
    return row[:end], row[end:]
