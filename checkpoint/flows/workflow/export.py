"""Export: a checkpoint as three files that carry one id and one digest.

`B.pkl` has the whole state and what the others say, so it stands alone; `B.state.json` and `B.meta.json` are for
people and programs. All are written under other names and renamed, the `.pkl` first: from then on the new checkpoint
counts, and whoever opens it finishes the renaming if its writer was killed. Everything is compared with its digests
before any value is decoded.

Must not know: sessions, journals.

Next: flows/workflow/checkpoints.py
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import xxhash

from checkpoint import texts
from checkpoint.codec import encode, verify
from checkpoint.errors import DamagedEntryError, DamagedSnapshotError, StoreError
from checkpoint.flows.workflow.cells import value_in
from checkpoint.store.advice import advice_on
from checkpoint.store.folders import make_folder, sync_folder

__all__ = ["SCHEMA", "Exported", "base_of", "read_export", "write_export"]

#: Version of the three files.
SCHEMA = "2.0"
_MAGIC = b"checkpoint workflow "
_ADVICE = "resume from another checkpoint, or from the journal: CheckpointManager.list()"


class Exported(NamedTuple):
    """What three files hold."""

    parts: dict[str, Any]
    state: dict[str, Any]
    meta: dict[str, Any]


def base_of(path: str | os.PathLike[str]) -> str:
    """Return the base path that three files share, without an ending.

    Raises:
        NotImplementedError: it is a URL.
    """
    text = os.fspath(path)
    if "://" in text:
        told = texts.address(text)
        raise NotImplementedError(f"checkpoints are kept in files of this machine, not at {told!r}; pass a path")
    return os.path.expanduser(text.removesuffix(".pkl"))


def write_export(base: str, parts: Mapping[str, Any], state: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Write the three files; return the path of the `.pkl`. A kill at any moment leaves the old ones or the new ones.

    Raises:
        StoreError: the folder can't be written to.
        UnstorableError: a part can't be encoded; the files are as they were.
    """
    body = b"".join(encode(dict(parts), f"checkpoint {base}").parts)
    digest = _digest(verify(body), state, meta)
    said = {"schema_version": SCHEMA, "checkpoint_id": meta["checkpoint_id"], "digest": digest}
    head = json.dumps({**said, "state": state, "meta": meta}, allow_nan=False).encode()
    contents = {
        ".pkl": _MAGIC + SCHEMA.encode() + b"\n" + head + b"\n" + body,
        ".state.json": json.dumps({**said, **state}, indent=2, allow_nan=False).encode(),
        ".meta.json": json.dumps({**said, **meta}, indent=2, allow_nan=False).encode(),
    }
    folder = os.path.dirname(os.path.abspath(base))
    try:
        make_folder(folder)
        with _locked(folder):
            _settle(base)
            for ending, content in contents.items():
                _write(_new(base, ending, meta["checkpoint_id"]), content)
            for ending in contents:
                os.rename(_new(base, ending, meta["checkpoint_id"]), base + ending)
            sync_folder(folder)
    except OSError as error:
        raise StoreError(folder, str(error), advice_on(error, os.path.basename(base))) from error
    return f"{base}.pkl"


def _settle(base: str) -> None:
    """Finish what a killed writer had begun to rename, and remove what it had not."""
    if os.path.exists(f"{base}.pkl"):
        with contextlib.suppress(DamagedSnapshotError):
            _finish(base, _read_pkl(f"{base}.pkl")[0]["checkpoint_id"])
    for left in glob.glob(f"{glob.escape(base)}.*.new"):
        os.remove(left)


def _finish(base: str, checkpoint_id: str) -> None:
    for ending in (".state.json", ".meta.json"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(_new(base, ending, checkpoint_id), base + ending)


def _new(base: str, ending: str, checkpoint_id: str) -> str:
    return f"{base}{ending}.{checkpoint_id}.new"


def _write(path: str, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _digest(body: bytes, state: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    text = json.dumps([dict(state), dict(meta)], sort_keys=True, allow_nan=False)
    return xxhash.xxh3_128_hexdigest(body + text.encode())


# --- reading ---------------------------------------------------------------------------------------------


def read_export(path: str | os.PathLike[str]) -> Exported:
    """Return what three files hold.

    Raises:
        FileNotFoundError: one of them is missing; it is named.
        DamagedSnapshotError: one is not what was written, or they belong to different saves.
    """
    base = base_of(path)
    head, body = _read_pkl(f"{base}.pkl")
    _finish(base, head["checkpoint_id"])
    said = {key: head[key] for key in ("schema_version", "checkpoint_id", "digest")}
    for ending, expected in ((".state.json", head["state"]), (".meta.json", head["meta"])):
        _check_json(base + ending, {**said, **expected})
    return Exported(value_in(body), head["state"], head["meta"])


def _read_pkl(path: str) -> tuple[dict[str, Any], bytes]:
    with open(path, "rb") as file:
        content = file.read()
    first, _, rest = content.partition(b"\n")
    if not first.startswith(_MAGIC):
        raise DamagedSnapshotError(path, "it does not begin as a checkpoint does", _ADVICE)
    _check_schema(path, first.removeprefix(_MAGIC).decode("ascii", "replace"))
    head_text, _, body = rest.partition(b"\n")
    try:
        head = json.loads(head_text)
        digest = _digest(verify(body), head["state"], head["meta"])
    except (ValueError, KeyError, TypeError, DamagedEntryError) as error:
        raise DamagedSnapshotError(path, f"its content cannot be read ({error})", _ADVICE) from error
    if digest != head["digest"] or head["checkpoint_id"] != head["meta"]["checkpoint_id"]:
        raise DamagedSnapshotError(path, "its bytes do not match their digest", _ADVICE)
    return head, body


def _check_schema(path: str, found: object) -> None:
    if found != SCHEMA:
        advice = "use the version of checkpoint that wrote it"
        raise DamagedSnapshotError(path, f"it has schema version {found}, and this one reads {SCHEMA}", advice)


def _check_json(path: str, expected: Mapping[str, Any]) -> None:
    with open(path, "rb") as file:
        content = file.read()
    try:
        found = json.loads(content)
    except ValueError as error:
        raise DamagedSnapshotError(path, f"it is no JSON ({error})", _ADVICE) from error
    if not isinstance(found, dict):
        raise DamagedSnapshotError(path, "it holds no JSON object", _ADVICE)
    if found == expected:
        return
    _check_schema(path, found.get("schema_version"))
    for name in ("session_id", "checkpoint_id"):
        if found.get(name) != expected[name]:
            reason = f"its {name} is {found.get(name)}, and that of the .pkl is {expected[name]}: they were saved apart"
            raise DamagedSnapshotError(path, reason, _ADVICE)
    changed = ", ".join(key for key in {**expected, **found} if found.get(key) != expected.get(key))
    raise DamagedSnapshotError(path, f"it was changed: {changed}", _ADVICE)
