"""Small projects on disk, and what real processes say of the fingerprints in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import checkpoint

#: Fingerprints the function `f` of `main.py` in each folder, each in a process of its own that has loaded nothing else.
DRIVER = """
import json, os, sys, traceback
from checkpoint.fingerprint import Tracker

for folder in json.load(sys.stdin):
    sys.stdout.flush()
    if os.fork() == 0:
        sys.path[:0] = [folder, os.path.join(folder, "site-packages")]
        try:
            import main
            code = Tracker(main.f).code()
            print(json.dumps([folder, code.to_json()]), flush=True)
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.wait()
"""


def write(folder: Path, files: dict[str, str]) -> None:
    """Write the files of a project."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def look_at(folders: list[Path], python: str = sys.executable) -> dict[str, str]:
    """Return for each folder's name the text of the code of the function `f` in its `main.py`."""
    done = subprocess.run(
        [python, "-c", DRIVER],
        input=json.dumps([str(folder) for folder in folders]),
        env={**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(folder).name: code for folder, code in found}
