"""Leaving: what a run leaves behind for those who look at it later: its record, and a page or a trace if asked for.

Must not know: how a page or a trace is made.

Next: observe/__init__.py
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoint.engine import Run
from checkpoint.errors import name_of
from checkpoint.store import Store

if TYPE_CHECKING:  # what few runs need is imported where it is used
    from checkpoint.observe.record import RunRecord

__all__ = ["given_path", "history_of", "leave"]

logger = logging.getLogger("checkpoint")


def given_path(options: Mapping[str, Any], option: str) -> Path | None:
    """Return the path that a run was given as an option, once it is clear that a file can be there.

    Raises:
        TypeError, FileNotFoundError, ModuleNotFoundError: it can't be, or can't be made.
    """
    given = options.get(option)
    if given is None:
        return None
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(f"run({option}=...) takes the path of a file, not {name_of(given)}")
    path = Path(given).absolute()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"run({option}={str(given)!r}): there is no folder {path.parent}; make it first")
    if option == "report":
        from checkpoint.observe.report import check_report_packages

        check_report_packages()
    return path


def leave(run: Run, raised: BaseException | None, report: Path | None, trace: Path | None) -> None:
    """Keep the record of a run that is over, and write a page or a trace.

    Raises:
        OSError: page or trace can't be written. A record that can't be kept is logged.
    """
    from checkpoint.observe.archive import keep
    from checkpoint.observe.record import record_of

    record = record_of(run, raised)
    try:
        keep(run.store, record)
    except OSError as error:
        logger.warning("the record of this run could not be kept: %s", error)
    if trace is not None:
        from checkpoint.observe.trace import trace_of

        trace.write_text(trace_of(record), encoding="utf-8")
    if report is not None:
        from checkpoint.observe.report import report_of

        report.write_text(report_of(record, history_of(run.store)), encoding="utf-8")


def history_of(store: Store) -> list[RunRecord]:
    """Return the records of a store that can be read, the newest first."""
    from checkpoint.observe.archive import kept, read

    found = []
    for file in kept(store):
        try:
            found.append(read(file))
        except (OSError, ValueError) as error:
            logger.debug("the record %s is left out: %s", file, error)
    return found
