"""Addresses: from a URL to the shared store there.

    file:///mnt/data/cache?shared      a folder that other hosts write, too
    s3://bucket/prefix                 a bucket, or whatever else fsspec has a name for
    s3://bucket/prefix?endpoint_url=http://host:9000
    memory://name                      this process's memory

What follows "?" goes to the file system of fsspec. It is part of the address, so nothing secret may be there.

Next: store/__init__.py
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import xxhash

from checkpoint.errors import StoreError
from checkpoint.store.shared.folder import FolderObjects
from checkpoint.store.shared.memory import MemoryObjects
from checkpoint.store.shared.objects import Objects
from checkpoint.store.shared.remote import SECRET_WORDS, RemoteObjects
from checkpoint.store.shared.shared import SharedStore
from checkpoint.store.shared.tier import Tier, local_folder

__all__ = ["reopened", "shared_store"]

#: Schemes of fsspec that are no place for a store.
_UNFIT = {"file", "local", "memory", "http", "https", "data", "zip", "tar", "cached", "simplecache", "filecache"}

_opened: dict[str, SharedStore] = {}


def shared_store(url: str, options: Mapping[str, Any] | None = None) -> SharedStore:
    """Return the shared store at an address, the same object each time in a process.

    Args:
        url: its address.
        options: what fsspec is told beside it, such as credentials. They stay in this process: processes that open
            the address themselves take theirs from their environment.

    Raises:
        ValueError: the address cannot be one, or tells a secret.
    """
    if url not in _opened or options is not None:
        _opened[url] = _made(url, dict(options or {}))
    return _opened[url]


def reopened(url: str, maker: int) -> SharedStore:
    """Return the store of an address that another process has sent."""
    if urlsplit(url).scheme == "memory" and maker != os.getpid():
        raise StoreError(url, "it is in the memory of another process", _ONE_PROCESS)
    return shared_store(url)


_ONE_PROCESS = 'run with executor="threads" or "serial", or use another store'


def _made(url: str, options: dict[str, Any]) -> SharedStore:
    parts = urlsplit(url)
    scheme = parts.scheme
    place, _, query = url.partition("?")
    if "@" in parts.netloc:
        raise ValueError(f"store {scheme}://...@... tells who you are; {_ELSEWHERE}")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if any(word in name.lower() for word in SECRET_WORDS):
            raise ValueError(f"store {place}?{name}=... tells a secret; {_ELSEWHERE}")
    if scheme == "file":
        if set(given) != {"shared"}:
            raise ValueError(f"store {url!r} has unknown options; only ?shared may follow a folder")
        root = os.path.abspath(parts.path)
        return SharedStore(
            f"file://{root}?shared", FolderObjects(root), _tier(), os.path.join(root, "checkpoint"), reopened
        )
    if scheme == "memory":
        objects: Objects = MemoryObjects()
        files = os.path.join(local_folder(), "files", f"memory-{os.getpid()}-{_short(place)}")
        return SharedStore(url, objects, None, files, reopened)
    _check_scheme(url, scheme)
    if not parts.netloc:
        raise ValueError(f"store {url!r} names no bucket; use {scheme}://bucket/prefix")
    objects = RemoteObjects(place, _as_options(given) | options)
    return SharedStore(url, objects, _tier(), os.path.join(local_folder(), "files", _short(url)), reopened)


_ELSEWHERE = "give credentials in the environment, or with open_store(url, storage_options={...})"


def _check_scheme(url: str, scheme: str) -> None:
    try:
        from fsspec.registry import known_implementations
    except ImportError as error:
        advice = 'install it: pip install "checkpoint-tool[shared]"'
        raise StoreError(url, "fsspec is not installed", advice) from error
    if scheme not in known_implementations or scheme in _UNFIT:
        raise ValueError(f"store {url!r} has the unknown scheme {scheme!r}; use a path, file:///folder or s3://bucket")


def _as_options(given: Mapping[str, str]) -> dict[str, Any]:
    """Return what fsspec takes for the options of an address: `region` is the client's, numbers are numbers."""
    options: dict[str, Any] = {name: {"true": True, "false": False}.get(value, value) for name, value in given.items()}
    if "region" in options:
        options["client_kwargs"] = {"region_name": options.pop("region")}
    return options


def _tier() -> Tier | None:
    return None if os.environ.get("CP_LOCAL_DIR") == "" else Tier(os.path.join(local_folder(), "frames"))


def _short(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode())
