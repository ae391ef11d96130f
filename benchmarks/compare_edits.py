"""What checkpoint, joblib, redun and pipefunc do with kept results after an edit: `python -m benchmarks.compare_edits`.

Needs `pip install ".[compare]"`; a library that is missing is shown as not installed. Real files are edited between
real processes; every cell is what was observed (`comparison/observe.py`). `--write docs/comparison.md` puts the
tables between that page's markers, otherwise they are printed. All of it takes about two minutes.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.comparison.by_hand import SETTINGS, Setting
from benchmarks.comparison.edits import EDITS, Edit
from benchmarks.comparison.libraries import LIBRARIES, Library
from benchmarks.comparison.observe import observe

_BEGIN, _END = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"
_VERDICTS = (
    "right",
    "right, and warned",
    "stale, and nothing said",
    "stale, and warned",
    "computed in vain",
    "refused, failed or not installed",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Observe all libraries and edits, print or write the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_edits", description=(__doc__ or "").strip())
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the markers of this page")
    parser.add_argument("--jobs", type=int, default=2, help="how many observations are made at once (default 2)")
    options = parser.parse_args(arguments)
    page = options.write.read_text() if options.write and options.write.is_file() else ""
    if options.write and not (page.count(_BEGIN) == page.count(_END) == 1):
        parser.error(f"{options.write} needs one line {_BEGIN.strip()} and one line {_END.strip()}")
    if not is_formatter_installed():
        parser.error("ruff, which makes one of the edits, isn't installed: pip install '.[compare]'")
    text = report(EDITS, LIBRARIES, SETTINGS, options.jobs)
    if page:
        head, tail = page.split(_BEGIN)[0], page.split(_END)[1]
        options.write.write_text(f"{head}{_BEGIN}\n{text}\n\n{_END}{tail}")
    else:
        print(text)
    return 0


def is_formatter_installed() -> bool:
    """Tell whether ruff, which makes one of the edits, can be run."""
    return importlib.util.find_spec("ruff") is not None


def report(edits: Sequence[Edit], libraries: Sequence[Library], settings: Sequence[Setting], jobs: int = 1) -> str:
    """Observe what each library does after each edit, then with settings by hand; return both tables as Markdown."""
    with ThreadPoolExecutor(jobs) as pool:
        pending = [[pool.submit(observe, library, edit) for library in libraries] for edit in edits]
        tried = [(each, *pair, pool.submit(observe, *pair)) for each in settings for pair in each.observations()]
        rows = [[future.result() for future in row] for row in pending]
        by_hand = [
            [library.title, setting.title, edit.name, edit.right, _marked(future.result())]
            for setting, library, edit, future in tried
        ]
    defaults = [[edit.name, edit.right, *map(_marked, row)] for edit, row in zip(edits, rows, strict=True)]
    titles = ["what is edited", "right", *(library.title for library in libraries)]
    return "\n\n".join(
        [
            _dated(libraries),
            _table([titles, *defaults, *_sums(edits, rows)]),
            "With something set by hand:",
            _table([["library", "set by hand", "what is edited", "right", "observed"], *by_hand]),
        ]
    )


def _dated(libraries: Sequence[Library]) -> str:
    versions = {each.package: each.version() if each.is_installed() else "not installed" for each in libraries}
    listed = ", ".join(f"{package} {version}" for package, version in versions.items())
    return f"Observed on {datetime.date.today()} with {listed}; CPython {platform.python_version()}, {sys.platform}."


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest))


def _marked(word: str) -> str:
    return "**stale**" if word == "stale" else word


def _sums(edits: Sequence[Edit], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Count, for each library, which cells are right, and which are not in what way; each cell counts once."""
    verdicts = [[_verdict(edit.right, word) for word in row] for edit, row in zip(edits, rows, strict=True)]
    columns = list(zip(*verdicts, strict=True))
    return [
        [f"*{verdict}*", f"of {len(edits)}", *(str(column.count(verdict)) for column in columns)]
        for verdict in _VERDICTS
    ]


def _verdict(right: str, word: str) -> str:
    as_it_should, with_warning, stale, warned, in_vain, otherwise = _VERDICTS
    if word.startswith(right):
        return as_it_should if word == right else with_warning
    if word.startswith("recomputed"):
        return in_vain
    return {"stale": stale, "warned": warned}.get(word, otherwise)


if __name__ == "__main__":
    sys.exit(main())
