"""Type checkers infer what tasks give, and see what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import checkpoint

ROOT = Path(checkpoint.__file__).parent.parent
SAMPLE = Path(__file__).with_name("typing_api.py")


def test_mypy_knows_the_types_of_tasks() -> None:
    """mypy --strict infers the types that are stated, and reports each marked mistake."""
    pytest.importorskip("mypy", reason="mypy is not installed; it comes with the extra [lint]")
    command = [sys.executable, "-m", "mypy", "--strict", str(SAMPLE)]  # with the cache that a check of it all leaves
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout if done.returncode else "") == (0, "")


def test_pyright_knows_the_types_of_tasks(tmp_path: Path) -> None:
    """pyright infers the types that are stated, and reports each marked mistake."""
    pytest.importorskip("pyright", reason="pyright is not installed; it comes with the extra [lint]")
    settings = {
        "include": [SAMPLE.name],
        "extraPaths": [str(ROOT)],
        "reportUnnecessaryTypeIgnoreComment": True,
        "enableTypeIgnoreComments": False,
        "reportMissingModuleSource": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    shutil.copy(SAMPLE, tmp_path)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--project", "pyrightconfig.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout if done.returncode else "") == (0, "")
