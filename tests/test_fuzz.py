"""Fuzzing, its short form: mixtures of good inputs for all that reads what may be anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

import checkpoint

SEED = os.environ.get("FUZZ_SEED", "1")


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_whatever_is_read_is_understood_or_refused(target: str) -> None:
    """Each input ends in a value or in the error that the documentation names.

    No code of an input's runs, and nothing outside of the given folder changes. [T5]
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parents[1])}
    command = [sys.executable, fuzz.__file__, target, "--tries", "500", "--seed", SEED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert 0 == done.returncode, done.stdout + done.stderr
    told = re.search(r"^([0-9,]+) inputs in", done.stdout, re.MULTILINE)
    assert told is not None
    assert 500 < int(told[1].replace(",", ""))
