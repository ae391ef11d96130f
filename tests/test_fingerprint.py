"""Fingerprints: what changes them, what doesn't, and what a change means."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import linecache
import os
import subprocess
import sys
import threading
import unittest.mock  # noqa: F401  # it cannot be loaded while sys.modules is replaced
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import checkpoint
from checkpoint import fingerprint
from checkpoint.fingerprint import FORMAT, Change, Code, Part, Tracker, digest, look_again
from checkpoint.policy import Policy, current_policy, policy_in_force

PACKAGE = Path(checkpoint.__file__).parent

_numbers = itertools.count()


def module_of(text: str, folder: Path) -> ModuleType:
    """Write a module with some text, import it and return it."""
    name = f"sample_{next(_numbers)}"
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where `inspect` looks for the source of classes
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that gives the fingerprint of one name of a module with some text."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def of(text: str, name: str = "f") -> str:
        return digest(vars(module_of(text, tmp_path))[name])

    return of


# --- golden ----------------------------------------------------------------------------------------------

#: Digest -> text of a module with a function `f`; the same on every supported Python.
GOLDEN = {
    "20a65987a8df626b622ab521dc9ac3c5": "def f():\n    return 1\n",
    "3f29fd2ff849ee67bb798fd746385142": "def f(a, b=2, *args, c, d=4, **kw):\n    return a + b * c ** d, args, kw\n",
    "9af848519504f853c323f15c1aecf557": '''def f(x):
    """Say something."""
    total = 0
    for index, item in enumerate(x):
        if item > 0.5 and not index == 3 or item is None:
            total += item
        else:
            continue
    while total:
        total -= 1
        break
    return [y for y in x if y], {k: v for k, v in x}, {*x}, (z async for z in x), total
''',
    "ef808ab6427131dd1349e335222011e7": "def f(name, width):\n"
    "    return f'{name!r:>{width}} {width=} {{}}' f'{name:02d}' 'tail', b'x' and rb'\\n'\n",
    "76910b2dfb3740c7e73afbdd9c20ee77": """def f(x):
    match x:
        case {"a": [1, *rest], **others} if rest:
            return rest, others
        case Point(0, y=1) | None:
            return -1j
        case _:
            pass
    try:
        with open(x) as file, file:
            raise ValueError(x) from None
    except* (OSError, ValueError) as errors:
        global counter
        del x[1:2, ..., ::3]
    finally:
        assert x, "no"
""",
    "6eface031e08679434f48f1980a8ae47": '''def f(x: int = 1, /, *, y: "str") -> list[int]:
    class Inner(Base, metaclass=Meta):
        """A class."""
        z: int = 3
        w: int
    @decorate(1)
    def inner(q):
        nonlocal x
        lambda a, *b: (yield a)
        return (x := q)
    return inner
''',
    "254a7ee1b09e401f50c819f32517a763": "async def f(a):\n"
    "    async with a as b:\n        async for c in b:\n            await c\n    return 'é🫨', 1e3, 0x10\n",
    "a321feb9aa932f5d588f7855fa3fe81f": "f = lambda x, y=1: x if y else {'a': 1, **x}\n",
}


def test_the_format_of_fingerprints_has_a_number() -> None:
    """The golden digests belong to this number."""
    assert fingerprint.FORMAT == 1


@pytest.mark.parametrize("expected", GOLDEN)
def test_golden_digest(expected: str, tmp_path: Path) -> None:
    """A function has the same fingerprint on every Python, on every machine and for ever."""
    file = tmp_path / "golden.py"
    file.write_text(GOLDEN[expected], encoding="utf-8")
    namespace: dict[str, Any] = {}
    exec(compile(GOLDEN[expected], str(file), "exec"), namespace)
    assert expected == digest(namespace["f"])


# --- what doesn't matter ---------------------------------------------------------------------------------

BASE = """from checkpoint import memo
import checkpoint as ck

def other(function):
    return function

