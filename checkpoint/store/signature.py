"""Signature: who may have written what a store has: only those who know the key in `$CP_CACHE_KEY`.

    frame signature  HMAC-SHA256 of the frame's bytes                                      32 bytes
    record           HMAC-SHA256 of task, name and text: which edits were accepted decides which value is used
    seal             HMAC-SHA256 of task, row, tag and frame signature: metadata that nobody changed, at the place
                     where they were written                                               32 bytes

The key itself is never written or shown, and sent to nobody but worker processes of our own.

Must not know: where anything is kept, what a frame means.

Next: store/settings.py
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any, final

__all__ = ["KEY_VARIABLE", "Signer"]

#: The environment variable with the key.
KEY_VARIABLE = "CP_CACHE_KEY"
_SIZE = 32


@final
class Signer:
    """Signs with one key, and checks. Equal to another one with the same key; can't be pickled."""

    __slots__ = ("_hmac", "_key")

    def __init__(self, key: str) -> None:
        import hmac  # few programs have a key

        self._hmac = hmac
        self._key = key.encode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        return "<Signer>"

    def __eq__(self, other: object) -> bool:
        return self._hmac.compare_digest(self._key, other._key) if isinstance(other, Signer) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> Any:
        raise TypeError(f"a key is not sent anywhere; set {KEY_VARIABLE} where it is needed")

    def of_bytes(self, kind: str, parts: Iterable[bytes | memoryview]) -> bytes:
        """Return the signature of some bytes; a kind tells apart what must not be put in each other's place."""
        signed = self._hmac.new(self._key, kind.encode() + b"\0", "sha256")
        for part in parts:
            signed.update(part)
        return signed.digest()

    def is_of_bytes(self, signature: Any, kind: str, parts: Iterable[bytes | memoryview]) -> bool:
        """Tell whether a signature is that of some bytes."""
        return isinstance(signature, bytes) and self._hmac.compare_digest(signature, self.of_bytes(kind, parts))

    # --- records ---

    def signed_record(self, task: str, name: str, digest: bytes, text: str) -> bytes:
        """Return the digest of a record with its signature: for this task, under this name."""
        return digest + self._of_record(task, name, text)

    def is_signed_record(self, task: str, name: str, tag: Any, text: object) -> bool:
        """Tell whether a record was signed for this task and name."""
        return isinstance(tag, bytes) and self._hmac.compare_digest(
            tag[-_SIZE:], self._of_record(task, name, str(text))
        )

    def _of_record(self, task: str, name: str, text: str) -> bytes:
        return self.of_bytes("record", [json.dumps([task, name, text]).encode()])

    # --- tags ---

    def signed_tag(self, task: str, row: str, tag: bytes, frame: Iterable[bytes | memoryview]) -> bytes:
        """Return a tag with the signature of its frame and a seal on both."""
        unsealed = tag + self.of_bytes("frame", frame)
        return unsealed + self._seal(task, row, unsealed)

    def _seal(self, task: str, row: str, unsealed: bytes) -> bytes:
        place = [text.encode("utf-8", "surrogatepass") for text in (task, row)]
        text = b"".join([b"entry\0", struct.pack("<QQ", *map(len, place)), *place, unsealed])
        return self._hmac.digest(self._key, text, "sha256")

    def is_sealed(self, task: str, row: str, tag: Any) -> bool:
        """Tell whether a tag was signed for this place. Cost: about 5 us."""
        if not isinstance(tag, bytes) or len(tag) <= 2 * _SIZE:
            return False
        return self._hmac.compare_digest(tag[-_SIZE:], self._seal(task, row, tag[:-_SIZE]))

    def is_frame_of(self, tag: bytes, frame: memoryview) -> bool:
        """Tell whether a frame is the one that a sealed tag was made for; reads all of it."""
        return self.is_of_bytes(tag[-2 * _SIZE : -_SIZE], "frame", [frame])
