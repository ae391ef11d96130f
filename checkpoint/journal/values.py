"""Values: what a flow keeps, to frames and back: by pickle, or by dill where pickle can't.

Must not know: where frames are kept.

Next: journal/blobs.py
"""

from __future__ import annotations

import copyreg
import io
import sys
import types
from typing import Any, final

from checkpoint.codec import Codec, Frame, Pickler, decode, dump_by_value, encode, read_head
from checkpoint.errors import DamagedEntryError, UnstorableError
from checkpoint.store import current_store
from checkpoint.unpickling import dill_loads, loads

__all__ = ["frame_of", "pickle_is_allowed", "value_of"]


#: The version whose byte code functions that travel by value have.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
#: What shows that a frame may hold such functions.
_CODE = (b"_restore_function", b"_load_dill")
#: What pickle itself finds by its name.
_BY_NAME = (type, types.FunctionType)


class _DillPickler(Pickler):
    """Hands every object that refuses to be pickled to dill, and no other."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle an object, NotImplemented for the ordinary way."""
        reduced = super().reducer_override(obj)
        if reduced is not NotImplemented or isinstance(obj, _BY_NAME) or type(obj) in copyreg.dispatch_table:
            return reduced
        try:
            return obj.__reduce_ex__(5)
        except TypeError:
            return _load_dill, (dump_by_value(obj),)


def _load_dill(data: bytes) -> Any:
    return dill_loads(data)


@final
class _DillCodec:
    """For values that hold something that pickle can't turn into bytes, such as a lock."""

    name = "dill"
    uses_pickle = True

    def encode(self, value: Any) -> bytes:
        file = io.BytesIO()
        _DillPickler(file, 5).dump(value)
        return file.getvalue()

    def decode(self, data: bytes) -> Any:
        return loads(data)


_DILL = _DillCodec()


def pickle_is_allowed() -> bool:
    """Tell whether the current store allows pickles, which holds for what flows keep outside of it, too."""
    return current_store().settings.allows_pickle


def frame_of(value: object, what: str, *, allows_pickle: bool | None = None) -> Frame:
    """Return the frame of a value; one that already is a frame as it is.

    Args:
        value: the value.
        what: what errors call it.
        allows_pickle: None is as the current store says.

    Raises:
        UnstorableError: neither pickle nor dill can encode it, or it may not be a pickle; names `what`.
    """
    if isinstance(value, Frame):
        return value
    if not (pickle_is_allowed() if allows_pickle is None else allows_pickle):
        raise UnstorableError(what, "", "the store allows no pickles")
    codec: Codec | None = None
    try:
        frame = encode(value, what)
    except UnstorableError as error:
        codec = _DILL
        try:
            frame = encode(value, what, codec=codec)
        except UnstorableError:
            raise error from error.__cause__
    if any(mark in part for mark in _CODE for part in frame.parts if isinstance(part, bytes)):
        return encode(value, what, codec=codec, head=[PYTHON])
    return frame


def value_of(
    frame: bytes | memoryview,
    *,
    codec: Codec | None = None,
    is_mapped: bool = False,
    allows_pickle: bool | None = None,
) -> tuple[Any, bytes]:
    """Return the value of a frame and its digest; arrays in it are writable if the frame's memory is.

    Raises:
        DamagedEntryError: the bytes are not what was written, or cannot be decoded, or hold code of another Python.
        PermissionError: it is a pickle, and none may be loaded; with None for `allows_pickle`, in the current store.
    """
    if allows_pickle is None:
        allows_pickle = pickle_is_allowed()
    if head := read_head(frame):
        python = head[0] if isinstance(head, list) else head
        if python != PYTHON:
            raise DamagedEntryError(f"it holds functions that Python {python} saved and Python {PYTHON} can't run")
    return decode(frame, codec=codec or _DILL, is_mapped=is_mapped, allows_pickle=allows_pickle)