def f(x, y=2):
    total = x + y
    return [total, "text"]
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    return [", "    # a comment\n    return ["),
        ("    return [", "\n\n    return ["),
        ('[total, "text"]', "[\n        total,\n        'text',\n    ]  # in several lines"),
        ("    total = x + y", "    total = (x+y)"),
        ("    total =", '    """A docstring."""\n    total ='),
        ("f(x, y=2)", "f(x: int, y: float = 2) -> list[object]"),
        ("def f", "# moved down\n\n\ndef f"),
        ("def f", "@memo\ndef f"),
        ("def f", "@ck.memo(compress=True, max_concurrency=3)\ndef f"),
        ("    return function", "    return print(function)"),
        ('"text"', '"te" "xt"'),
    ],
)
def test_what_a_function_does_not_do_has_no_effect(old: str, new: str, digest_of: Callable[..., str]) -> None:
    """Comments, layout, docstrings, annotations, this package's decorators and other functions don't matter."""
    assert BASE.count(old) == 1
    changed = BASE.replace(old, new)
    if "memo" in new:
        changed += "f = f.__wrapped__\n"
    assert digest_of(BASE) == digest_of(changed)


# --- what matters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y=2", "y=3"),
        ("y=2", "y=2.0"),
        ("y=2", "y"),
        ("x + y", "x - y"),
        ("x + y", "y + x"),
        ("total = x", "total += x"),
        ('"text"', '"other"'),
        ('"text"', 'b"text"'),
        ('"text"]', '"text", None]'),
        ("(x, y=2)", "(x, *, y=2)"),
        ("(x, y=2)", "(x, /, y=2)"),
        ("def f", "async def f"),
        ("def f", "@other\ndef f"),
        ("    return [", "    if total:\n        return ["),
        ("return [total", "return [x"),
    ],
)
def test_what_a_function_does_matters(old: str, new: str, digest_of: Callable[..., str]) -> None:
    """Constants, their types, operators, names, defaults, parameters and other decorators matter."""
    assert BASE.count(old) == 1
    assert digest_of(BASE) != digest_of(BASE.replace(old, new))


def test_a_renamed_function_is_the_same(digest_of: Callable[..., str]) -> None:
    """The function's own name says nothing of what it does."""
    assert digest_of(BASE) == digest_of(BASE.replace("def f", "def g"), "g")


# --- finding the code ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "f, g = lambda x: x + 1, lambda x: x + 2",
        "f, g = [lambda: 1, lambda: 2]",
        "f, g = (lambda x, k=lambda: 0: x), (lambda x, k=lambda: 0: k)",
        "f = lambda x: lambda y: x; g = f(1)",
        "f, g = (lambda x:\n x + 1), lambda x: x + 2",
        "f, g = (lambda é: 'ü' + é), (lambda é: 'ö' + é)",
    ],
)
def test_lambdas_on_one_line_are_told_apart(line: str, digest_of: Callable[..., str]) -> None:
    """Each of several lambdas on a line has the fingerprint of its own text."""
    assert digest_of(line, "f") != digest_of(line, "g")


def test_a_lambda_is_the_same_on_a_line_of_its_own(digest_of: Callable[..., str]) -> None:
    """Where a lambda stands doesn't matter."""
    assert digest_of("g, f = lambda: 1, lambda x: x * 2") == digest_of("f = lambda x: x * 2")


def test_functions_of_one_name_in_a_file_are_told_apart(digest_of: Callable[..., str]) -> None:
    """The line decides which of several functions of one name is meant."""
    first, second = "def f():\n    return 1\n", "def f():\n    return 2\n"
    both = first + "g = f\n" + second
    assert [digest_of(first), digest_of(second)] == [digest_of(both, "g"), digest_of(both, "f")]


def test_editing_the_file_later_has_no_effect(tmp_path: Path) -> None:
    """The fingerprint is that of the code as it was when the function was decorated."""
    module = module_of("def f():\n    return 1\n", tmp_path)
    expected, source = digest(module.f), Tracker(module.f)
    Path(str(module.__file__)).write_text("def f():\n    return 22\n")
    linecache.checkcache()
    assert expected == source.code().fingerprint


