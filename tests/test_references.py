"""What a fingerprint follows: edits of files between processes, and whether they matter to a function elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from projects import look_at, write

import checkpoint
from checkpoint.fingerprint import Code

ROOT = Path(checkpoint.__file__).parent.parent


class Case(NamedTuple):
    """A project, an edit of it (file, old text, new text), and whether that is a change of `f` in main.py."""

    files: dict[str, str]
    edits: list[tuple[str, str, str]]
    matters: bool


def one(main: str, old: str, new: str, *, matters: bool) -> Case:
    """Return a case of one file."""
    return Case({"main.py": main}, [("main.py", old, new)], matters)


def helper(main: str, text: str, old: str, new: str, *, matters: bool = True) -> Case:
    """Return a case whose `pkg/helpers.py` is edited."""
    return Case(
        {"main.py": main, "pkg/__init__.py": "", "pkg/helpers.py": text}, [("pkg/helpers.py", old, new)], matters
    )


SCALE = "RATE = 3\n\ndef scale(x):\n    return x * RATE\n\ndef other():\n    return 0\n"
DECORATOR = """def twice(function):
    def wrapper(*args):
        return function(*args) * 2
    return wrapper
"""
WRAPS = "import functools\n" + DECORATOR.replace("    def wr", "    @functools.wraps(function)\n    def wr")
LAZY = "def f(x):\n    from pkg.helpers import scale\n    return scale(x)\n"
CLASS = """from base import Base
class Model(Base):
    x: int = 1
    def fit(self, y):
        return y + 1
    @property
    def size(self):
        return 5
