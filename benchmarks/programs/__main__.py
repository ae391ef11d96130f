"""One program: `python -m benchmarks.programs MODULE.FUNCTION KIND SIZE FOLDER`; fails if the value is wrong."""

from __future__ import annotations

import importlib
import sys

from benchmarks.programs.work import Work

if __name__ == "__main__":
    name, kind, size, folder = sys.argv[1:]
    work = Work(kind, int(size))
    module, _, function = name.partition(".")
    value = getattr(importlib.import_module(f"benchmarks.programs.{module}"), function)(work, folder)
    sys.exit(0 if value == work.value else f"{name} gave {value} for {kind} {size}")
