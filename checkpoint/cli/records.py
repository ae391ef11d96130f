"""Records: runs, snapshots and states of a journal, found by what a person writes and told as plain text.

Columns are as wide as what is in them, and what may be long comes last, so nothing is cut but values.

Must not know: the commands, what a flow does.

Next: cli/flows.py
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Collection, Sequence

import click

from checkpoint.errors import DamagedSnapshotError, StoreError, UnknownSnapshotError
from checkpoint.journal import Journal
from checkpoint.texts import amount, columns, moment, short, size

__all__ = ["amount", "columns", "flow_at", "moment", "run_at", "short_ids", "size", "values_at"]

#: An id is never cut to fewer characters, and one of few characters never.
_SHORTEST, _SHORT = 8, 20
#: How wide the text may be where nothing says how wide the terminal is.
_WIDTH = 100


# --- found -----------------------------------------------------------------------------------------------


def flow_at(journal: Journal, text: str) -> str:
    """Return the name of the flow that a text names: it is the name, or the path of the file that is the name.

    Raises:
        click.ClickException: there is none.
    """
    names = {run.flow for run in journal.runs()}
    for name in (text, os.path.abspath(text)):
        if name in names:
            return name
    raise click.ClickException(f"there is no flow {text!r}; {_listed(sorted(names)) or 'there are none'}")


def run_at(journal: Journal, text: str) -> str:
    """Return the id of the run that a text names: it is the id, or how no other id begins.

    Raises:
        click.ClickException: there is none, or there are several.
    """
    ids = [run.id for run in journal.runs()]
    found = [text] if text in ids else [each for each in ids if each.startswith(text)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.ClickException(f"there is no run {text!r}; look at what 'checkpoint flows list' shows")
    raise click.ClickException(f"there are {len(found)} runs that begin with {text!r}: {_listed(found)}")


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# --- told ------------------------------------------------------------------------------------------------


def short_ids(ids: Collection[str]) -> dict[str, str]:
    """Return for each id how it begins and no other one does; short ones are left as they are."""
    ordered = sorted(ids)
    shared = [0, *itertools.starmap(_shared, itertools.pairwise(ordered)), 0]
    return {
        each: each if len(each) <= _SHORT else each[: max(_SHORTEST, before + 1, after + 1)]
        for each, (before, after) in zip(ordered, itertools.pairwise(shared), strict=False)
    }


def _shared(one: str, other: str) -> int:
    """Return with how many equal characters two texts begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def values_at(journal: Journal, snapshot: int, keys: Collection[str], *, spare: int) -> dict[str, str]:
    """Return short texts of values of a state, which are decoded; of one that can't be, the reason.

    Args:
        spare: so many characters of a line are needed for something else.

    Raises:
        StoreError, UnknownSnapshotError: the journal can't be read, or has no such snapshot.
    """
    width = max(30, shutil.get_terminal_size((_WIDTH, 24)).columns - spare)
    try:
        return {key: short(value, width) for key, value in journal.state(snapshot, keys).items()}
    except (StoreError, UnknownSnapshotError):
        raise
    except Exception:  # of the user's own classes, too: each is looked at alone
        return {key: _value_at(journal, snapshot, key, width) for key in keys}


def _value_at(journal: Journal, snapshot: int, key: str, width: int) -> str:
    try:
        return short(journal.state(snapshot, [key])[key], width)
    except (StoreError, UnknownSnapshotError):
        raise
    except DamagedSnapshotError as error:
        return f"<not readable: {error.reason.removeprefix(f'{key}: ')}>"
    except Exception as error:
        return f"<not readable: {type(error).__name__}: {error}>"
