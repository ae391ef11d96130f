"""Notices: what a run warns of: code that changed or cannot be seen, entries that are damaged.

Each warning points at the user's line that called into this package.

Next: parking.py
"""

from __future__ import annotations

import os
import sys
import time
import warnings

from checkpoint.errors import CodeChangedWarning, DamagedEntryWarning, UnseenCodeWarning
from checkpoint.graph import Instance, TaskInfo
from checkpoint.revisions import Revisions
from checkpoint.store import Entry

__all__ = ["warn_of_change", "warn_of_damage", "warn_of_unseen_code"]

#: (task name, thing) of what was named in a warning already.
_warned_of: set[tuple[str, str]] = set()


def warn_of_change(instance: Instance, entry: Entry, revisions: Revisions) -> None:
    """Warn, once a task and process, that an entry by other code is used, if that doesn't count as the present code."""
    task = instance.task
    if revisions.is_present(entry.fingerprint) or not task.should_warn_of_change():
        return
    changes = revisions.changes_since(entry.fingerprint) or []
    names = [change.name for change in changes[:4]] + (["..."] if len(changes) > 4 else [])
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.stored_at))
    text = (
        f"the code of {task.name} changed ({', '.join(names) or 'not on record'}) since results like "
        f"{instance!r} were made ({made}), and they are used as they are. If the change is harmless, "
        f"{task.name}.accept() says so; {task.name}.clear() discards them; "
        'on_change="rerun" computes again after each change, on_change="ignore" is silent; '
        f"{task.name}.changes() shows the difference"
    )
    warnings.warn(text, CodeChangedWarning, stacklevel=_levels_to_user())


def warn_of_unseen_code(task: TaskInfo) -> None:
    """Warn of what a task uses and no fingerprint can see; once for each such thing."""
    unseen = [thing for thing in task.code.unseen if (task.name, thing) not in _warned_of]
    if not unseen or task.on_change == "ignore":
        return
    _warned_of.update((task.name, thing) for thing in unseen)
    text = (
        f"{task.name} uses what no fingerprint can see ({', '.join(unseen)}), so a change of that goes unnoticed; "
        "name what it depends on with depends_on=, or pin the code with version="
    )
    warnings.warn(text, UnseenCodeWarning, stacklevel=_levels_to_user())


def warn_of_damage(instance: Instance, reason: str) -> None:
    """Warn that an entry was set aside and is computed again."""
    text = f"the stored result of {instance!r} is damaged ({reason}); it was set aside and is computed again"
    warnings.warn(text, DamagedEntryWarning, stacklevel=_levels_to_user())


def _levels_to_user() -> int:
    """Return the stacklevel at which a warning points to the code that called into this package."""
    package = os.path.dirname(__file__)
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level
