"""A guard for fuzzing: what an input makes the process do is looked at, and what it must not do is prevented."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What starts or reaches something else, and is never right.
_OUTWARD = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "socket.")
#: What runs code that an input may have named.
_CODE = ("exec", "compile", "import", "pickle.find_class", "ctypes.dlopen", "marshal.loads")
#: Which of their arguments are paths that are changed.
_CHANGES = {
    "os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1,
    "os.chmod": 1, "os.chown": 1, "os.utime": 1, "os.mkfifo": 1, "sqlite3.connect": 1,
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Guard:
    """Looks at every audit event of this process while it is on; there is no way to take it off again."""

    def __init__(self, folder: Path) -> None:
        """Guard the process: nothing outside of a folder is changed."""
        self._folder = str(folder)
        self._is_on = self._runs_code = self._is_busy = False
        self._found: list[str] = []
        sys.addaudithook(self._look)

    @contextlib.contextmanager
    def on(self, *, runs_code: bool, is_told: bool = True) -> Iterator[None]:
        """Prevent, for a block, what must not be.

        Args:
            runs_code: whether code may be compiled, imported and run.
            is_told: whether what was prevented is an error at the end of the block.
        """
        self._found, self._is_on, self._runs_code = [], True, runs_code
        try:
            yield
        finally:
            self._is_on = False
        if is_told and self._found:
            raise AssertionError("; ".join(self._found))

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on or self._is_busy:
            return
        self._is_busy = True
        try:
            problem = self._problem(event, arguments)
        finally:
            self._is_busy = False
        if problem:
            self._found.append(problem)
            raise PermissionError(problem)

    def _problem(self, event: str, arguments: tuple[Any, ...]) -> str:
        if event.startswith(_OUTWARD) or (event in _CODE and not self._runs_code):
            return f"{event} {arguments!r:.200}"
        paths = arguments[: _CHANGES.get(event, 0)]
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            paths = arguments[:1]
        if event == "open" and not self._runs_code and not isinstance(arguments[0], int):
            return f"open {arguments[0]!r:.200}"
        outside = [path for path in paths if not isinstance(path, int) and not self._is_inside(os.fsdecode(path))]
        return f"{event} {outside!r:.200}" if outside else ""

    def _is_inside(self, path: str) -> bool:
        if path in (os.devnull, ":memory:"):
            return True
        path = path.removeprefix("file:").partition("?mode=")[0]
        return os.path.realpath(path).startswith(self._folder + os.sep)
