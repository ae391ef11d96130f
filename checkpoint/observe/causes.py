"""Causes: why each instance of a run that is over was computed, as short texts.

Told from what the store had before the run, and from the versions that the run came to. Of an entry that the run has
replaced it is only known that something above it had changed.

Must not know: how it is shown.

Next: observe/record.py
"""

from __future__ import annotations

from checkpoint import texts
from checkpoint.engine import Run
from checkpoint.plan import State
from checkpoint.reasons import Cue, Explainer, Reason
from checkpoint.values import head_of
from checkpoint.version import row_of_entry

__all__ = ["causes_of"]

#: Of so many instances that had results it is told which code or which upstream had changed; that needs a read each.
_MOST_DETAILED = 500
_SHOWN = 3
_LENGTH = 200


def causes_of(run: Run) -> tuple[list[str], list[int]]:
    """Return texts, and for each instance the index of the one that says why it was computed; -1 if it wasn't."""
    explainer = Explainer(run.store, run.surveyed, run.forced)
    indices: dict[str, int] = {}
    found = [-1] * len(run.surveyed.graph)
    detailed = 0
    for node, state in enumerate(run.surveyed.plan.states):
        if state not in (State.COMPUTED, State.FAILED):
            continue
        if not run.surveyed.entries[node]:
            text = _text_of_none(run, explainer, node)
        elif detailed < _MOST_DETAILED:
            detailed += 1
            text = _detailed(run, explainer, node)
        else:
            text = str(_cue(run, node).value)
        found[node] = indices.setdefault(text, len(indices))
    return list(indices), found


def _text_of_none(run: Run, explainer: Explainer, node: int) -> str:
    if not run.surveyed.graph.instances[node].task.is_stored:
        return Cue.UNSTORED.value
    cue = Cue.FORCED if node in run.forced else explainer.cue_of_none(node)
    return str(cue.value)


def _cue(run: Run, node: int) -> Cue:
    if node in run.forced:
        return Cue.FORCED
    revisions = run.surveyed.revisions[run.surveyed.graph.instances[node].task]
    return Cue.UPSTREAM if revisions.candidates(run.surveyed.entries[node]) else Cue.CODE


def _detailed(run: Run, explainer: Explainer, node: int) -> str:
    cue = _cue(run, node)
    instance = run.surveyed.graph.instances[node]
    if cue is Cue.UPSTREAM:
        entry = run.surveyed.revisions[instance.task].candidates(run.surveyed.entries[node])[0]
        if not head_of(run.store, instance.task.name, row_of_entry(instance.key, entry)):
            return str(cue.value)
    return _text(explainer.reason(node))


def _text(reason: Reason) -> str:
    about = [*reason.calls[:_SHOWN], *(["..."] if len(reason.calls) > _SHOWN else [])]
    about += [change.name for change in reason.changes or ()][:_SHOWN]
    return texts.cut(f"{reason.cue.value}{': ' if about else ''}{', '.join(about)}", _LENGTH)
