"""Program: the source files that are edited, the same for every library up to decorators and calls.

`study/tasks.py` holds four functions that a library keeps. Each notes in a log that it really ran; `total` uses
a piece of every other file. Its layout is one that a formatter changes.

Next: libraries.py
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["CACHED", "LOG", "marker", "write"]

#: The functions of `study/tasks.py` that are kept.
CACHED = ("total", "wrapped", "report", "applied")
#: The file, beside the program, in which functions note that they ran.
LOG = "ran.log"

_TASKS = '''
import scales

from study.log import note
from study.near import weigh
from study.shapes import Square
from study.wrap import doubled

RATE = 5
low, high = lambda x: x + 100, lambda x: x + 200


@doubled
def raised(x):
    return x + 1


@cached_total
def total(n):
    """Return a number in which every file has a share."""
    from study.late import tail
    note( 'total' )
    parts=[weigh(n), raised(n), RATE, Square(n).area(), low(n), tail(n), scales.scale(n)]
    return sum( parts )


@cached_wrapped
@doubled
def wrapped(n):
    note("wrapped")
    return n + 7


@cached_report
def report(total):
    note("report")
    return f"total: {total}"


@cached_applied
def applied(function, n):
    note("applied")
    return function(n)
'''

_LOG = f"""
def note(name):
    with open("{LOG}", "a") as log:
        log.write(name + "\\n")
"""

_WRAP = """
import functools


def doubled(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs) * 2

    return call
"""

_SHAPES = """
class Square:
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2
"""

_MAIN = """
import json
import logging
import sys
import warnings

told = []


class Listener(logging.Handler):
    def emit(self, record):
        told.append(record.getMessage())


logging.getLogger().addHandler(Listener(logging.WARNING))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        from study.calls import CALLS

        answer = {"value": CALLS[sys.argv[1]]()}
    except Exception as error:
        answer = {"error": type(error).__name__}
told += [f"{warning.category.__name__}: {warning.message}" for warning in caught]
print("\\n" + json.dumps({**answer, "told": told}))
"""

_FILES = {
    "main.py": _MAIN,
    "study/__init__.py": "",
    "study/log.py": _LOG,
    "study/near.py": "from study.deep import weight\n\n\ndef weigh(x):\n    return weight(x) * 2\n",
    "study/deep.py": "def weight(x):\n    return x + 10\n",
    "study/wrap.py": _WRAP,
    "study/shapes.py": _SHAPES,
    "study/late.py": "def tail(x):\n    return x - 1\n",
    "study/measures.py": "def measure(x):\n    return x * 4\n",
    "site-packages/scales/__init__.py": "def scale(x):\n    return x * 3\n",
    "site-packages/scales-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: scales\nVersion: 1.0\n",
    "site-packages/scales-1.0.dist-info/RECORD": "scales/__init__.py,,\nscales-1.0.dist-info/METADATA,,\n",
    "site-packages/scales-1.0.dist-info/top_level.txt": "scales\n",
}


def marker(name: str) -> str:
    """Return the line of `study/tasks.py` that stands where a library's decorator goes."""
    return f"@cached_{name}\n"


def write(folder: Path, head: str, decorators: dict[str, str], calls: str) -> None:
    """Write the program as a user of one library would have written it."""
    tasks = head + _TASKS
    for name in CACHED:
        tasks = tasks.replace(marker(name), decorators[name])
    for name, text in {**_FILES, "study/tasks.py": tasks, "study/calls.py": calls}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"))
