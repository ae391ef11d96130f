"""Archive: records of the last runs, a compressed file each in `.runs` beside the results.

A record is complete before it has its name; the oldest go when there are more than `KEPT`. Losing all of them costs
nothing but the records.

Must not know: what is in a record.

Next: observe/labels.py
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from checkpoint.observe.record import RunRecord
from checkpoint.store import Store

__all__ = ["KEPT", "keep", "kept", "read"]

#: So many records stay.
KEPT = 20
_SUFFIX = ".json.zst"


def _folder(store: Store) -> Path | None:
    return None if "://" in store.url else Path(store.url, "checkpoint", ".runs")


def keep(store: Store, record: RunRecord) -> None:
    """Write a record and remove the oldest ones beyond `KEPT`; nothing for a store that is no folder.

    Raises:
        OSError: it can't be written.
    """
    folder = _folder(store)
    if folder is None:
        return
    import zstandard

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Named by local time, so that they sort and a person can tell them apart.
    stamp = time.strftime("%Y-%m-%d-%H%M%S", time.localtime(record.began)) + f"{record.began % 1:.6f}"[1:]
    descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(descriptor, "wb") as file:
        file.write(zstandard.compress(record.to_json().encode(), 3))
    os.replace(temporary, folder / f"{stamp}-{os.getpid()}{_SUFFIX}")
    for file_path in kept(store)[KEPT:]:
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            file_path.unlink()


def kept(store: Store) -> list[Path]:
    """Return the files of a store's records, the newest first."""
    folder = _folder(store)
    return sorted(folder.glob(f"*{_SUFFIX}"), reverse=True) if folder is not None else []


def read(file: Path) -> RunRecord:
    """Return the record in a file.

    Raises:
        ValueError: it is damaged, or of another version.
        OSError: it can't be read.
    """
    import zstandard

    try:
        text = zstandard.decompress(file.read_bytes()).decode()
    except (zstandard.ZstdError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    return RunRecord.from_json(text)
