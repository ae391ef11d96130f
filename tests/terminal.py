"""A program on a pseudo-terminal, and the screen that a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte

import checkpoint

ROOT = Path(checkpoint.__file__).parents[1]
_SECONDS = 30.0


class Terminal:
    """Runs a Python program on a terminal of a given size; use as a context manager."""

    def __init__(self, program: Path, *arguments: str, columns: int = 80, rows: int = 24) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "CI")}
        environment |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        self._pid, self._file = pty.fork()
        if self._pid == 0:
            os.execve(sys.executable, [sys.executable, str(program), *arguments], environment)
        self._set_size(columns, rows)
        self.status: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.status is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._file)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, as a person does who drags a corner of the window."""
        self.screen.resize(rows, columns)
        self._set_size(columns, rows)

    @property
    def lines(self) -> list[str]:
        """What the screen shows, without blanks at the ends."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    def wait_for(self, *texts: str) -> list[str]:
        """Read what the program writes until the screen shows all of some texts; return its lines."""
        self._read_until(lambda: all(text in self.text for text in texts), f"{texts} on the screen")
        return self.lines

    def wait_for_end(self) -> int:
        """Read until the program has ended; return its exit status."""
        self._read_until(lambda: self.status is not None, "the end of the program")
        assert self.status is not None
        return self.status

    def _read_until(self, is_enough: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not is_enough():
            ready, _, _ = select.select([self._file], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {what} after {_SECONDS} s:\n{self.text}"
            try:
                self._stream.feed(os.read(self._file, 65536))
            except OSError:  # the other side is closed
                assert self.status is None, f"no {what} when the program ended:\n{self.text}"
                self.status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
