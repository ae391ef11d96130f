"""Previews: a stored value as a short text, without importing any module of the user's.

Classes and functions of the standard library and of installed packages are used; for others something stands in that
shows what the value holds: `train.Result(loss=0.1)`.

Must not know: tasks, terminals.

Next: inventory.py
"""

from __future__ import annotations

import functools
import io
import json
from typing import Any, final

from checkpoint import codec, files, texts
from checkpoint.errors import DamagedEntryError
from checkpoint.fingerprint.modules import owner_of_module
from checkpoint.store import Store
from checkpoint.unpickling import Unpickler

__all__ = ["preview"]


def preview(store: Store, task: str, row: str, width: int) -> str:
    """Return a short text of an entry's value; where it can't be read, the reason in angle brackets.

    Raises:
        StoreError: the store cannot be read.
    """
    try:
        found = store.read(task, row)
        if found is None or found[0].is_collected:
            return "<no longer kept>"
        _, frame, is_mapped = found
        name, stream, buffers = codec.parts_of(frame, is_mapped=is_mapped)
    except DamagedEntryError as error:
        return f"<damaged: {error}>"
    try:
        if name == "json":
            value = json.loads(bytes(stream))
        elif name == "pickle" and not store.settings.allows_pickle:
            return "<a pickle, which this store doesn't allow>"
        elif name == "pickle":
            with files.in_folder(lambda: store.directory(task, row)):
                value = _Unpickler(io.BytesIO(stream), buffers=buffers).load()
        else:
            return f"<{len(stream)} bytes, written by the codec {name!r}>"
        return texts.short(value, width)
    except Exception as error:  # of classes of other packages, too
        return f"<not readable here: {type(error).__name__}: {error}>"


class _Unpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, or something that stands in for it."""
        if module == codec.__name__ and name in _BY_VALUE:
            return _BY_VALUE[name]
        if owner_of_module(module) == "project":
            return _stand_in(module, name)
        return super().find_class(module, name)


class _StandIn:
    """An object of a class that is not loaded: what it was made with, and what it holds."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _StandIn:
        made = object.__new__(cls)
        made.__dict__["__given__"] = (args, kwargs)
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update(part)

    def __setitem__(self, name: Any, value: Any) -> None:
        self.__dict__.setdefault("__items__", {})[name] = value

    def append(self, item: Any) -> None:
        self[len(self.__dict__.get("__items__", ()))] = item

    def extend(self, items: Any) -> None:
        for item in items:
            self.append(item)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        held = dict(self.__dict__)
        args, kwargs = held.pop("__given__")
        items = held.pop("__items__", None)
        shown = [*map(_text_of, args), *(f"{name}={_text_of(value)}" for name, value in {**kwargs, **held}.items())]
        if items is not None:
            shown.append(_text_of(list(items.values()) if list(items) == list(range(len(items))) else items))
        return f"{type(self).__module__}.{type(self).__qualname__}({', '.join(shown)})"


def _text_of(value: Any) -> str:
    return texts.short(value, 200)


@functools.cache
def _stand_in(module: str, name: str) -> type[_StandIn]:
    made = type(name.rpartition(".")[2], (_StandIn,), {"__module__": module})
    made.__qualname__ = name
    return made


@final
class _Function:
    """A function that was kept by value."""

    def __init__(self, data: bytes) -> None:
        self._size = len(data)

    def __repr__(self) -> str:
        return f"<function, {self._size} bytes>"


#: What stands in where the codec would build functions and classes from bytes.
_BY_VALUE: dict[str, Any] = {
    "_restore_function": _Function,
    "_restore_class": lambda module, name, data: _stand_in(module, name),
}
