"""Report: a run as one page that needs nothing from outside, made of its record.

All that comes from users is escaped by the template, or travels as JSON and becomes text in the page, never markup. A
content security policy in the page lets only the scripts run that were put there, by their digests, and lets nothing
be loaded.

Must not know: how a run works, where records are kept.

Next: observe/live.py
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkpoint.observe.labels import label_of
from checkpoint.observe.picture import clock
from checkpoint.observe.record import Outcome, RunRecord
from checkpoint.observe.schedule import Schedule

__all__ = ["PAGE_FOLDER", "check_report_packages", "report_of"]

#: Where its template, its scripts and its styles are, some of which other pages use, too.
PAGE_FOLDER = Path(__file__).parent / "page"
_OUTCOME_NAMES = ("fresh", "computed", "failed", "blocked", "not reached")
_MOST_SLOWEST = 15
_MOST_PATH = 200
_MOST_FAILURES = 100


def check_report_packages() -> None:
    """Refuse to go on without the packages that a page is made with.

    Raises:
        ModuleNotFoundError: saying what to install.
    """
    from importlib.util import find_spec

    missing = [name for name in ("jinja2", "bokeh") if find_spec(name) is None]
    if missing:
        text = f"a report needs {' and '.join(missing)}: pip install 'checkpoint-tool[report]'"
        raise ModuleNotFoundError(text, name=missing[0])


def report_of(record: RunRecord, history: Sequence[RunRecord] = ()) -> str:
    """Return the page.

    Args:
        record: the run.
        history: the last runs on the same store, this one among them or not; tells what is computed again and again.

    Raises:
        ModuleNotFoundError: what the extra `report` installs is missing.
    """
    check_report_packages()
    import jinja2
    from bokeh.resources import Resources

    labels = [label_of(record.tasks[task], key) for task, key in zip(record.task, record.key, strict=True)]
    schedule = _schedule(record)
    path = schedule.critical_path()
    library = "\n".join(Resources(mode="inline", components=["bokeh", "bokeh-api"], log_level="error").js_raw)
    scripts = [_inert(library), _inert(_file("page.js")), _inert(_file("report.js"))]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(clock=clock, bytes=_bytes)
    template = environment.from_string(_file("report.html"))
    return template.render(
        record=record,
        began=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.began)),
        counts={name: record.count(index) for index, name in enumerate(_OUTCOME_NAMES)},
        saved=_sum(record, record.seconds_of, Outcome.FRESH),
        work=schedule.work,
        stored=_sum(record, record.size, Outcome.COMPUTED),
        tasks=_tasks(record),
        slowest=_slowest(record, labels),
        recomputed=_recomputed(record, history),
        runs=len(history),
        path=[(labels[node], record.seconds_of[node]) for node in path[:_MOST_PATH]],
        path_length=len(path),
        path_seconds=sum(record.seconds_of[node] for node in path),
        speedup=_speedup(record, schedule),
        failures=[(labels[node], *failure) for node, failure in list(record.failures.items())[:_MOST_FAILURES]],
        policy=_policy(scripts),
        style=_file("page.css") + _file("report.css"),
        scripts=scripts,
        data=_script_json(_data(record, labels, path)),
    )


def _file(name: str) -> str:
    return (PAGE_FOLDER / name).read_text(encoding="utf-8")


def _inert(script: str) -> str:
    return script.replace("\r\n", "\n").replace("</script", "<\\/script")


def _policy(scripts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(data: Any) -> str:
    """Return JSON that means the same inside of a script element."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(record: RunRecord, labels: Sequence[str], path: Sequence[int]) -> dict[str, Any]:
    return {
        "tasks": record.tasks,
        "layers": _layers(record),
        "task": record.task,
        "label": labels,
        "outcome": record.outcome,
        "outcomes": _OUTCOME_NAMES,
        "seconds": record.seconds_of,
        "size": record.size,
        "upstream": record.upstream,
        "lanes": record.lanes,
        "bars": {
            "node": [bar.node for bar in record.bars],
            "start": [bar.start for bar in record.bars],
            "seconds": [bar.seconds for bar in record.bars],
            "lane": [bar.lane for bar in record.bars],
            "kind": [bar.kind for bar in record.bars],
        },
        "path": path,
        "reasons": record.reasons,
        "why": record.why,
        "total": record.seconds,
    }


def _layers(record: RunRecord) -> list[int]:
    """Return for each task how far down it is drawn: below all that its instances require of other tasks."""
    hops = [0] * len(record.task)
    deepest = [0] * len(record.tasks)
    for node, task in enumerate(record.task):
        for above in record.upstream[node]:
            hops[node] = max(hops[node], hops[above] + (record.task[above] != task))
        deepest[task] = max(deepest[task], hops[node])
    ranks = {depth: rank for rank, depth in enumerate(sorted(set(deepest)))}
    return [ranks[depth] for depth in deepest]


def _schedule(record: RunRecord) -> Schedule:
    took = [0.0] * len(record.task)
    for bar in record.bars:
        took[bar.node] += bar.seconds
    limits = [record.limits_of.get(name, ()) for name in record.tasks]
    return Schedule(took, record.upstream, record.limits, lambda node: limits[record.task[node]])


def _speedup(record: RunRecord, schedule: Schedule) -> list[tuple[int, float]]:
    """Return numbers of workers and how long the run would take with them."""
    numbers = sorted({1, 2, 4, 8, 16, 32, 64, record.workers or 1, 2 * (record.workers or 1)})
    # An unlucky order may take longer with more workers; one can always use fewer.
    times = itertools.accumulate((schedule.makespan(workers) for workers in numbers), min)
    return list(zip(numbers, times, strict=True))


def _sum(record: RunRecord, column: Sequence[float], outcome: int) -> float:
    return sum(value for value, each in zip(column, record.outcome, strict=True) if each == outcome)


def _tasks(record: RunRecord) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"name": name, "counts": [0] * len(_OUTCOME_NAMES), "seconds": 0.0, "longest": 0.0, "size": 0}
        for name in record.tasks
    ]
    for node, task in enumerate(record.task):
        row, outcome = rows[task], record.outcome[node]
        row["counts"][outcome] += 1
        if outcome == Outcome.COMPUTED:
            row["seconds"] += record.seconds_of[node]
            row["longest"] = max(row["longest"], record.seconds_of[node])
            row["size"] += record.size[node]
    return sorted(rows, key=lambda row: -row["seconds"])


def _slowest(record: RunRecord, labels: Sequence[str]) -> list[tuple[str, float, str]]:
    nodes = [node for node, outcome in enumerate(record.outcome) if outcome == Outcome.COMPUTED]
    nodes.sort(key=lambda node: -record.seconds_of[node])
    return [(labels[node], record.seconds_of[node], _bytes(record.size[node])) for node in nodes[:_MOST_SLOWEST]]


def _recomputed(record: RunRecord, history: Sequence[RunRecord]) -> list[tuple[str, int, int, float]]:
    """Return tasks of which something was computed although it had been before: here, in all runs, and its seconds."""
    here = Counter(record.tasks[record.task[node]] for node in record.again)
    everywhere: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for run in history or (record,):
        for node in run.again:
            everywhere[run.tasks[run.task[node]]] += 1
            seconds[run.tasks[run.task[node]]] += run.seconds_of[node]
    return [(name, here[name], count, seconds[name]) for name, count in everywhere.most_common(_MOST_SLOWEST)]


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
