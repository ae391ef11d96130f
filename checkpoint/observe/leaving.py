"""Leaving: what a run leaves behind for those who look at it later: its record, and a page or a trace if asked for.

Must not know: how a page or a trace is made.

Next: observe/__init__.py
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoint.engine import Run
from checkpoint.errors import name_of
from checkpoint.observe.pulse import told_live
from checkpoint.store import Store
from checkpoint.worker import is_inside_runner

if TYPE_CHECKING:  # what few runs need is imported where it is used
    from checkpoint.observe.record import RunRecord

__all__ = ["given_path", "history_of", "left_behind"]

#: A shorter run leaves no record unless a report or a trace is asked for.
_RECORDED_SECONDS = 1.0
#: A larger one, too: its record would be large.
_MOST_RECORDED = 200_000

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


@contextlib.contextmanager
def left_behind(run: Run, *, report: Path | None, trace: Path | None) -> Iterator[None]:
    """Execute a run in this block; however it ends, its record is kept, and page and trace are written.

    A run inside of a runner, one that computed nothing, and a short one leave no record unless they are asked for one.

    Raises:
        OSError: page or trace can't be written. A record that can't be kept is logged.
    """
    raised: BaseException | None = None
    with told_live(run):
        try:
            yield
        except BaseException as error:
            raised = error
            raise
        finally:
            if report is not None or trace is not None or _is_worth_recording(run):
                _leave(run, raised, report, trace)


def _is_worth_recording(run: Run) -> bool:
    is_long = run.outcome.seconds >= _RECORDED_SECONDS and len(run.surveyed.graph) <= _MOST_RECORDED
    return is_long and bool(run.outcome.events) and not is_inside_runner()


def _leave(run: Run, raised: BaseException | None, report: Path | None, trace: Path | None) -> None:
    from checkpoint.observe.archive import keep
    from checkpoint.observe.record import record_of
    from checkpoint.observe.report import report_of
    from checkpoint.observe.trace import trace_of

    record = record_of(run, raised)
    try:
        keep(run.store, record)
    except OSError as error:
        logger.warning("the record of this run could not be kept: %s", error)
    if trace is not None:
        trace.write_text(trace_of(record), encoding="utf-8")
    if report is not None:
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