def test_a_file_that_was_edited_is_read_again(tmp_path: Path) -> None:
    """A function that is loaded again after an edit has the fingerprint of its new text."""
    module = module_of("def f():\n    return 1\n", tmp_path)
    digest(module.f)
    file = Path(str(module.__file__))
    file.write_text("def f():\n    return 22\n")
    exec(compile(file.read_text(), str(file), "exec"), vars(module))
    assert digest(module_of("def f():\n    return 22\n", tmp_path).f) == digest(module.f)


def test_a_wrapper_counts_and_what_it_wraps() -> None:
    """`functools.wraps` leads to the function inside, which is the first part, and the wrapper is one, too."""

    def inner() -> int:
        return 1

    @functools.wraps(inner)
    def outer() -> int:
        return inner()

    parts = Tracker(outer).code().parts
    assert digest(inner) != digest(outer)
    assert ["inner", "outer"] == [part.name.rpartition(".")[2] for part in parts]


# --- without source --------------------------------------------------------------------------------------


def made(text: str) -> Any:
    """Return the function `f` of a text that is in no file."""
    namespace: dict[str, Any] = {}
    exec(compile(text, "<no file>", "exec"), namespace)
    return namespace["f"]


def test_code_without_source_has_a_fingerprint() -> None:
    """A function made by exec has one, the same each time."""
    text = "def f(x):\n    return x + 1 in {'a', 'b', 'c'}\n"
    assert digest(made(text)) == digest(made(text))


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x + 2\n",
        "def f(y):\n    return y + 1\n",
        "def f(x):\n    return (lambda: x + 3)() + 1\n",
    ],
)
def test_code_without_source_shows_its_changes(text: str) -> None:
    """Changed constants and names matter, in inner functions too."""
    assert digest(made("def f(x):\n    return x + 1\n")) != digest(made(text))


def test_fingerprints_are_the_same_in_every_process() -> None:
    """Neither the hash seed nor memory addresses matter."""
    code = r"""
import functools, sys
sys.path.insert(0, sys.argv[1])
from checkpoint.fingerprint import digest
exec('def f(x):\n    return x in {1, "a", "b", "c"}, lambda: x')
print([digest(thing) for thing in (f, {"a", "b", "c"}, object(), sys.stdout.write, functools.partial(f), [f])])
"""
    command = [sys.executable, "-c", code, str(PACKAGE.parent)]
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        outputs.add(done.stdout)
    assert len(outputs) == 1


@pytest.mark.parametrize(
    "thing",
    [len, int, functools, functools.partial(len), 3, [1], None, threading.Lock(), print, "".join, Path],
    ids=lambda thing: type(thing).__name__,
)
def test_anything_has_a_fingerprint(thing: object) -> None:
    """No object makes it fail."""
    assert len(digest(thing)) == 32


def test_a_file_that_is_no_python_does_no_harm(tmp_path: Path) -> None:
    """Where the text of the file can't be parsed, the code object is described."""
    file = tmp_path / "template.txt"
    file.write_text("{% this is a template %}\n")
    namespace: dict[str, Any] = {}
    exec(compile("def f():\n    return 1\n", str(file), "exec"), namespace)
    assert digest(made("def f():\n    return 1\n")) == digest(namespace["f"])


# --- classes, modules, values ----------------------------------------------------------------------------

CLASSES = """class f:
    factor = 2
    def scale(self, x):
        return self.factor * x

def make():
    class Inner:
        '''
Text at the margin.
        '''
        factor = 4
    return Inner
inner = make()
bound = f().scale
"""


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("f", "factor = 2", "factor = 3"),
        ("f", "* x", "+ x"),
        ("inner", "factor = 4", "factor = 5"),
        ("bound", "* x", "+ x"),
    ],
)
def test_a_change_inside_a_class_is_noticed(name: str, old: str, new: str, digest_of: Callable[..., str]) -> None:
    """The fingerprint of a class or a method is that of its text, wherever it is defined."""
    assert digest_of(CLASSES, name) != digest_of(CLASSES.replace(old, new), name)