def f(): return Model().fit(2)
"""
BASE = "class Base:\n    def fit(self, y):\n        return y - 1\n"
TWO_FILES = {
    "main.py": "from pkg import middle\ndef f(x): return middle.go(x)\n",
    "pkg/__init__.py": "",
    "pkg/middle.py": "from .helpers import scale\ndef go(x): return scale(x)\n",
    "pkg/helpers.py": SCALE,
}

CASES: dict[str, Case] = {
    # helpers
    "two modules away": Case(TWO_FILES, [("pkg/helpers.py", "x * RATE", "x + RATE")], True),
    "a constant two modules away": Case(TWO_FILES, [("pkg/helpers.py", "RATE = 3", "RATE = 4")], True),
    "a constant of another type": Case(TWO_FILES, [("pkg/helpers.py", "RATE = 3", "RATE = 3.0")], True),
    "a constant written otherwise": Case(TWO_FILES, [("pkg/helpers.py", "RATE = 3", "RATE = 2 + 1")], False),
    "an unused function": Case(TWO_FILES, [("pkg/helpers.py", "return 0", "return 1")], False),
    "comment": Case(TWO_FILES, [("pkg/helpers.py", "    return x", "    # why\n\n    return x")], False),
    "docstring": Case(TWO_FILES, [("pkg/helpers.py", "    return x", "    'Why.'\n    return x")], False),
    "annotation": Case(TWO_FILES, [("pkg/helpers.py", "(x)", "(x: int) -> int")], False),
    "layout": Case(TWO_FILES, [("pkg/helpers.py", "x * RATE", "(\n        x\n        *RATE\n    )")], False),
    "renamed local": Case(TWO_FILES, [("pkg/helpers.py", "(x):\n    return x", "(y):\n    return y")], True),
    "module as": helper("import pkg.helpers as m\ndef f(x): return m.scale(x)\n", SCALE, "x * R", "x / R"),
    "dotted module": helper("import pkg.helpers\ndef f(x): return pkg.helpers.scale(x)\n", SCALE, "x * R", "x / R"),
    "wildcard": helper("from pkg.helpers import *\ndef f(x): return scale(x)\n", SCALE, "x * R", "x / R"),
    "moved helper": Case(
        {**TWO_FILES, "pkg/moved.py": ""},
        [
            ("pkg/helpers.py", SCALE, ""),
            ("pkg/moved.py", "", SCALE),
            ("pkg/middle.py", "from .helpers", "from .moved"),
        ],
        False,
    ),
    "another helper under the same name": Case(
        TWO_FILES, [("pkg/middle.py", "import scale", "import other as scale")], True
    ),
    "recursion": one("def f(n): return g(n)\ndef g(n): return g(n - 1)\n", "n - 1", "n - 2", matters=True),
    "mutual recursion": Case(
        {"main.py": "import b\ndef f(n): return b.g(n)\n", "b.py": "import main\ndef g(n): return main.f(n) + 1\n"},
        [("b.py", "+ 1", "+ 2")],
        True,
    ),
    "conditional definition": one(
        "import sys\nif sys.maxsize > 3:\n    def g(): return 1\nelse:\n    def g(): return 2\ndef f(): return g()\n",
        "return 1",
        "return 3",
        matters=True,
    ),
    "generator expression": one(
        "def g(x): return x\ndef f(v): return [g(x) for x in v]\n", "return x\n", "return -x\n", matters=True
    ),
    "inner function": one(
        "def g(x): return x\ndef f(v):\n    def h(): return g(v)\n    return h\n", "return x", "return -x", matters=True
    ),
    "default argument": one("def g(x): return x\ndef f(v=g): return v(1)\n", "return x", "return -x", matters=True),
    # names that are not taken from outside
    "shadowed by an argument": one(
        "def g(x): return x\ndef f(g): return g(1)\n", "return x", "return -x", matters=False
    ),
    "shadowed by a comprehension": one(
        "def g(x): return x\ndef f(v): return [g for g in v]\n", "return x", "return -x", matters=False
    ),
    "shadowed by an assignment": one(
        "def g(x): return x\ndef f(v):\n    g = v\n    return g\n", "return x", "return -x", matters=False
    ),
    "only an annotation": one("class A:\n    x = 1\ndef f(v: A) -> A: return v\n", "x = 1", "x = 2", matters=False),
    "attribute of an argument": one(
        "def g(x): return x\ndef f(v): return v.g\n", "return x", "return -x", matters=False
    ),
    # decorators
    "decorator": helper("from pkg.helpers import twice\n@twice\ndef f(x): return x\n", WRAPS, "* 2", "* 3"),
    "decorator of a helper": helper(
        "from pkg.helpers import twice\n@twice\ndef g(x): return x\ndef f(): return g(1)\n", DECORATOR, "* 2", "* 3"
    ),
    "under a decorator": one(
        DECORATOR + "@twice\ndef g(x): return x + 1\ndef f(): return g(1)\n", "x + 1", "x + 2", matters=True
    ),
    "under wraps": one(
        WRAPS + "@twice\ndef g(x): return x + 1\ndef f(): return g(1)\n", "x + 1", "x + 2", matters=True
    ),
    "wraps of a helper": one(
        WRAPS + "@twice\ndef g(x): return x + 1\ndef f(): return g(1)\n", "* 2", "* 3", matters=True
    ),
    "wrapper by a call": one(
        WRAPS + "def g(x): return x + 1\ng = twice(g)\ndef f(): return g(1)\n", "* 2", "* 3", matters=True
    ),
    "under lru_cache": one(
        "import functools\n@functools.lru_cache\ndef g(x): return x + 1\ndef f(): return g(1)\n",
        "x + 1",
        "x + 2",
        matters=True,
    ),
    "under contextmanager": one(
        "import contextlib\n@contextlib.contextmanager\ndef g(): yield 1\ndef f():\n    with g(): pass\n",
        "yield 1",
        "yield 2",
        matters=True,
    ),
    "under partial": one(
        "import functools\ndef g(x): return x + 1\nh = functools.partial(g, 1)\ndef f(): return h()\n",
        "x + 1",
        "x + 2",
        matters=True,
    ),
    "partial's argument": one(
        "import functools\ndef g(x): return x\nh = functools.partial(g, 1)\ndef f(): return h()\n",
        "g, 1",
        "g, 2",
        matters=True,
    ),
    "bound method": one(
        "class A:\n    def g(self): return 1\nh = A().g\ndef f(): return h()\n", "return 1", "return 2", matters=True
    ),
    "class as a decorator": one(
        "class Times:\n    def __init__(self, g, n): self.__wrapped__, self.n = g, n\n"
        "    def __call__(self, x): return self.__wrapped__(x) * self.n\n"
        "def g(x): return x + 1\ng = Times(g, 3)\ndef f(): return g(1)\n",
        "(g, 3)",
        "(g, 4)",
        matters=True,
    ),
    "under a class as a decorator": one(
        "class Times:\n    def __init__(self, g): self.__wrapped__ = g\n"
        "    def __call__(self, x): return self.__wrapped__(x) * 2\n"
        "@Times\ndef g(x): return x + 1\ndef f(): return g(1)\n",
        "* 2",
        "* 3",
        matters=True,
    ),
    "single dispatch": one(
        "import functools\n@functools.singledispatch\ndef g(x): return 0\n@g.register\ndef _(x: int): return 1\n"
        "def f(): return g(1)\n",
        "return 1",
        "return 2",
        matters=True,
    ),
    # closures
    "closure": one(
        "def make():\n    def g(): return 1\n    def f(): return g()\n    return f\nf = make()\n",
        "return 1",
        "return 2",
        matters=True,
    ),
    "value in a closure": one(
        "def make(k):\n    def f(): return k\n    return f\nf = make(1)\n", "make(1)", "make(2)", matters=True
    ),
    # lambdas
    "lambda": one("g, h = (lambda x: x + 1), (lambda x: x + 2)\ndef f(): return g(1)\n", "+ 1", "+ 3", matters=True),
    "other lambda on the line": one(
        "g, h = (lambda x: x + 1), (lambda x: x + 2)\ndef f(): return g(1)\n", "+ 2", "+ 3", matters=False
    ),
    # values
    "large constant": one(f"T = {'x' * 2000!r}\ndef f(): return T\n", "x'\n", "y'\n", matters=True),
    "mutable list": one("T = [1, 2]\ndef f(): return T\n", "2]", "3]", matters=True),
    "what a list is made of": one(
        "def g(): return 1\nT = [g()]\ndef f(): return T\n", "return 1", "return 2", matters=True
    ),
    "item set later": one("T = {}\nT['a'] = 1\ndef f(): return T\n", "= 1", "= 2", matters=True),
    "method called later": one("T = {}\nT.update(a=1)\ndef f(): return T\n", "a=1", "a=2", matters=True),
    "table in a loop": one(
        "T = {}\nfor i in range(3):\n    T[i] = i\ndef f(): return T\n", "range(3)", "range(4)", matters=True
    ),
    "instance": one(
        "class A:\n    def g(self): return 1\na = A()\ndef f(): return a.g()\n", "return 1", "return 2", matters=True
    ),
    "imported instance": Case(
        {"main.py": "from conf import C\ndef f(): return C\n", "conf.py": "C = {'a': 1}\nD = {}\n"},
        [("conf.py", "'a': 1", "'a': 2")],
        True,
    ),
    "neighbour of an imported instance": Case(
        {"main.py": "from conf import C\ndef f(): return C\n", "conf.py": "C = {'a': 1}\nD = {}\n"},
        [("conf.py", "D = {}", "D = {1: 2}")],
        False,
    ),
    "enum": one(
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\ne = E.A\ndef f(): return e\n",
        "A = 1",
        "A = 3",
        matters=True,
    ),
    "another member": one(
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\ne = E.A\ndef f(): return e\n",
        "E.A",
        "E.B",
        matters=True,
    ),
    "global of a fallback import": one(
        "try:\n    import nothing_of_this_name as j\nexcept ImportError:\n    j = [1]\ndef f(): return j\n",
        "[1]",
        "[2]",
        matters=True,
    ),
    "frozenset": one("S = frozenset({'a', 'b'})\ndef f(x): return x in S\n", "'b'", "'c'", matters=True),
    # classes
    "method": Case({"main.py": CLASS, "base.py": BASE}, [("main.py", "y + 1", "y + 2")], True),
    "property": Case({"main.py": CLASS, "base.py": BASE}, [("main.py", "return 5", "return 6")], True),
    "field type": Case({"main.py": CLASS, "base.py": BASE}, [("main.py", "x: int", "x: float")], True),
    "base class": Case({"main.py": CLASS, "base.py": BASE}, [("base.py", "y - 1", "y - 2")], True),
    "comment in a class": Case(
        {"main.py": CLASS, "base.py": BASE}, [("base.py", "    def", "    # hm\n    def")], False
    ),
    "annotation of a method": Case({"main.py": CLASS, "base.py": BASE}, [("base.py", "y)", "y: int) -> int")], False),
    "type of a field": one(
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\n@dataclass\nclass B:\n    a: A\n"
        "def f(): return B\n",
        "x: int = 1",
        "x: int = 2",
        matters=True,
    ),
    "what a method uses": one(
        "def g(): return 1\nclass A:\n    g = 2\n    def m(self): return g()\ndef f(): return A\n",
        "return 1",
        "return 2",
        matters=True,
    ),
    "named tuple": one(
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P\n",
        "x y",
        "y x",
        matters=True,
    ),
    # modules
    "bare module": helper("from pkg import helpers\ndef f(): return vars(helpers)\n", SCALE, "return 0", "return 1"),
    "what a bare module imports": Case(
        {
            "main.py": "import conf\ndef f(): return vars(conf)\n",
            "conf.py": "from deep import g\nx = g()\n",
            "deep.py": "def g(): return 1\n",
        },
        [("deep.py", "return 1", "return 2")],
        True,
    ),
    # imports inside functions
    "lazy import": helper(LAZY, SCALE, "x * R", "x / R"),
    "constant of a lazy import": helper(LAZY, SCALE, "RATE = 3", "RATE = 4"),
    "neighbour of a lazy import": helper(LAZY, SCALE, "return 0", "return 1", matters=False),
    "lazy module": helper(
        "def f(x):\n    import pkg.helpers\n    return pkg.helpers.scale(x)\n", SCALE, "x * R", "x / R"
    ),
    "lazy module as": helper(
        "def f(x):\n    import pkg.helpers as h\n    return h.scale(x)\n", SCALE, "x * R", "x / R"
    ),
    "lazy bare module": helper(
        "def f(x):\n    from pkg import helpers\n    return helpers\n", SCALE, "return 0", "return 1"
    ),
    "lazy through another module": Case(
        {**TWO_FILES, "main.py": "def f(x):\n    from pkg.middle import go\n    return go(x)\n"},
        [("pkg/helpers.py", "x * RATE", "x + RATE")],
        True,
    ),
    "lazy wildcard": Case(
        {
            "main.py": "def f(x):\n    import conf\n    return conf.scale(x)\n",
            "conf.py": "from deep import *\n",
            "deep.py": SCALE,
        },
        [("deep.py", "x * RATE", "x + RATE")],
        True,
    ),
    "lazy relative": Case(
        {**TWO_FILES, "pkg/middle.py": "def go(x):\n    from . import helpers\n    return helpers.scale(x)\n"},
        [("pkg/helpers.py", "x * RATE", "x + RATE")],
        True,
    ),
    "lazy in a folder without __init__": Case(
        {"main.py": "def f(x):\n    import pkg.helpers\n    return pkg.helpers.scale(x)\n", "pkg/helpers.py": SCALE},
        [("pkg/helpers.py", "x * RATE", "x + RATE")],
        True,
    ),
    "in a folder without __init__": Case(
        {"main.py": "import pkg.helpers\ndef f(x):\n    return pkg.helpers.scale(x)\n", "pkg/helpers.py": SCALE},
        [("pkg/helpers.py", "x * RATE", "x + RATE")],
        True,
    ),
    "moved lazy helper": Case(
        {**TWO_FILES, "main.py": LAZY, "pkg/moved.py": ""},
        [("pkg/helpers.py", SCALE, "from .moved import *\n"), ("pkg/moved.py", "", SCALE)],
        False,
    ),
    "lazy import or loaded": helper("import sys\n" + LAZY, SCALE, "x", "x", matters=False)._replace(
        edits=[("main.py", "import sys\n", "import sys, pkg.helpers\n")]
    ),
    # tasks and options
    "options": one(
        "from checkpoint import memo\n@memo\ndef g(x): return x\nf = g.__wrapped__\n",
        "@memo",
        "@memo(retries=1)",
        matters=False,
    ),
    "another task": one(
        "from checkpoint import memo\n@memo\ndef g(x): return x\ndef f(): return g(1)\n",
        "return x\n",
        "return -x\n",
        matters=False,
    ),
    "what a task requires": one(
        "from checkpoint import memo, requires, task\n@memo\ndef g(x): return x\n"
        "@task\ndef t():\n    @requires([g(1), 2])\n    def run(v): return v\n    return run\nf = t.__wrapped__\n",
        ", 2]",
        ", 3]",
        matters=True,
    ),
    # what others wrote
    "version": Case(
        {
            "main.py": "import dist\ndef f(): return dist.g()\n",
            "site-packages/dist.py": "__version__ = '1.0'\ndef g(): return 1\n",
        },
        [("site-packages/dist.py", "1.0", "1.1")],
        True,
    ),
    "code of a distribution": Case(
        {
            "main.py": "from dist import g\ndef f(): return g()\n",
            "site-packages/dist.py": "__version__ = '1.0'\ndef g(): return 1\n",
        },
        [("site-packages/dist.py", "return 1", "return 2")],
        False,
    ),
    "lazy version": Case(
        {
            "main.py": "def f():\n    import dist\n    return dist.g()\n",
            "site-packages/dist/__init__.py": "",
            "site-packages/dist-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: dist\nVersion: 1.0\n",
        },
        [("site-packages/dist-1.0.dist-info/METADATA", "Version: 1.0", "Version: 1.1")],
        True,
    ),
    "standard library": one(
        "import json\ndef f(): return json.dumps(1)\n", "import json\n", "import json, os\n", matters=False
    ),
    # what is another one in each process
    "time": one("import time\nT = time.time()\nU = T + 1\ndef f(): return T, U\n", "T + 1", "T + 2", matters=True),
    "time when loaded": one("import time\nT = time.time()\ndef f(): return T\n", "T =", "# now\nT =", matters=False),
    "random number": one(
        "from random import random\nT = random()\nU = [1, 2][int(T * 2)]\ndef f(): return U\n",
        "import random",
        "import random, seed",
        matters=False,
    ),
    "process": one("import os\nT = os.getpid()\ndef f(): return T\n", "os.getpid()", "(os.getpid())", matters=False),
    "from the environment": one(
        "import os\nT = os.environ['PYTHONPATH']\nN = len('abc')\ndef f(): return N\n", "'abc'", "'abcd'", matters=True
    ),
    "folder of the file": one(
        "import os\nT = os.path.dirname(__file__)\nU = os.path.join(T, 'a')\ndef f(): return U\n",
        "'a'",
        "'b'",
        matters=True,
    ),
    # state
    "rebound global": one(
        "_cache = None\ndef get():\n    global _cache\n    _cache = [1]\n    return _cache\ndef f(): return get()\n",
        "def f()",
        "get()\ndef f()",
        matters=False,
    ),
    "replaced global function": one(
        "def g(): return 1\ndef h(): return 2\ndef f(): return g()\n",
        "def f()",
        "globals()['g'] = h\ndef f()",
        matters=True,
    ),
}


#: The fingerprint of `f` in some of the projects before their edit; the same on every supported Python.
GOLDEN = {
    "two modules away": "6e35865ef570502c176889382e44c196",
    "wildcard": "40c4f6b171de0e60fbcb1913a8688319",
    "mutual recursion": "472f24349aca513b5bff91263816d2d5",
    "conditional definition": "6615712947f82dfac1e1e6a31e274f84",
    "decorator": "54d4820e6ad1abd035ca5e544318b5f9",
    "under wraps": "15a04be972c0fd91781d3c78270061c0",
    "partial's argument": "9dfcf4dbc6ed24e58925b45bac5124eb",
    "closure": "6615712947f82dfac1e1e6a31e274f84",
    "lambda": "325ceecaf9f6f827bc69d567a16fc91a",
    "table in a loop": "a267f02402f149f7237916814760da8a",
    "another member": "03d0de965231b5146ccd34ff50476f57",
    "property": "f082049f16c6a7bd71887c7a52041e3e",
    "type of a field": "f131c1ffa85f49362f8eef3921f287cf",
    "what a bare module imports": "6504ef9bd2c0b8a5b8f4f58adfe4eb3f",
    "lazy relative": "645394e5e8f3fd37f7b02f0920657133",
    "lazy version": "383e2732306ea092373edb6b726756ac",
    "what a task requires": "e8f2860b63376676ad36ef744c3e5ec2",
}


class Looks(NamedTuple):
    """What the processes saw before the edit of each case, after it, and after reverting it."""

    before: dict[str, str]
    after: dict[str, str]
    reverted: dict[str, str]


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Looks:
    """Edit and look at all cases, in one program each time, with a process for each case."""
    root = tmp_path_factory.mktemp("cases")
    folders = [root / name for name in CASES]
    for folder, case in zip(folders, CASES.values(), strict=True):
        write(folder, case.files)
    before = look_at(folders)
    for folder, case in zip(folders, CASES.values(), strict=True):
        for file, old, new in case.edits:
            text = (folder / file).read_text(encoding="utf-8")
            assert text == old == "" or text.count(old) >= 1
            write(folder, {file: text.replace(old, new, 1) if old else new})
    after = look_at(folders)
    for folder, case in zip(folders, CASES.values(), strict=True):
        write(folder, case.files)
    return Looks(before, after, look_at(folders))


@pytest.mark.parametrize("name", CASES)
def test_an_edit_matters_or_not(name: str, looks: Looks) -> None:
    """An edit of anything that a function uses changes its fingerprint, and nothing else does."""
    before, after = Code.from_json(looks.before[name]), Code.from_json(looks.after[name])
    assert CASES[name].matters == (before.fingerprint != after.fingerprint)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_fingerprint(name: str, looks: Looks) -> None:
    """What is followed has the same fingerprint on every Python, on every machine and for ever."""
    assert GOLDEN[name] == Code.from_json(looks.before[name]).fingerprint


@pytest.mark.parametrize("name", CASES)
def test_a_reverted_edit_gives_the_old_fingerprint(name: str, looks: Looks) -> None:
    """Nothing of an edit stays behind."""
    assert looks.before[name] == looks.reverted[name]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.matters])
def test_an_edit_that_matters_is_shown(name: str, looks: Looks) -> None:
    """Each change of a fingerprint comes with a piece that differs."""
    changes = Code.from_json(looks.after[name]).changes_since(Code.from_json(looks.before[name]))
    assert [] != [change.diff() for change in changes]
    assert len(changes) == len(set(changes))


def test_a_project_may_be_moved(tmp_path: Path) -> None:
    """Fingerprints don't depend on where the project is, even if its code asks for its folder."""
    names = ["folder of the file", "two modules away", "lazy relative"]
    for place in ("one", "two"):
        for name in names:
            write(tmp_path / place / name, CASES[name].files)
    one, two = [look_at([tmp_path / place / name for name in names]) for place in ("one", "two")]
    assert one == two


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_a_project_is_unseen(name: str, looks: Looks) -> None:
    """What stands in the files of a project is found."""
    assert () == Code.from_json(looks.before[name]).unseen


