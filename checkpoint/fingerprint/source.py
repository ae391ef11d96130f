"""Source: the text of one file, and what single functions, classes and statements in it say.

A piece (a function, a class, the statements that bind a name) becomes a digest of a canonical walk of its syntax
tree: comments, layout, docstrings, annotations (but for the fields of a class) and this package's own decorators
don't count. It is no digest of bytecode or of `ast.dump`, so it is the same on every supported Python.
A file is parsed when first asked for something, once; a file that is no Python has no pieces.

Must not know: modules, values, other files.

Next: fingerprint/modules.py
"""

from __future__ import annotations

import ast
import functools
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, final

import xxhash

from checkpoint.fingerprint.names import FUNCTIONS, Import, Name, imports_of, names_bound, names_used

__all__ = ["File", "Piece", "describe_code", "digest_of_text", "hexdigest", "parse"]

_SKIPPED_FIELDS = {"ctx", "kind", "type_comment", "annotation", "returns", "lineno", "col_offset"}
_DOCUMENTED = (*FUNCTIONS, ast.ClassDef, ast.Module)
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)

#: Tells whether a decorator only sets options of this package.
IsOption = Callable[[ast.expr], bool]


class Piece(NamedTuple):
    """One piece of code: its digest (32 hex digits), its text for people, and the names that it takes from outside."""

    digest: str
    text: str
    names: tuple[Name, ...]


def hexdigest(text: str) -> str:
    """Return 32 hex digits for a text."""
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))


_parsing = threading.Lock()


def parse(text: str) -> ast.Module:
    """Return the syntax tree of a text, one thread at a time: CPython 3.11 cannot make two at once.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is no Python.

    Source: https://github.com/python/cpython/issues/106905
    """
    with _parsing:
        return ast.parse(text)


def dedented(text: str) -> str:
    """Return a text without the indentation that all its lines have; whitespace alone is no line."""
    if not text[:1].isspace() and not any(map(str.isspace, text.split("\n"))):
        return text  # the common case needs no import

    import textwrap

    return textwrap.dedent(text)


def _decoded(content: bytes) -> str:
    """Return the text of a source file."""
    if b"coding" not in b"".join(content.split(b"\n", 2)[:2]) and not content.startswith(b"\xef"):
        try:
            return content.decode().replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            pass
    import importlib.util

    return importlib.util.decode_source(content)


def digest_of_text(text: str) -> str:
    """Return the digest of a piece's text taken by itself, with all of its decorators."""
    try:
        return hexdigest(_canonical(parse(dedented(text)).body, lambda decorator: False))
    except _UNPARSABLE:
        return hexdigest(text)


