"""Addresses: from a URL to the shared store there.

    file:///mnt/data/cache?shared      a folder that other hosts write, too
    s3://bucket/prefix                 a bucket, or whatever else fsspec has a name for
    s3://bucket/prefix?endpoint_url=http://host:9000
    memory://name                      this process's memory

What follows "?" goes to the file system of fsspec, but for `lease=SECONDS`: how long other hosts wait for one that is
computing something and gives no sign of life; with 0 they don't wait. It is part of the address, so nothing secret
may be there.

Next: store/__init__.py
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import xxhash

from checkpoint import texts
from checkpoint.errors import StoreError
from checkpoint.store.settings import Settings
from checkpoint.store.shared.folder import FolderObjects
from checkpoint.store.shared.lease import LONGEST_SECONDS
from checkpoint.store.shared.memory import MemoryObjects
from checkpoint.store.shared.objects import Objects
from checkpoint.store.shared.remote import SECRET_WORDS, RemoteObjects
from checkpoint.store.shared.shared import SharedStore
from checkpoint.store.shared.tier import Tier, local_folder
from checkpoint.store.signature import KEY_VARIABLE

__all__ = ["reopened", "shared_store"]

#: Schemes of fsspec that are no place for a store.
_UNFIT = {"file", "local", "memory", "http", "https", "data", "zip", "tar", "cached", "simplecache", "filecache"}

_DEFAULT = Settings()
_opened: dict[tuple[str, Settings], SharedStore] = {}
#: What was given with an address lasts as long as the process.
_options: dict[str, dict[str, Any]] = {}
_warned: set[str] = set()
#: Addresses in memory -> what is there.
_memories: dict[str, MemoryObjects] = {}


def shared_store(
    url: str,
    settings: Settings = _DEFAULT,
    options: Mapping[str, Any] | None = None,
) -> SharedStore:
    """Return the shared store at an address, the same object each time in a process.

    Args:
        url: its address.
        settings: what it may hold, and who signs.
        options: what fsspec is told beside it, such as credentials. They stay in this process: processes that open
            the address themselves take theirs from their environment.

    Raises:
        ValueError: the address cannot be one, or tells a secret.
    """
    is_limited = settings.max_size is not None
    settings = settings._replace(is_durable=True, max_size=None)  # it always is; and no run collects here
    if options is not None and options != _options.get(url):
        _options[url] = dict(options)
        for opened in [opened for opened in _opened if opened[0] == url]:
            del _opened[opened]
    if (url, settings) not in _opened:
        _opened[url, settings] = _made(url, settings, _options.get(url, {}))
    if is_limited and url not in _warned:
        _warned.add(url)
        logging.getLogger("checkpoint").warning(
            "no run keeps %s to a maximum size, for hosts share it; use 'checkpoint gc --max-size'", texts.address(url)
        )
    return _opened[url, settings]


def reopened(url: str, maker: int, allows_pickle: bool, is_signed: bool) -> SharedStore:
    """Return the store of an address that another process has sent; this one must have the key if that has."""
    if url.startswith("memory:") and maker != os.getpid():
        raise StoreError(url, "it is in the memory of another process", _ONE_PROCESS)
    signer = Settings.of(allows_pickle).signer if is_signed else None
    if is_signed and signer is None:
        advice = f"set ${KEY_VARIABLE} wherever tasks are computed"
        raise StoreError(url, "its entries are signed, and a worker has no key to sign with", advice)
    return shared_store(url, Settings(allows_pickle, True, signer))


_ONE_PROCESS = 'run with executor="threads" or "serial", or use another store'


def _made(url: str, settings: Settings, options: Mapping[str, Any]) -> SharedStore:
    scheme = url.partition("://")[0]
    place, _, query = url.rpartition("?") if "?" in url else (url, "", "")
    host = place.partition("://")[2].partition("/")[0]
    if scheme != "file" and ("@" in host or (":" in host and "@" in url)):  # secrets have slashes, too
        raise ValueError(f"store {texts.address(url)} tells who you are; {_ELSEWHERE}")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if any(word in name.lower() for word in SECRET_WORDS):
            raise ValueError(f"store {place}?{name}=... tells a secret; {_ELSEWHERE}")
    lease_seconds = _lease_seconds(url, given.pop("lease", "0" if scheme == "memory" else _LEASE_SECONDS))
    where = "?".join(filter(None, (place, "&".join(part for part in query.split("&") if part[:6] != "lease="))))
    files = os.path.join(local_folder(), "files", _short(where))
    claims = os.path.join(local_folder(), "claims", _short(where))
    tier: Tier | None = Tier(os.path.join(local_folder(), "frames"))
    objects: Objects
    if scheme == "file":
        if set(given) != {"shared"}:
            raise ValueError(f"store {url!r} has unknown options; only ?shared and &lease=SECONDS may follow a folder")
        root = os.path.abspath(os.path.expanduser(place.partition("://")[2]))
        url = f"file://{root}?{query}"
        objects, files = FolderObjects(root), os.path.join(root, "checkpoint")
    elif scheme == "memory":
        objects, tier = _memories.setdefault(where, MemoryObjects()), None
        files += f"-{os.getpid()}"
    else:
        _check_scheme(url, scheme)
        if not host:
            raise ValueError(f"store {url!r} names no bucket; use {scheme}://bucket/prefix")
        objects = RemoteObjects(place, {**_as_options(given), **options})
    return SharedStore(url, objects, tier, files, claims, settings, reopened, lease_seconds)


_ELSEWHERE = "give credentials in the environment, or with open_store(url, storage_options={...})"


#: How long others wait for a host that gives no sign of life.
_LEASE_SECONDS = "30"


def _lease_seconds(url: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (seconds == 0 or 1 <= seconds <= LONGEST_SECONDS):
        raise ValueError(f"store {url!r} has lease={text}; give 1 to {LONGEST_SECONDS:g} seconds, or 0 for no leases")
    return seconds


def _check_scheme(url: str, scheme: str) -> None:
    try:
        from fsspec.registry import known_implementations
    except ImportError as error:
        advice = 'install it: pip install "checkpoint-tool[shared]"'
        raise StoreError(url, "fsspec is not installed", advice) from error
    if scheme not in known_implementations or scheme in _UNFIT:
        raise ValueError(f"store {url!r} has the unknown scheme {scheme!r}; use a path, file:///folder or s3://bucket")


def _as_options(given: Mapping[str, str]) -> dict[str, Any]:
    """Return what fsspec takes for the options of an address; `region` and `timeout` (in seconds) are those of S3."""
    options: dict[str, Any] = {name: {"true": True, "false": False}.get(value, value) for name, value in given.items()}
    if "region" in options:
        options["client_kwargs"] = {"region_name": options.pop("region")}
    if "timeout" in options:
        seconds = float(options.pop("timeout"))
        retries = {"max_attempts": 2, "mode": "standard"}
        options["config_kwargs"] = {"connect_timeout": seconds, "read_timeout": seconds, "retries": retries}
    return options


def _short(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode())
