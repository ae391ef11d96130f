"""Terminal: the last rows of a terminal hold a picture while everything else scrolls above it.

Whoever prints, a worker process or a C library too, prints into the part that scrolls, as the terminal itself keeps
the rows below out of that. No thread, no redirection of standard output.

Must not know: what is in the picture.

Next: observe/picture.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Panel"]

_SAVE, _RESTORE = "\x1b7", "\x1b8"
_SCROLL_ALL = f"{_SAVE}\x1b[r{_RESTORE}"
_CLEAR_BELOW = "\x1b[J"
#: Down by a row in the same column; scrolls at the end.
_DOWN = "\x1bD"


@final
class Panel:
    """Rows at the end of a terminal. Call `close` when done, else the terminal goes on keeping them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._size = (0, 0)
        self._rows = 0

    def show(self, picture: RenderableType) -> None:
        """Draw a picture in place of the last one; what doesn't fit is cut off."""
        width, height = size = self._console.size
        lines = self._lines(picture, width)[: max(1, height - 2)]
        text = ""
        if size != self._size or len(lines) > self._rows:
            self._size, self._rows = size, len(lines)
            text += self._reserved(height)
        first = height - self._rows + 1
        lines += [""] * (self._rows - len(lines))
        text += _SAVE + "".join(f"\x1b[{first + i};1H\x1b[0m\x1b[2K{line}" for i, line in enumerate(lines)) + _RESTORE
        self._write(text)

    def close(self) -> None:
        """Give the rows back, empty; the cursor is where the next line of output goes."""
        if self._rows:
            self._write(_SCROLL_ALL + _CLEAR_BELOW)
            self._rows, self._size = 0, (0, 0)

    def _reserved(self, height: int) -> str:
        """Return what clears all below the cursor, moves the cursor above the rows and keeps it there."""
        rows = self._rows
        keep = f"{_SAVE}\x1b[1;{height - rows}r{_RESTORE}"
        return f"{_SCROLL_ALL}{_CLEAR_BELOW}{_DOWN * rows}\x1b[{rows}A{keep}"

    def _lines(self, picture: RenderableType, width: int) -> list[str]:
        with self._console.capture() as capture:
            self._console.print(picture, no_wrap=True, overflow="ellipsis", crop=True, width=width)
        return capture.get().rstrip("\n").split("\n")

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