def test_comments_in_a_class_do_not_matter(digest_of: Callable[..., str]) -> None:
    """Classes are compared like functions."""
    assert digest_of(CLASSES) == digest_of(CLASSES.replace("    factor = 2", "    # two\n    factor = 2"))


def test_a_module_stands_for_all_of_its_text(tmp_path: Path) -> None:
    """Any change but comments and layout in a module is a change of it."""
    texts = ["x = 1\n", "x = 1  # one\n", "x = 2\n"]
    one, commented, two = [digest(module_of(text, tmp_path)) for text in texts]
    assert (one, True) == (commented, one != two)


def test_plain_values_are_compared_by_value() -> None:
    """Equal values have one fingerprint; others, and equal ones of other types, have theirs."""
    assert len({digest(value) for value in ([1, 2], [2, 1], (1, 2), [1, 2.0], [1, 2])}) == 4


# --- what a process sees of its own modules ---------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Return a function that writes modules into a folder from which they can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "modules", sys.modules)

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    return write


def test_editing_a_helper_after_the_import_has_no_effect(project: Callable[[dict[str, str]], None]) -> None:
    """What counts is the code that is loaded, not what its file says by now."""
    project({"user_1": "import helper_1\ndef f(): return helper_1.g()\n", "helper_1": "def g(): return 1\n"})
    user = importlib.import_module("user_1")
    expected, late = Tracker(user.f).code(), Tracker(user.f)
    project({"user_1": "# edited\n\n\n\n\n", "helper_1": "def g(): return 2\n"})
    assert [expected, expected] == [late.code(), Tracker(user.f).code()]


def test_reloading_a_helper_after_an_edit_is_noticed(project: Callable[[dict[str, str]], None]) -> None:
    """A module that is loaded again has its new text; what was looked at before stays as it was."""
    project({"user_2": "import helper_2\ndef f(): return helper_2.g()\n", "helper_2": "def g(): return 1\n"})
    user = importlib.import_module("user_2")
    tracker = Tracker(user.f)
    old = tracker.code()
    project({"helper_2": "def g(): return 22\n"})
    importlib.reload(sys.modules["helper_2"])
    new = Tracker(user.f).code()
    assert [("helper_2.g", "def g(): return 1", "def g(): return 22")] == [tuple(x) for x in new.changes_since(old)]
    assert old == tracker.code()


def test_a_task_made_after_an_edit_has_the_code_that_is_loaded(project: Callable[[dict[str, str]], None]) -> None:
    """A function that is made by loaded code, late, is not mistaken for what stands in its lines by now."""
    text = "def make():\n    def f():\n        return 1\n    return f\n"
    project({"user_3": text})
    user = importlib.import_module("user_3")
    expected = digest(user.make())
    project({"user_3": text.replace("return 1", "return 2")})
    assert expected == digest(user.make())


