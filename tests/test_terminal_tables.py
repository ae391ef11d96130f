"""Tables on a terminal: real processes under a pseudo-terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from programs import square

import checkpoint
from checkpoint import memo, run
from checkpoint.texts import width_of

ROOT = Path(checkpoint.__file__).parent.parent


@memo
def train(path: Path, name: str, seed: int, tags: list[str]) -> int:
    return seed


def on_terminal(columns: int, *arguments: str) -> list[str]:
    """Run the command on a terminal of so many columns; return its lines without control sequences."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-W", "error", "-m", "checkpoint", *arguments]
    process = subprocess.Popen(command, env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    written = bytearray()
    try:
        while part := os.read(mine, 65536):
            written += part
    except OSError:  # how Linux tells that the other side was closed
        pass
    os.close(mine)
    assert 0 == process.wait(60)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()).splitlines()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_fits_the_terminal(columns: int) -> None:
    """Long arguments are cut, what is known of the result is not; wide characters don't break the columns."""
    names = ["simple", "日本語のテキスト", "emoji 🎉🚀", "tab\there", "\x1b[31mred", "x" * 300]
    run([train(Path("/data/a/long/path") / f"{n}.csv", name, n, ["a"] * n) for n, name in enumerate(names)])
    header, rule, *rows = on_terminal(columns, "ls", "train", "--sort", "seed")
    assert ["name", "path", "seed", "tags", "seconds", "size", "code", "age"] == header.split()
    assert ({"─"}, len(names)) == (set(rule), len(rows))
    assert all(width_of(line) <= columns for line in [header, *rows])
    code = header.index("code")
    assert all(re.fullmatch(r"[0-9a-f]{8}", _from_cell(row, code)[:8]) for row in rows)


def _from_cell(line: str, cell: int) -> str:
    """Return the rest of a line from a cell of the terminal on."""
    return next(line[place:] for place in range(len(line)) if width_of(line[:place]) == cell)


def test_few_and_narrow_columns_are_not_spread() -> None:
    """A table is as wide as what is in it."""
    run([square(1), square(2)])
    lines = on_terminal(120, "ls")
    assert lines[0].startswith("task ")
    assert all(len(line) < 80 for line in lines)


def test_a_value_is_shown_for_reading(tmp_path: Path) -> None:
    """`run` breaks a long value into lines, and shows a hundred parts of it."""
    (tmp_path / "long.py").write_text("from checkpoint import memo\n@memo\ndef f(n: int): return list(range(n))\n")
    lines = on_terminal(80, "run", "long.py:f", "n=3000", "--no-progress")
    assert "    0," in lines
    assert "    ... +2900" in lines
    assert len(lines) < 110
