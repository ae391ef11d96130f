"""State handlers: where the newest state of a linear flow is kept, whole, so that a person can read and edit it.

Must not know: flows, steps, the journal's history. A good file is never truncated; an unreadable one is an error.

Next: flows/linear/steps.py
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any, Protocol, final

from checkpoint.errors import DamagedSnapshotError, StoreError, UnsavableError, UnstorableError
from checkpoint.journal.values import frame_of, pickle_is_allowed, value_of
from checkpoint.keys import module_name
from checkpoint.store.advice import advice_on
from checkpoint.store.folders import sync_folder
from checkpoint.unpickling import dill_loads

__all__ = ["LocalStateHandler", "StateHandler", "handler_class", "name_of"]

_ADVICE = (
    "go on from the journal with run(checkpoint=flow.history()[-1]), restore the file, or remove it to start afresh"
)


class StateHandler(Protocol):
    """What keeps the newest state of a flow. Made with the flow's path as the only argument."""

    def read(self) -> dict[Any, Any]:
        """Return the state that was written last, or an empty dict if there is none."""
        ...

    def write(self, state: dict[Any, Any]) -> None:
        """Keep a state in place of the one before; it is lasting when this returns."""
        ...


@final
class LocalStateHandler:
    """Keeps a state in a local file. Files of the same form that dill wrote are read as well.

    Args:
        path: the file; a missing or empty one holds no state. Its folder is made when a state is written.

    Raises:
        StoreError: the path is a folder, or the file could not be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"state_path must be the path of a file, not {path!r}")
        self.path = os.path.abspath(os.fspath(path))
        if os.path.isdir(self.path):
            raise self._failed(IsADirectoryError(errno.EISDIR, "it is a folder"), "name a file in it")
        nearest = self.path if os.path.exists(self.path) else os.path.dirname(self.path)
        while not os.path.exists(nearest):
            nearest = os.path.dirname(nearest)
        if not os.access(nearest, os.W_OK) or (nearest != self.path and not os.path.isdir(nearest)):
            raise self._failed(PermissionError(errno.EACCES, f"{nearest} is not writable"), "name another file")

    def _failed(self, error: OSError, advice: str) -> StoreError:
        return StoreError(self.path, error.strerror or str(error), advice)

    def read(self) -> dict[Any, Any]:
        """Return the state in the file; an empty dict if it is missing or empty.

        Raises:
            DamagedSnapshotError: it is not what was written, or its classes can't be loaded.
            StoreError: it can't be read.
        """
        try:
            with open(self.path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._failed(error, advice_on(error, "file")) from error
        if not content:
            return {}
        try:
            state = _decode(content)
        except Exception as error:
            raise DamagedSnapshotError(self.path, str(error), _ADVICE) from error
        if not isinstance(state, dict):
            raise DamagedSnapshotError(self.path, f"it holds a {type(state).__name__} and no dict", _ADVICE)
        return state

    def write(self, state: dict[Any, Any]) -> None:
        """Write a state to the file, which holds either the old or the new one at any time.

        Raises:
            UnsavableError: a value can't be encoded; the file stays as it was.
            StoreError: the disk is full, or the like; the file stays as it was.
        """
        try:
            frame = frame_of(state, "state")
        except UnstorableError as error:
            raise self._unsavable(state, error) from error
        target = os.path.realpath(self.path)
        temporary = f"{target}.{os.getpid()}.tmp"
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                for part in frame.parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
            sync_folder(os.path.dirname(target))
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            if isinstance(error, OSError):
                raise self._failed(error, advice_on(error, "file")) from error
            raise

    def _unsavable(self, state: dict[Any, Any], error: UnstorableError) -> UnsavableError:
        for key, value in state.items():
            try:
                frame_of(value, "value")
            except UnstorableError as inner:
                return UnsavableError(self.path, f"state[{key!r}]{inner.where}", inner.reason)
        return UnsavableError(self.path, f"state{error.where}", error.reason)

    def clear(self) -> None:
        """Remove the file."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path)


def _decode(content: bytes) -> Any:
    if content.startswith(b"\x93"):
        return value_of(memoryview(bytearray(content)))[0]
    if not pickle_is_allowed():
        raise PermissionError("it is a pickle, and pickles are not allowed here")
    return dill_loads(content)


def handler_class(handler: object, named: dict[str, Callable[[Any], StateHandler]]) -> Callable[[Any], StateHandler]:
    """Return the class of a handler: that of a name, or itself."""
    if isinstance(handler, str):
        if handler not in named:
            raise NotImplementedError(f"there is no state handler {handler!r}; there are {', '.join(named)}")
        return named[handler]
    if not isinstance(handler, type):
        raise TypeError(f"handler must be a name or a class, not {type(handler).__name__}: {handler!r}")
    return handler


def name_of(state_path: object, handler: StateHandler) -> str:
    """Return a flow's name: the file, or the handler's class and what it was made with."""
    if isinstance(handler, LocalStateHandler):
        return handler.path
    kind = type(handler)
    return f"{module_name(kind.__module__)}.{kind.__qualname__}:{state_path}"