@final
class File:
    """The text of a file as it was when this object was made.

    Cost: nothing when made; the first look parses all of it (about 20 us a line), each piece is digested once.
    """

    def __init__(self, content: bytes | str) -> None:
        self.content = content
        self._pieces: dict[tuple[int, ...], Piece] = {}
        self._names: dict[tuple[int, ...], list[Name]] = {}

    @functools.cached_property
    def lines(self) -> list[str]:
        """The lines of the text; empty where it cannot be decoded."""
        try:
            text = self.content if isinstance(self.content, str) else _decoded(self.content)
        except _UNPARSABLE:
            return []
        return text.split("\n")  # not splitlines: the tokenizer knows one end of a line only

    @functools.cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; empty where the text is no Python."""
        try:
            return parse("\n".join(self.lines))
        except _UNPARSABLE:
            return ast.Module([], [])

    def function(self, code: types.CodeType) -> ast.AST | None:
        """Return the syntax tree of the function that a code object was made from."""
        candidates = self._definitions[0].get(code.co_firstlineno, [])
        named = [node for node in candidates if getattr(node, "name", "<lambda>") == code.co_name]
        if len(named) > 1:  # lambdas on one line: the code's own positions tell which
            named = [node for node in named if _is_made_from(node.body, code)][-1:]  # type: ignore[attr-defined]
        return named[0] if named else None

    def class_named(self, qualname: str, lines: Iterable[int]) -> ast.ClassDef | None:
        """Return the class of a qualified name: of several the one that has one of the lines, else the last one."""
        found = self._definitions[1].get(qualname, [])
        marks = list(lines)
        for node in found:
            if any(node.lineno <= line <= (node.end_lineno or 0) for line in marks):
                return node
        return found[-1] if found else None

    @functools.cached_property
    def bindings(self) -> dict[str, list[list[ast.AST]]]:
        """For each name of the top level, the statements that bind or change it.

        Each comes with the heads (conditions, what is looped over) of the blocks around it in front of it.
        """
        found: dict[str, list[list[ast.AST]]] = {}
        for group in _statements(self.tree):
            for name in dict.fromkeys(name for node in group[-1:] for name in sorted(names_bound(node))):
                found.setdefault(name, []).append(group)
        return found

    @functools.cached_property
    def wildcards(self) -> list[Import]:
        """The modules of which all names are imported."""
        return [source for group in self.bindings.get("*", []) for _, source in imports_of(group[-1])]

    @functools.cached_property
    def rebound(self) -> frozenset[str]:
        """The names of the top level that functions rebind: what they hold depends on what was called before."""
        if not any("global" in line for line in self.lines):
            return frozenset()
        declared = [node.names for node in ast.walk(self.tree) if isinstance(node, ast.Global)]
        return frozenset(name for names in declared for name in names)

    def piece(self, nodes: list[ast.AST], is_option: IsOption) -> Piece:
        """Return what some nodes of this file say, taken together."""
        key = tuple(map(id, nodes))
        if key not in self._pieces:
            texts = [self._text(node) for node in nodes]
            digest = hexdigest(_canonical(nodes, is_option))
            self._pieces[key] = Piece(digest, "\n".join(texts), tuple(names_used(nodes, is_option)))
        return self._pieces[key]

    def names(self, nodes: list[ast.AST]) -> list[Name]:
        """Return the names that some nodes of this file take from outside, all decorators included."""
        key = tuple(map(id, nodes))
        if key not in self._names:
            self._names[key] = names_used(nodes, lambda decorator: False)
        return self._names[key]

    def _text(self, node: ast.AST) -> str:
        if isinstance(node, ast.Module):
            return "\n".join(self.lines)
        places = [node, *getattr(node, "decorator_list", [])]
        line, start = min((place.lineno, place.col_offset) for place in places)
        last, end = node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
        taken = self.lines[line - 1 : last]
        taken[-1] = taken[-1].encode()[:end].decode()
        before = taken[0].encode()[:start].decode()
        if before.strip() in ("", "@"):
            return dedented("\n".join(taken))
        return "\n".join([taken[0].encode()[start:].decode(), *taken[1:]])

    @functools.cached_property
    def _definitions(self) -> tuple[dict[int, list[ast.AST]], dict[str, list[ast.ClassDef]]]:
        functions: dict[int, list[ast.AST]] = {}
        classes: dict[str, list[ast.ClassDef]] = {}
        level: list[tuple[ast.AST, str]] = [(self.tree, "")]
        while level:  # level by level, like ast.walk
            below: list[tuple[ast.AST, str]] = []
            for node, path in level:
                inside = path
                if isinstance(node, ast.ClassDef):
                    classes.setdefault(path + node.name, []).append(node)
                    inside = f"{path}{node.name}."
                elif isinstance(node, (*FUNCTIONS, ast.Lambda)):
                    lines = [item.lineno for item in getattr(node, "decorator_list", [])]
                    functions.setdefault(min([node.lineno, *lines]), []).append(node)
                    inside = f"{path}{getattr(node, 'name', '<lambda>')}.<locals>."
                below.extend([(child, inside) for child in _children(node)])
            level = below
        return functions, classes


def _children(node: ast.AST) -> list[ast.AST]:
    """Return the nodes right below one, in order; in a third of the time that `ast.iter_child_nodes` takes."""
    found: list[ast.AST] = []
    for value in vars(node).values():
        if type(value) is list:
            found.extend([part for part in value if isinstance(part, ast.AST)])
        elif isinstance(value, ast.AST) and value._fields:  # what has none is `Load` and the like
            found.append(value)
    return found


def _is_made_from(body: ast.expr, code: types.CodeType) -> bool:
    places = [(line, start) for line, _, start, end in code.co_positions() if line and start is not None and end]
    if places:
        end = (body.end_lineno or 0, body.end_col_offset or 0)
        return (body.lineno, body.col_offset) <= min(places) and max(places) <= end
    # Python 3.12 keeps no place where all that is done is to return a constant.
    return isinstance(body, ast.Constant) and _constant(body.value) == _constant(code.co_consts[-1])


def _statements(tree: ast.Module) -> Iterator[list[ast.AST]]:
    """Yield the statements of the top level, also those in its blocks, each with the heads of the blocks around it."""
    work: list[tuple[ast.stmt, list[ast.AST]]] = [(node, []) for node in reversed(tree.body)]
    while work:
        node, heads = work.pop()
        blocks = [block for name in ("body", "orelse", "handlers", "finalbody") for block in getattr(node, name, [])]
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) or not blocks:
            yield [*heads, node]
            continue
        own = [getattr(node, name) for name in ("test", "target", "iter") if getattr(node, name, None) is not None]
        own += [part for item in getattr(node, "items", []) for part in (item.context_expr, item.optional_vars) if part]
        for head in own:
            yield [*heads, *(part for part in own if part is not head), head]
        inner: list[ast.stmt] = []
        for block in blocks:
            inner.extend(block.body if isinstance(block, ast.ExceptHandler) else [block])
        work.extend((block, [*heads, *own]) for block in reversed(inner))


# --- from a syntax tree to text --------------------------------------------------------------------------


def _canonical(roots: Sequence[ast.AST], is_option: IsOption) -> str:
    """Return a text of syntax trees. The own name of a function says nothing of what it does."""
    pieces: list[str] = []
    work: list[object] = list(reversed(roots))
    while work:
        item = work.pop()
        if isinstance(item, ast.AST):
            pieces.append(f"({type(item).__name__}")
            work.append(")")
            for name, value in reversed(list(_fields(item, is_option))):
                if name == "name" and isinstance(item, FUNCTIONS) and item in roots:
                    continue
                work.append(value)
                work.append(f" {name}=")
        elif isinstance(item, list):
            work.extend(["]", *reversed(item), "["])
        elif isinstance(item, _Field):
            work.extend([item.node, item.node.annotation])
        elif isinstance(item, _Constant):
            pieces.append(f"{type(item.value).__name__}:{_constant(item.value)}")
        else:
            pieces.append(str(item))
    return "".join(pieces)


class _Field(NamedTuple):
    """A statement of a class whose annotation counts."""

    node: ast.AnnAssign


@final
class _Constant:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def _constant(value: object) -> str:
    if isinstance(value, frozenset):
        return repr(sorted(map(ascii, value)))
    return ascii(value)  # not repr: which characters that escapes depends on the Python version


def _fields(node: ast.AST, is_option: IsOption) -> Iterator[tuple[str, object]]:
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED_FIELDS or value is None or value == []:
            continue
        if name == "decorator_list":
            value = [item for item in value if not is_option(item)]
            if not value:
                continue
        elif name == "body" and isinstance(node, _DOCUMENTED):
            value = _without_docstring(value)
            if isinstance(node, ast.ClassDef):
                value = [_Field(item) if isinstance(item, ast.AnnAssign) else item for item in value]
        elif name == "values" and isinstance(node, ast.JoinedStr):
            value = [part for part in value if getattr(part, "value", "x")]  # Python 3.12 adds empty texts
        yield name, value if isinstance(value, (ast.AST, list)) else _Constant(value)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_docstring else body


def describe_code(code: types.CodeType) -> str:
    """Describe code without source by its instructions, too: another Python version then counts as a change."""
    names = (code.co_name, code.co_argcount, code.co_names, code.co_varnames)
    return repr((names, code.co_code.hex(), list(_constants(code.co_consts))))


def _constants(constants: Iterable[object]) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, types.CodeType):
            yield describe_code(constant)
        elif constant is not None:
            yield f"{type(constant).__name__}:{_constant(constant)}"