def test_a_notebook_is_looked_at_again(tmp_path: Path) -> None:
    """In an interactive session a helper that is defined again counts from the next run on, and cells have texts."""
    code = r"""
import json, linecache
from checkpoint.fingerprint import Tracker, look_again

In = []
def run_cell(text):
    name = f"<cell {len(In)}>"
    In.append(text)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), globals())

run_cell("def g(): return 1\nTABLE = [1]\nclass A:\n    x = 1\n    def m(self): return self.x\n")
run_cell("def f(): return g(), TABLE, A\n")
tracker = Tracker(f)
codes = [tracker.code()]
for cell in ["def g():\n    return 1  # the same\n", "def g(): return 2\n", "TABLE = [2]\n",
             "class A:\n    x = 2\n    def m(self): return self.x\n"]:
    run_cell(cell)
    same = tracker.code()
    look_again()
    codes.append(tracker.code())
    assert same == codes[-2]
print(json.dumps([[change.after for change in new.changes_since(old)] for old, new in zip(codes, codes[1:])]))
print(json.dumps([code.unseen for code in codes]))
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
                          capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    changes, unseen = map(json.loads, done.stdout.splitlines())
    after = "class A:\n    x = 2\n    def m(self): return self.x"
    assert [[], ["def g(): return 2"], ["TABLE = [2]"], [after]] == changes
    assert [[]] * 5 == unseen


def test_a_script_is_looked_at_once(project: Callable[[dict[str, str]], None]) -> None:
    """Outside of notebooks nothing is walked again: what a function uses is what it was at first."""
    project({"user_4": "RATE = 1\ndef f(): return RATE\n"})
    user = importlib.import_module("user_4")
    tracker = Tracker(user.f)
    code = tracker.code()
    user.RATE = 2
    look_again()
    assert code is tracker.code()


# --- what else a task depends on ---------------------------------------------------------------------------

HELPERS = "def g(): return 1\ndef h(): return 2\ndef f(): return 3\nclass A:\n    x = 1\n"


def code_of(module: ModuleType, *depends_on: object, version: str | None = None) -> Code:
    """Return the code of the function `f` of a module."""
    return Tracker(module.f, depends_on, version).code()


def test_what_a_task_depends_on_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, classes, modules and plain values that are named count with all that they use; their order doesn't."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    one, other = module_of(HELPERS, tmp_path), module_of(HELPERS.replace("return 2", "return 4"), tmp_path)
    things = (one.h, one.A, 3, "text", one.g, one, [1, 2])
    expected = code_of(one, *things)
    assert expected.fingerprint == code_of(one, *reversed(things)).fingerprint
    assert 1 == len({code_of(one, one.g).fingerprint, code_of(other, other.g).fingerprint})
    different = [(), (one.h,), (other.h,), (one.A,), (3,), (4,), (3.0,), (one,), (other,), (one.g, one.h)]
    assert len(different) == len({code_of(one, *things).fingerprint for things in different})
    assert () == expected.unseen


def test_a_pinned_version_stands_for_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a version the function isn't looked at, but what it depends on by name still is."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    one, other = module_of(HELPERS, tmp_path), module_of(HELPERS.replace("return ", "return 1 + "), tmp_path)
    assert code_of(one, version="1") == code_of(other, version="1")
    assert code_of(one, version="1").fingerprint != code_of(one, version="2").fingerprint
    assert code_of(one, one.g, version="1").fingerprint != code_of(other, other.g, version="1").fingerprint


# --- what changed --------------------------------------------------------------------------------------------


def made_of(*parts: tuple[str, str, dict[str, int]], number: int = FORMAT) -> Code:
    """Return a code with parts of some names and texts; a text's digest is of its letters, without blanks."""
    made = [Part(name, f"{number}{text.replace(' ', '')}", text, tuple(uses.items())) for name, text, uses in parts]
    return Code(tuple(made), (), "0", number)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([("f", "a", {})], [("f", "a", {})], []),
        ([("f", "a", {})], [("f", " a", {})], []),
        ([("f", "a", {})], [("f", "b", {})], ["f"]),
        ([("f", "a", {"g": 1}), ("g", "b", {})], [("f", "a", {"g": 1}), ("g", "c", {})], ["g"]),
        ([("f", "a", {"g": 1}), ("g", "b", {})], [("f", "c", {"g": 1}), ("g", "d", {})], ["f", "g"]),
        # what only one of the two has followed is no change by itself
        ([("f", "a", {})], [("f", "a", {"g": 1}), ("g", "b", {})], []),
        ([("f", "a", {"g": 1}), ("g", "b", {})], [("f", "a", {})], []),
        ([("f", "a", {"g": 1}), ("g", "b", {})], [("f", "c", {"h": 1}), ("h", "d", {})], ["f"]),
        # another function of the same text under a name, cycles, and one part that is used twice
        ([("f", "a", {"g": 1}), ("g", "b", {"f": 0})], [("f", "a", {"g": 1}), ("g", "c", {"f": 0})], ["g"]),
        ([("f", "a", {"g": 1, "h": 1}), ("g", "b", {})], [("f", "a", {"g": 1, "h": 1}), ("g", "c", {})], ["g"]),
        ([("f", "a", {"g": 1, "h": 1}), ("g", "b", {})], [("f", "a", {"g": 1, "h": 2}), ("g", "b", {}), ("h", "c", {})],
         ["h"]),
    ],
)  # fmt: skip
def test_the_pieces_that_changed(old: Any, new: Any, expected: list[str]) -> None:
    """Each differing pair of pieces is listed once, as it is reached by the names in the code."""
    assert expected == [change.name for change in made_of(*new).changes_since(made_of(*old))]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("x = 1", "x = 1", 0), ("x = 1", "x = (1)  # one", 0), ("x = 1", "x = 2", 1), ("no python", "no  python", 1)],
)
def test_codes_of_two_formats_are_compared_by_their_texts(before: str, after: str, expected: int) -> None:
    """A new format of fingerprints alone is no change of anybody's code."""
    changes = made_of(("x", after, {})).changes_since(made_of(("x", before, {}), number=FORMAT - 1))
    assert expected == len(changes)


