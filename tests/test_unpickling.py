"""Results are read while another thread imports the package that they need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from projects import write

import checkpoint

FILES = {
    "shapes/__init__.py": "import reading\n\nreading.wait()\nfrom shapes.round import Circle\n",
    "shapes/round.py": "import shapes\n\nclass Circle:\n    pass\n",
    # The import of the package goes on once the reader waits for it.
    "reading.py": """
import importlib, os, threading, time

thread, is_asked_for = None, threading.Event()

def is_waiting():
    found = importlib._bootstrap._blocking_on.get(thread.ident) or []
    locks = found if isinstance(found, list) else [found]
    return any(lock.owner not in (None, thread.ident) for lock in locks)

def wait():
    is_asked_for.set()
    deadline = time.monotonic() + 20
    while thread is not None and not is_waiting():
        assert time.monotonic() < deadline
        os.sched_yield()
""",
    "main.py": """
import sys, threading, warnings
import reading
from checkpoint import memo

warnings.simplefilter("error")

@memo(version="1")
def pickled():
    from shapes.round import Circle

    return Circle()

@memo(version="1")
def dilled():
    from shapes.round import Circle

    return lambda: Circle()

wanted = {"pickled": pickled, "dilled": dilled}[sys.argv[1]]()
if sys.argv[2] == "write":
    wanted.run()
else:
    found = []
    importer = threading.Thread(target=lambda: __import__("shapes"))
    reading.thread = threading.Thread(target=lambda: found.append(wanted.result()))
    importer.start()
    reading.is_asked_for.wait()
    reading.thread.start()
    importer.join()
    reading.thread.join()
    print(type(found[0]).__name__, sys.modules["shapes"].Circle.__name__)
""",
}


@pytest.mark.parametrize(("how", "kind"), [("pickled", "Circle"), ("dilled", "function")])
def test_a_value_is_read_while_the_package_of_its_class_is_imported(
    how: str, kind: str, tmp_path: Path, store: Path
) -> None:
    """Neither the reader nor the import fails, and nothing is taken for damaged: packages are imported first."""
    write(tmp_path, FILES)
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parent.parent)}
    for what, printed in (("write", ""), ("read", f"{kind} Circle\n")):
        done = subprocess.run(
            [sys.executable, "main.py", how, what],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert (0, printed, "") == (done.returncode, done.stdout, done.stderr)
