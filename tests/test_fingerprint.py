"""Fingerprints: what changes them, what doesn't, and what a change means."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import linecache
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from checkpoint import fingerprint
from checkpoint.fingerprint import Tracker, digest
from checkpoint.policy import Policy, current_policy, policy_in_force

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


def test_a_function_is_what_it_does_and_not_its_name(digest_of: Callable[..., str]) -> None:
    """The function's own name is no part of its code, but where it uses it; names of functions inside of it are."""
    assert digest_of(BASE) == digest_of(BASE.replace("def f", "def g"), "g")
    inner = "def f():\n    def inner():\n        return 1\n    return inner.__name__\n"
    assert digest_of(inner) != digest_of(inner.replace("def inner", "def other"))


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
    command = [sys.executable, "-c", code, str(Path(fingerprint.__file__).parent.parent)]
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
