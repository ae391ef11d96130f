"""By hand: what a user may set so that an edit counts, or doesn't, with the edits that it is for.

Next: observe.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.comparison.edits import EDITS, Edit
from benchmarks.comparison.libraries import LIBRARIES, Library

__all__ = ["SETTINGS", "Setting"]


@dataclass(frozen=True)
class Setting:
    """A library with something set on every function, and the names of the edits to look at."""

    title: str
    library: str
    decorator: str
    edits: tuple[str, ...]
    head: str = ""

    def observations(self) -> Iterator[tuple[Library, Edit]]:
        """Yield what `observe` takes."""
        library = next(each for each in LIBRARIES if each.title == self.library)
        library = replace(library, head=library.head + self.head, decorator=self.decorator)
        by_name = {edit.name: edit for edit in EDITS}
        for name in self.edits:
            yield library, by_name[name]


_PINNED = ("the function itself", "comment only", "function renamed")
_VERSIONED = """
import functools


class Versioned:
    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self, *args, **kwargs):
        return self.__wrapped__(*args, **kwargs)

    def __pipefunc_hash__(self):
        return "1"


"""

SETTINGS = (
    Setting(
        "`depends_on=[weight, RATE]`",
        "checkpoint, `rerun`",
        "@memo(depends_on=[weight, RATE], {options})\n",
        ("helper two modules away", "constant"),
        "from study.deep import weight\n",
    ),
    Setting("`version=1`", "checkpoint, `rerun`", "@memo(version=1, {options})\n", _PINNED),
    Setting(
        "`hash_includes=[weight, RATE]`",
        "redun",
        "@task(hash_includes=[weight, RATE], {options})\n",
        ("helper two modules away", "constant"),
        "from study.deep import weight\n",
    ),
    Setting('`version="1"`', "redun", '@task(version="1", {options})\n', _PINNED),
    Setting(
        "`__pipefunc_hash__`",
        "pipefunc",
        '@pipefunc(output_name="{name}", cache=True)\n@Versioned\n',
        _PINNED,
        _VERSIONED,
    ),
)