def test_a_change_is_shown_as_a_difference() -> None:
    """The difference names the piece and has a line for each line that differs."""
    change = Change("pkg.g", "def g():\n    return 1", "def g():\n    return 2")
    expected = [
        "--- pkg.g (before)",
        "+++ pkg.g (now)",
        "@@ -1,2 +1,2 @@",
        " def g():",
        "-    return 1",
        "+    return 2",
    ]
    assert expected == change.diff().splitlines()
    assert ["+x = 1"] == Change("x", "", "x = 1").diff().splitlines()[3:]


def test_code_travels_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is what is read."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    code = code_of(module_of(HELPERS, tmp_path), 1, "é\ud800")
    assert code == Code.from_json(code.to_json())


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "3", "null", "[1,2,3,4]", '[1,"f",[],[]]', '[1,"f",[["a","b","c",[["g",1]]]],[]]',
     '[1,"f",[["a","b","c",[["g",-1]]]],[]]', '["x","f",[["a","b","c",[]]],[]]', "[" * 100_000],
)  # fmt: skip
def test_text_that_is_no_code_is_refused(text: str) -> None:
    """The error is always the same one."""
    with pytest.raises(ValueError, match="not the text of a fingerprint's code"):
        Code.from_json(text)


# --- what cannot be seen -----------------------------------------------------------------------------------

STRANGE = """
import functools, socket, sys, threading, types, unittest.mock

class Broken:
    def __getattr__(self, name): raise RuntimeError(name)
    def __repr__(self): raise RuntimeError
    def __eq__(self, other): raise RuntimeError
    __hash__ = None
    __class__ = property(lambda self: 1 / 0)
    __dict__ = property(lambda self: 1 / 0)

class Meta(type):
    def __getattr__(cls, name): raise RuntimeError(name)
    def __eq__(cls, other): raise RuntimeError
    def __hash__(cls): raise RuntimeError

class Strange(metaclass=Meta): pass
class Loop: pass
class Lazy(types.ModuleType):
    def __getattribute__(self, name): raise RuntimeError(name)

broken, lock, mock, lazy = Broken(), threading.Lock(), unittest.mock.MagicMock(), Lazy("lazy")
one, two = Loop(), Loop()
one.__wrapped__, two.__wrapped__ = two, one
itself = []
itself.append(itself)
nested = ()
deep = print
for number in range(2000):
    nested = (nested,)
    deep = functools.partial(deep, number)
def wrapped(): pass
wrapped.__wrapped__ = wrapped
empty = types.ModuleType("nowhere")
exec("def unwritten(x): return unwritten(x)")
sys.modules["nothing_there"] = None

def f():
    import nothing_there, nowhere_to_be_found.x as y
    from .... import z
    return (broken, Strange, lock, mock.x.y, lazy, lazy.x, one, two, itself, nested, deep, wrapped, empty.x, unwritten,
            nothing_there, y, z, undefined)
"""


