"""Libraries: how the program is written with each, as its own documentation shows it, and nothing set by hand.

What a user may declare with an edit (a rename, say) is in `declares`, by the edit's name; an option that the
installed version doesn't have is left out.

Next: edits.py
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from benchmarks.comparison.program import CACHED

__all__ = ["LIBRARIES", "PLAIN", "Library"]


@dataclass(frozen=True)
class Library:
    """One column: `decorator` has places for the function's name and options, `calls` for options of a call."""

    title: str
    package: str
    head: str
    decorator: str
    calls: str
    declares: Mapping[str, str] = field(default_factory=dict)

    def is_installed(self) -> bool:
        """Tell whether the package can be imported."""
        return importlib.util.find_spec(self.package) is not None

    def version(self) -> str:
        """Return the version that is imported."""
        if self.package == "checkpoint":
            from checkpoint import __version__

            return __version__
        return version(self.package)

    def decorator_of(self, name: str, options: str = "") -> str:
        """Return the decorator's line, which is empty for plain Python."""
        return self.decorator.format(name=name, options=options)

    def decorators(self) -> dict[str, str]:
        """Return the decorator's line of each function that is kept."""
        return {name: self.decorator_of(name) for name in CACHED}


def _checkpoint_declares() -> dict[str, str]:
    from checkpoint.options import TaskSettings

    by_edit = {
        "new parameter with a default": ("defaults_added", 'defaults_added={"scale": 1}'),
        "function renamed": ("renamed_from", 'renamed_from="study.tasks.total"'),
    }
    known = TaskSettings.__annotations__
    found = {edit: text for edit, (option, text) in by_edit.items() if option in known}
    return {"function renamed": 'name="study.tasks.total"', **found}


def _checkpoint(policy: str) -> Library:
    run = f'.run(executor="serial", on_change="{policy}", store="kept")'
    return Library(
        title=f"checkpoint, `{policy}`",
        package="checkpoint",
        head="from checkpoint import memo\n",
        decorator="@memo({options})\n",
        calls=f"""
from study import measures, tasks

CALLS = {{
    "total": lambda: tasks.total(3){run},
    "wrapped": lambda: tasks.wrapped(3){run},
    "report": lambda: tasks.report(tasks.total(3)){run},
    "applied": lambda: tasks.applied(measures.measure, 3){run},
}}
""",
        declares=_checkpoint_declares(),
    )


_DIRECT_CALLS = """
from study import measures, tasks

CALLS = {
    "total": lambda: tasks.total(3),
    "wrapped": lambda: tasks.wrapped(3),
    "report": lambda: tasks.report(tasks.total(3)),
    "applied": lambda: tasks.applied(measures.measure, 3),
}
"""

_REDUN_CALLS = """
from redun import Scheduler
from redun.config import Config

from study import measures, tasks

scheduler = Scheduler(config=Config({"backend": {"db_uri": "sqlite:///kept.db"}}))
scheduler.load()
CALLS = {
    "total": lambda: scheduler.run(tasks.total(3)),
    "wrapped": lambda: scheduler.run(tasks.wrapped(3)),
    "report": lambda: scheduler.run(tasks.report(tasks.total(3))),
    "applied": lambda: scheduler.run(tasks.applied(measures.measure, 3)),
}
"""

_PIPEFUNC_CALLS = """
from pipefunc import Pipeline

from study import measures, tasks

pipeline = Pipeline(
    [tasks.total, tasks.wrapped, tasks.report, tasks.applied],
    cache_type="disk",
    cache_kwargs={"cache_dir": "kept"},
)
CALLS = {
    "total": lambda: pipeline("total", n=3),
    "wrapped": lambda: pipeline("wrapped", n=3),
    "report": lambda: pipeline("report", n=3),
    "applied": lambda: pipeline("applied", function=measures.measure, n=3),
}
"""

#: The program without a library: what it says is the truth.
PLAIN = Library(title="plain Python", package="sys", head="", decorator="", calls=_DIRECT_CALLS)

LIBRARIES = (
    _checkpoint("warn"),
    _checkpoint("rerun"),
    Library(
        title="joblib",
        package="joblib",
        head='from joblib import Memory\n\nmemory = Memory("kept", verbose=0)\n',
        decorator="@memory.cache\n",
        calls=_DIRECT_CALLS,
    ),
    Library(
        title="redun",
        package="redun",
        head='from redun import task\n\nredun_namespace = "study"\n',
        decorator="@task({options})\n",
        calls=_REDUN_CALLS,
        declares={"function renamed": 'name="total"'},
    ),
    Library(
        title="pipefunc",
        package="pipefunc",
        head="from pipefunc import pipefunc\n",
        decorator='@pipefunc(output_name="{name}", cache=True)\n',
        calls=_PIPEFUNC_CALLS,
    ),
)
