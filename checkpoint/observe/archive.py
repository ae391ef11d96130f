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

__all__ = ["KEPT", "folder_of", "keep", "kept", "name_of", "read", "stem_of"]

#: So many records stay.
KEPT = 20
_SUFFIX = ".json.zst"


def folder_of(store: Store) -> Path | None:
    """Return where records are; None for a store that is no folder of this host."""
    return None if "://" in store.url else Path(store.url, "checkpoint", ".runs")


def stem_of(began: float) -> str:
    """Return how the files of a run of this process are called, by local time: they sort, and a person can tell them
    apart."""
    return f"{time.strftime('%Y-%m-%d-%H%M%S', time.localtime(began))}{f'{began % 1:.6f}'[1:]}-{os.getpid()}"


def keep(store: Store, record: RunRecord) -> None:
    """Write a record and remove the oldest ones beyond `KEPT`; nothing for a store that is no folder.

    Raises:
        OSError: it can't be written.
    """
    folder = folder_of(store)
    if folder is None:
        return
    import zstandard

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(descriptor, "wb") as file:
        file.write(zstandard.compress(record.to_json().encode(), 3))
    os.replace(temporary, folder / f"{stem_of(record.began)}{_SUFFIX}")
    for file_path in kept(store)[KEPT:]:
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            file_path.unlink()


def kept(store: Store) -> list[Path]:
    """Return the files of a store's records, the newest first."""
    folder = folder_of(store)
    if folder is None or not os.path.isdir(folder):  # also where there can be none
        return []
    return sorted(folder.glob(f"*{_SUFFIX}"), reverse=True)


def name_of(file: Path) -> str:
    """Return the name of the run whose record is in a file."""
    return file.name.removesuffix(_SUFFIX)


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