def test_a_class_without_source_is_seen_by_its_members(tmp_path: Path) -> None:
    """In a program that is read from standard input, edits of methods, fields and plain values count."""
    program = """
import dataclasses, sys
from checkpoint.fingerprint import Tracker

@dataclasses.dataclass
class Point:
    x: int
    unit = "mm"
    def scaled(self): return Point(self.x * 2)

def f(): return Point(1).scaled()

code = Tracker(f).code()
print(code.fingerprint, list(code.unseen))
"""
    edits = ["", "self.x * 3", '"cm"', "y: int"]
    programs = [program, *(program.replace(old, new) for old, new in
                           zip(["self.x * 2", '"mm"', "x: int"], edits[1:], strict=True))]  # fmt: skip
    seen = []
    for text in [*programs, program]:
        done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, check=True, timeout=60,
                              cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        seen.append(done.stdout.split(maxsplit=1))
    assert ({"[]\n"}, 4, seen[0]) == ({unseen for _, unseen in seen}, len({mark for mark, _ in seen}), seen[-1])


def test_methods_of_builtins_are_seen() -> None:
    """A captured method of a class written in C is no riddle."""
    from checkpoint.fingerprint import Tracker

    def applying(method: object) -> object:
        return lambda text: method(text)  # type: ignore[operator]

    assert () == Tracker(applying(str.strip)).code().unseen  # type: ignore[arg-type]
