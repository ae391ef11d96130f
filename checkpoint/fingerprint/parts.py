"""Parts: the pieces of code that were followed from a function, and which of them each one uses.

Next: fingerprint/references.py
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, NamedTuple, final

from checkpoint.fingerprint.places import Place
from checkpoint.fingerprint.source import Piece

__all__ = ["STOP", "Draft", "Part", "Parts"]

#: Instead of the number of a part: there is nothing to follow.
STOP = -1


class Part(NamedTuple):
    """One piece of code that was followed.

    Attributes: `name` for people; `digest` of its own text alone; `text` to compare; `uses`, the names that it uses
    with the number of the part each stands for, in order of first appearance.
    """

    name: str
    digest: str
    text: str
    uses: tuple[tuple[str, int], ...]


@final
class Draft:
    """A part whose names are still to be followed from a place, and with them perhaps more things, by label."""

    __slots__ = ("name", "piece", "place", "things", "uses")

    def __init__(self, name: str, piece: Piece, place: Place | None) -> None:
        self.name, self.piece, self.place = name, piece, place
        self.things: dict[str, Any] = {}
        self.uses: dict[tuple[str, int], None] = {}

    def note(self, label: str, index: int | None) -> None:
        """Note which part a name stands for, if any."""
        if index is not None and index != STOP:
            self.uses[label, index] = None


@final
class Parts:
    """The parts of one walk, each added once, in the order in which they were added."""

    def __init__(self) -> None:
        self._drafts: list[Draft] = []
        self._indices: dict[Hashable, int] = {}
        self._alive: list[object] = []

    def find(self, key: Hashable) -> int | None:
        """Return the number of a part that was added."""
        return self._indices.get(key)

    def add(self, key: Hashable, name: str, piece: Piece, place: Place | None = None, of: object = None) -> int:
        """Add a part and return its number, or that of the one with this key. `of` lives on: the key has its id."""
        if key not in self._indices:
            self._indices[key] = len(self._drafts)
            self._drafts.append(Draft(name, piece, place))
            self._alive.append(of)
        return self._indices[key]

    def __getitem__(self, index: int) -> Draft:
        return self._drafts[index]

    def __iter__(self) -> Iterator[Draft]:
        """Yield all drafts, also those that are added meanwhile: breadth first."""
        return iter(self._drafts)

    def use(self, index: int, things: Iterable[tuple[str, Any]]) -> None:
        """Let a part use things, too."""
        self._drafts[index].things.update(things)

    def finished(self) -> tuple[Part, ...]:
        """Return all parts."""
        return tuple(
            Part(draft.name, draft.piece.digest, draft.piece.text, tuple(draft.uses)) for draft in self._drafts
        )
