"""Store: the mapping (task name, row) -> entry, and which store is the current one.

Must not know: graphs, plans, executors; what the bytes of a frame mean. Nothing is created before it is needed.

Next: store/claims.py
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Literal, Self, cast, final

from checkpoint.environment import variables
from checkpoint.store.behind import WriteBehind
from checkpoint.store.claims import Claims, Standing, claim_name
from checkpoint.store.disk import disk_store
from checkpoint.store.entry import Entry, Epoch, Record, Store, Write
from checkpoint.store.settings import Settings

__all__ = [
    "Claims",
    "Entry",
    "Epoch",
    "Record",
    "Settings",
    "Standing",
    "Store",
    "Write",
    "WriteBehind",
    "claim_name",
    "current_store",
    "open_store",
    "store_at",
]

_current: ContextVar[Store | None] = ContextVar("checkpoint_store", default=None)
_default_roots: dict[str, str] = {}


def store_at(url: str | os.PathLike[str] | Store, settings: Settings | None = None) -> Store:
    """Return the store at a path or a URL, the same object each time; a store is returned as it is.

    Without settings these are as the environment says.

    Creates nothing.

    Raises:
        TypeError: the address is neither text nor a path nor a store.
        ValueError: it is empty, or a URL of a kind that no store serves.
    """
    if callable(getattr(url, "lookup", None)):
        return cast("Store", url)
    if not isinstance(url, (str, os.PathLike)):
        raise TypeError(f"store must be a path or a URL, not {type(url).__name__}: {url!r}")
    text = os.fspath(url)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"store must be the path of a folder; {text!r} is none")
    scheme, found, rest = text.partition("://")
    settings = Settings.of() if settings is None else settings
    if found and (scheme != "file" or "?" in rest):
        from checkpoint.store.shared.address import shared_store  # few programs need it

        return shared_store(text, settings)
    text = rest if found else text
    return disk_store(os.path.abspath(os.path.expanduser(text)), settings)


def current_store() -> Store:
    """Return the store of the innermost `open_store` block, else the one at `$CP_CACHE_DIR` (default `.cache`).

    A relative `$CP_CACHE_DIR` is resolved once, when it is first needed; later changes of the working
    directory don't matter.
    """
    store = _current.get()
    if store is not None:
        return store
    (given,) = variables("CP_CACHE_DIR")
    setting = given or ".cache"
    if "://" in setting:
        return store_at(setting)
    root = _default_roots.get(setting)
    if root is None:
        root = _default_roots[setting] = os.path.abspath(os.path.expanduser(setting))
    return disk_store(root, Settings.of())


@final
class open_store:  # used like the function `open`
    """Make another store the current one for a block: `with open_store("/data/cache"): ...`.

    Args:
        url: a folder (created when the first result is stored), `file:///folder?shared` for one that other hosts
            write too, `s3://bucket/prefix`, `memory://name`, or a store.
        allow_pickle: False keeps pickles from being written and read: tasks then need `codec="json"` or a codec of
            their own. None is as `$CP_ALLOW_PICKLE` says, else True.
        durability: "process": a commit outlives the death of every process; "power": a power failure, too, which
            costs a few milliseconds a commit. None is as `$CP_DURABILITY` says, else "process". Commits to a shared
            folder or a bucket always outlive both.
        max_size: after a run that has computed something, values go until at most so many bytes of them stay, but
            none that the run was asked for; none goes while another run uses the store. None is as
            `$CP_CACHE_SIZE` says, else any size. Not for a store that hosts share: no run knows of all others there,
            so `collect(max_size=...)` makes it smaller when somebody asks.
        verify: when the bytes of uncompressed arrays of 64 KiB or more, which are mapped from a file, are compared
            with their digest: "once" in each process, unless the file has changed since; "always"; "never", where
            arrays are too large to be read as a whole. None is as `$CP_VERIFY` says, else "once". All else is always
            compared.
        storage_options: what fsspec is told beside the address of a bucket, such as credentials. They stay in this
            process; others take theirs from their environment.

    Raises:
        TypeError, ValueError: something of these cannot be.

    Notes:
        Holds for the current thread or asyncio task, and for the runs started there. `$CP_CACHE_KEY`, if it is set,
        signs what is written, and what is not signed with it is refused.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | Store,
        *,
        allow_pickle: bool | None = None,
        durability: Literal["process", "power"] | None = None,
        max_size: int | None = None,
        verify: Literal["once", "always", "never"] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        settings = Settings.of(allow_pickle, durability, max_size, verify)
        if storage_options is None:
            self.store = store_at(url, settings)
        else:
            from checkpoint.store.shared.address import shared_store

            self.store = shared_store(str(url), settings, storage_options)
        if self.store is url and (allow_pickle, durability, max_size, verify) != (None,) * 4:
            raise TypeError("options of open_store() go with a folder; this store is open")
        if max_size is not None and self.store.settings.max_size != max_size:
            advice = f"call collect({self.store.url!r}, max_size={max_size}, apply=True) now and then"
            raise ValueError(
                f"open_store(max_size=...) goes with a folder on a disk, not with what hosts share; {advice}"
            )
        self._tokens: list[Token[Store | None]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_current.set(self.store))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._tokens.pop())
