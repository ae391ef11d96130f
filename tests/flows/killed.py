"""Runs a program that kills itself at a chosen moment: `killed.py WHAT NUMBER program.py arguments...`.

Moments are counted from the start. WHAT is "boundary" (just after a step boundary was committed), "unkept" (just before
it is), or "moment": just before and after each commit of the journal, and before each file is opened for writing,
renamed, removed, or a database is connected. With NUMBER 0 it isn't killed, and tells the number of moments on stderr.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import Any

what, number = sys.argv[1], int(sys.argv[2])
sys.argv[:] = sys.argv[3:]
WRITING = os.O_WRONLY | os.O_RDWR
counts = {"boundary": 0, "unkept": 0, "moment": 0}


def happens(name: str) -> None:
    counts[name] += 1
    if name == what and counts[name] == number:
        os.kill(os.getpid(), signal.SIGKILL)


def hook(event: str, args: tuple[Any, ...]) -> None:
    is_writing = event == "open" and isinstance(args[2], int) and args[2] & WRITING
    if is_writing or event in ("os.rename", "os.remove", "sqlite3.connect", "subprocess.Popen"):
        happens("moment")


from checkpoint.journal.recorder import Recorder  # noqa: E402

commit = Recorder._commit


def counted(self: Recorder, keys: Any, encoded: Any, columns: Any, metadata: Any) -> Any:
    is_boundary = metadata["kind"] in ("step", "checkpoint")
    if is_boundary:
        happens("unkept")
    happens("moment")
    done = commit(self, keys, encoded, columns, metadata)
    if is_boundary:
        happens("boundary")
    happens("moment")
    return done


Recorder._commit = counted  # type: ignore[method-assign]
sys.addaudithook(hook)
runpy.run_path(sys.argv[0], run_name="__main__")
if number == 0:
    print(counts[what], file=sys.stderr)
