"""Codec: small values to frames and back, and the compression of a large one."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy
import zstandard

from benchmarks.measure import Figure, compare, per_call
from checkpoint.codec import decode, encode

_SMALL = {"loss": 0.25, "steps": 1200, "name": "fold 3", "history": [0.9, 0.5, 0.3, 0.25]}


def figures(quick: bool) -> Iterator[Figure]:
    """Compare with pickle and with zstandard alone."""
    count = 300 if quick else 5_000
    frame, pickled = b"".join(encode(_SMALL, "small").parts), pickle.dumps(_SMALL, 5)
    yield from compare(
        {"encode a small dict": per_call(lambda: encode(_SMALL, "small"), count)},
        ("pickle.dumps", per_call(lambda: pickle.dumps(_SMALL, 5), count)),
        "us",
    )
    yield from compare(
        {"decode a small dict": per_call(lambda: decode(frame), count)},
        ("pickle.loads", per_call(lambda: pickle.loads(pickled), count)),
        "us",
    )
    megabytes = 1 if quick else 100
    numbers = numpy.random.default_rng(0).integers(0, 100, megabytes * 125_000).astype("float64")
    yield from compare(
        {f"encode {megabytes} MB with zstandard": per_call(lambda: encode(numbers, "numbers", level=3), 1)},
        ("zstandard alone", per_call(lambda: zstandard.ZstdCompressor(level=3).compress(numbers), 1)),
        "ms",
        rounds=3,
    )
