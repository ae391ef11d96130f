"""Fingerprints: a digest of a function's own code that formatting, comments and docstrings don't change.

The text of the file is taken when the function is decorated (editing the file later doesn't matter to what runs)
and parsed only when a fingerprint is asked for, once per file. The digest is of a canonical walk of the syntax
tree, not of bytecode or `ast.dump`, so it is the same on every supported Python.
It never raises and is never random: without source it falls back to what the code object holds.

Must not know: tasks, stores. FORMAT changes whenever any function's digest changes.

Next: policy.py
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import linecache
import re
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, final

import xxhash

from checkpoint.errors import UnkeyableError
from checkpoint.keys import encode

__all__ = ["FORMAT", "Change", "Code", "Part", "Source", "Tracker", "digest", "look_again"]

#: Number of the fingerprint format; golden tests pin it.
FORMAT = 1

#: What differs in a `repr` from one process to the next.
_ADDRESS = re.compile(" at 0x[0-9a-fA-F]+")

_SKIPPED_FIELDS = {"ctx", "kind", "type_comment", "annotation", "returns", "lineno", "col_offset"}
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


@final
class Source:
    """The code of one function as it was when this object was made.

    Cost: one `stat` of the file when made (its lines are shared); parsing waits for `digest()`.
    """

    __slots__ = ("_code", "_digest", "_globals", "_lines")

    def __init__(self, function: Callable[..., Any]) -> None:
        plain = inspect.unwrap(function)
        self._code: types.CodeType | None = getattr(plain, "__code__", None)
        self._globals: dict[str, Any] = getattr(plain, "__globals__", {})
        self._lines: list[str] = []
        self._digest: str | None = None
        if self._code is not None:
            linecache.checkcache(self._code.co_filename)
            self._lines = linecache.getlines(self._code.co_filename, self._globals)

    def digest(self) -> str:
        """Return the fingerprint: 32 hex digits. The first call parses the file, later ones are free."""
        if self._digest is None:
            self._digest = _hexdigest(self._describe())
        return self._digest

    def _describe(self) -> str:
        if self._code is None:
            return "no code"
        node = _find(self._lines, self._code) if self._lines else None
        return _canonical(node, self._is_ours) if node is not None else _describe_code(self._code)

    def _is_ours(self, decorator: ast.expr) -> bool:
        """Tell whether a decorator is one of this package: options of a task are no part of its code."""
        expression = decorator.func if isinstance(decorator, ast.Call) else decorator
        names: list[str] = []
        while isinstance(expression, ast.Attribute):
            names.append(expression.attr)
            expression = expression.value
        if not isinstance(expression, ast.Name):
            return False
        found = self._globals.get(expression.id)
        for name in reversed(names):
            found = getattr(found, name, None)
        return str(getattr(found, "__module__", "")).partition(".")[0] == __package__


class Part(NamedTuple):
    name: str
    digest: str
    text: str
    uses: tuple[tuple[str, int], ...]


class Change(NamedTuple):
    name: str
    before: str
    after: str

    def diff(self) -> str:
        import difflib

        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), self.name, self.name, lineterm=""
        )
        return "\n".join(lines)


class Code(NamedTuple):
    parts: tuple[Part, ...]
    unseen: tuple[str, ...]
    fingerprint: str

    def to_json(self) -> str:
        return json.dumps([self.parts, self.unseen, self.fingerprint])

    @property
    def packages(self) -> tuple[str, ...]:
        return ()

    @classmethod
    def from_json(cls, text: str) -> Code:
        parts, unseen, fingerprint = json.loads(text)
        return cls(tuple(Part(*part) for part in parts), tuple(unseen), fingerprint)

    def changes_since(self, old: Code) -> list[Change]:
        own, before = self.parts[0], old.parts[0]
        return [Change(own.name, before.text, own.text)] if self.fingerprint != old.fingerprint else []


@final
class Tracker:
    def __init__(self, function: Any, depends_on: tuple[object, ...] = (), version: str | None = None) -> None:
        self._source = Source(function)
        self._name = function.__qualname__
        self._depends_on = depends_on
        self._version = version
        self._code: Code | None = None

    def code(self) -> Code:
        if self._code is None:
            pinned = self._version
            parts = [self._source.digest()] if pinned is None else [f"version {pinned}"]
            parts += [digest(getattr(thing, "__wrapped__", thing)) for thing in self._depends_on]
            mark = _hexdigest("".join(parts))
            self._code = Code((Part(self._name, parts[0], self._name, ()),), (), mark)
        return self._code


def look_again() -> None:
    pass


def digest(thing: object) -> str:
    """Return the fingerprint of a function, method, class, module, plain value, or of a `repr` (32 hex digits)."""
    thing = getattr(thing, "__func__", thing)
    if isinstance(thing, types.FunctionType):
        return Source(thing).digest()
    if isinstance(thing, (type, types.ModuleType)):
        try:
            source = inspect.getsource(thing)
            tree = ast.parse("if True:\n" + source if source[:1].isspace() else source)
            return _hexdigest(_canonical(tree, lambda node: False))
        except (OSError, TypeError, SyntaxError):
            return _hexdigest(f"{type(thing).__name__} {thing.__name__}")
    try:
        return _hexdigest(encode(thing))
    except UnkeyableError:
        return _hexdigest(_ADDRESS.sub("", repr(thing)))


def _hexdigest(text: str) -> str:
    return xxhash.xxh3_128_hexdigest(f"{FORMAT} {text}".encode("utf-8", "surrogatepass"))


# --- from a code object to its syntax tree ---------------------------------------------------------------


def _find(lines: list[str], code: types.CodeType) -> ast.AST | None:
    candidates = _functions_by_line("".join(lines)).get(code.co_firstlineno, [])
    named = [node for node in candidates if getattr(node, "name", "<lambda>") == code.co_name]
    if len(named) > 1:  # lambdas on one line: the code's own positions tell which
        named = [node for node in named if _is_made_from(node.body, code)][-1:]  # type: ignore[attr-defined]
    return named[0] if named else None


def _is_made_from(body: ast.expr, code: types.CodeType) -> bool:
    places = [(line, start) for line, _, start, end in code.co_positions() if line and start is not None and end]
    if places:
        end = (body.end_lineno or 0, body.end_col_offset or 0)
        return (body.lineno, body.col_offset) <= min(places) and max(places) <= end
    # Python 3.12 keeps no place where all that is done is to return a constant.
    return isinstance(body, ast.Constant) and _constant(body.value) == _constant(code.co_consts[-1])


@functools.lru_cache(maxsize=64)
def _functions_by_line(text: str) -> dict[int, list[ast.AST]]:
    found: dict[int, list[ast.AST]] = {}
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            decorators = getattr(node, "decorator_list", [])
            found.setdefault(min([node.lineno, *(item.lineno for item in decorators)]), []).append(node)
    return found


# --- from a syntax tree to text --------------------------------------------------------------------------


def _canonical(root: ast.AST, is_ours: Callable[[ast.expr], bool]) -> str:
    pieces: list[str] = []
    work: list[object] = [root]
    while work:
        item = work.pop()
        if isinstance(item, ast.AST):
            pieces.append(f"({type(item).__name__}")
            work.append(")")
            for name, value in reversed(list(_fields(item, is_ours))):
                work.append(value)
                work.append(f" {name}=")
        elif isinstance(item, list):
            work.extend(["]", *reversed(item), "["])
        elif isinstance(item, _Constant):
            pieces.append(f"{type(item.value).__name__}:{_constant(item.value)}")
        else:
            pieces.append(str(item))
    return "".join(pieces)


@final
class _Constant:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def _constant(value: object) -> str:
    if isinstance(value, frozenset):
        return repr(sorted(map(ascii, value)))
    return ascii(value)  # not repr: which characters that escapes depends on the Python version


def _fields(node: ast.AST, is_ours: Callable[[ast.expr], bool]) -> Iterator[tuple[str, object]]:
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED_FIELDS or value is None or value == []:
            continue
        if name == "decorator_list":
            value = [item for item in value if not is_ours(item)]
            if not value:
                continue
        elif name == "body" and isinstance(node, _DOCUMENTED):
            value = _without_docstring(value)
        elif name == "values" and isinstance(node, ast.JoinedStr):
            value = [part for part in value if getattr(part, "value", "x")]  # Python 3.12 adds empty texts
        yield name, value if isinstance(value, (ast.AST, list)) else _Constant(value)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_docstring else body


def _describe_code(code: types.CodeType) -> str:
    """Describe code without source by its instructions, too: another Python version then counts as a change."""
    names = (code.co_name, code.co_argcount, code.co_names, code.co_varnames)
    return repr((names, code.co_code.hex(), list(_constants(code.co_consts))))


def _constants(constants: Iterable[object]) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, types.CodeType):
            yield _describe_code(constant)
        elif constant is not None:
            yield f"{type(constant).__name__}:{_constant(constant)}"
