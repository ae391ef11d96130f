"""A shared folder on a real NFS: `on_nfs.py`, run in a machine that mounts it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from nfs_machine import SCRATCH, run_with_nfs, what_is_missing

TESTS = Path(__file__).parent


@pytest.mark.stress
@pytest.mark.skipif(what_is_missing() != "", reason=f"no machine with NFS here: {what_is_missing()}")
def test_a_shared_folder_keeps_its_promises_on_nfs(tmp_path: Path) -> None:
    """The contract of stores, and what two hosts do at once, hold over the NFS client of Linux."""
    pytest_in_it = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={SCRATCH}/tests"]
    environment = ["env", f"PYTHONPATH={TESTS.parent}:{TESTS}", "PYTHONDONTWRITEBYTECODE=1", f"TMPDIR={SCRATCH}"]
    code, output = run_with_nfs([*environment, *pytest_in_it, str(TESTS / "on_nfs.py")], tmp_path, TESTS.parent, 1500)
    assert (0, True) == (code, " passed" in output), output
