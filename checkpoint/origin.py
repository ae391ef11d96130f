"""Origin: where results are computed: host, platform, Python.

Next: inside.py
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping

import xxhash

from checkpoint.graph import TaskInfo
from checkpoint.store import Store

__all__ = ["facts", "origin", "origin_of", "record_origin"]

_ORIGIN = "origin:"


@functools.cache
def facts() -> Mapping[str, str]:
    """Return this process's "host", "platform" and "python"; starts no process, as `platform.platform` does."""
    if sys.platform == "win32":
        import platform

        system, host, release, _, machine, _ = platform.uname()
    else:
        system, host, release, _, machine = os.uname()
    version = ".".join(map(str, sys.version_info[:3]))
    return {"host": host, "platform": f"{system}-{release}-{machine}", "python": version}


@functools.cache
def _here() -> tuple[bytes, str]:
    text = json.dumps(facts())
    return xxhash.xxh3_64_digest(text.encode()), text


def origin() -> bytes:
    """Return what stands for this process's host, platform and Python: 8 bytes."""
    return _here()[0]


def record_origin(store: Store, task: TaskInfo) -> None:
    """Keep what `origin` stands for beside a task's entries."""
    digest, text = _here()
    store.record(task.name, _ORIGIN + digest.hex(), text)


def origin_of(store: Store, task: str, digest: bytes) -> dict[str, str]:
    """Return the facts about an origin; nothing if it is not on record."""
    name = _ORIGIN + digest.hex()
    record = store.records(task, name).get(name)
    facts: dict[str, str] = json.loads(record.text) if record is not None else {}
    return facts
