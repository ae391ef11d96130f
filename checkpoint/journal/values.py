"""Values: what a flow keeps, to frames and back: by pickle, or by dill where pickle can't.

Must not know: where frames are kept.

Next: journal/blobs.py
"""

from __future__ import annotations

from typing import Any, final

from checkpoint.codec import Codec, Frame, decode, dump_by_value, encode
from checkpoint.errors import UnstorableError

__all__ = ["frame_of", "value_of"]


@final
class _DillCodec:
    """For values that pickle can't turn into bytes, such as locks."""

    name = "dill"

    def encode(self, value: Any) -> bytes:
        return dump_by_value(value)

    def decode(self, data: bytes) -> Any:
        import dill

        return dill.loads(data)


_DILL = _DillCodec()


def frame_of(value: object, what: str, *, head: Any = None) -> Frame:
    """Return the frame of a value; one that already is a frame as it is.

    Raises:
        UnstorableError: neither pickle nor dill can encode it; names `what`.
    """
    if isinstance(value, Frame):
        return value
    try:
        return encode(value, what, head=head)
    except UnstorableError as error:
        try:
            return encode(value, what, codec=_DILL, head=head)
        except UnstorableError:
            raise error from error.__cause__


def value_of(frame: bytes | memoryview, *, codec: Codec | None = None, is_mapped: bool = False) -> tuple[Any, bytes]:
    """Return the value of a frame and its digest; arrays in it are writable if the frame's memory is.

    Raises:
        DamagedEntryError: the bytes are not what was written, or cannot be decoded.
    """
    return decode(frame, codec=codec or _DILL, is_mapped=is_mapped)