def test_nothing_makes_it_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that break, loop or nest don't matter: their statements count, the same each time."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    module = module_of(STRANGE, tmp_path)
    codes = [Tracker(module.f).code() for _ in range(2)]
    assert codes[0] == codes[1]
    assert {"f", "broken", "Strange", "lock", "mock", "one", "itself", "nested", "wrapped", "unwritten"} <= {
        part.name.rpartition(".")[2] for part in codes[0].parts
    }
    assert ("lazy.x", "empty.x") == codes[0].unseen[-2:]
    for thing in vars(module).values():
        assert 32 == len(digest(thing))
        assert 32 == len(code_of(module, thing).fingerprint)


def test_a_function_that_lost_its_file_has_a_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the text is gone, what the code object holds is looked at, and what it uses is followed."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    text = "def g(): return 1\ndef f(): return g()\n"
    modules = [module_of(text, tmp_path), module_of(text, tmp_path), module_of(text.replace("1", "2"), tmp_path)]
    for module in modules:
        os.remove(str(module.__file__))
    linecache.clearcache()
    one, same, other = [digest(module.f) for module in modules]
    assert (one, True) == (same, one != other)


def test_what_cannot_be_seen_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thing that no statement binds, and that has no key, is listed with its type."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    text = (
        "import threading\nglobals()['lo' + 'ck'] = threading.Lock()\n"
        "def g(): return lock\ndef f(): return lock, g(), lock.acquire\n"
    )
    assert ("lock: _thread.lock",) == code_of(module_of(text, tmp_path)).unseen


def test_a_value_that_no_statement_binds_counts_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the text doesn't say what a global is, its value does."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    text = "globals()['ta' + 'ble'] = {'a': 1}\ndef f(): return table\n"
    one, other = code_of(module_of(text, tmp_path)), code_of(module_of(text.replace("1", "2"), tmp_path))
    assert ((), True) == (one.unseen, one.fingerprint != other.fingerprint)


# --- policy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_run", "of_task", "of_environment", "expected"),
    [
        (None, None, None, "warn"),
        (None, None, "ignore", "ignore"),
        (None, "rerun", "ignore", "rerun"),
        ("warn", "rerun", "ignore", "warn"),
        ("rerun", None, None, "rerun"),
    ],
)
def test_the_run_then_the_task_then_the_environment_decide(
    of_run: str | None, of_task: str | None, of_environment: str | None, expected: str
) -> None:
    """What changed code means is said by the nearest: run, task, environment, else "warn"."""
    assert expected == Policy(of_run, of_environment).resolve(of_task)


@pytest.mark.parametrize("setting", ["rerun", "warn", "ignore", ""])
def test_the_environment_is_read_when_needed(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$CP_ON_CHANGE` holds outside of runs; an empty one is none."""
    monkeypatch.setenv("CP_ON_CHANGE", setting)
    assert Policy(None, setting or None) == current_policy()


def test_an_unknown_setting_of_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable and what it may be."""
    monkeypatch.setenv("CP_ON_CHANGE", "rerunn")
    with pytest.raises(ValueError, match="CP_ON_CHANGE must be one of warn, rerun, ignore, not 'rerunn'"):
        current_policy()


def test_a_policy_holds_for_a_block() -> None:
    """After the block the one before is in force again, also after an error."""
    with pytest.raises(KeyError), policy_in_force(Policy("rerun", None)):
        raise KeyError
    assert Policy(None, None) == current_policy()


def test_a_policy_holds_in_its_own_thread_only() -> None:
    """Two threads may run under two policies."""
    seen: list[Policy] = []
    with policy_in_force(Policy("rerun", None)):
        thread = threading.Thread(target=lambda: seen.append(current_policy()))
        thread.start()
        thread.join()
    assert [Policy(None, None)] == seen
