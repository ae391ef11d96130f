"""Source and names: what one piece of code says, and which names it takes from outside."""

from __future__ import annotations

import ast
import copy
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from checkpoint.fingerprint.names import Import, names_used
from checkpoint.fingerprint.source import File, Piece


def piece(text: str, name: str = "f") -> Piece:
    """Return what the statements that bind a name in a text say."""
    file = File(text)
    nodes = {id(node): node for group in file.bindings[name] for node in group}
    return file.piece(list(nodes.values()), lambda decorator: ast.unparse(decorator).startswith("task"))


def chains(text: str, name: str = "f") -> list[str]:
    """Return the names that a piece takes from outside."""
    return [".".join(found.chain) for found in piece(text, name).names]


# --- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(a, /, b=c, *d, e=g, **h): return a, b, d, e, h, i", ["c", "g", "i"]),
        ("def f(): return np.linalg.svd(x.y).T", ["np.linalg.svd", "x.y"]),
        ("def f(): return a().b[c].d", ["a", "c"]),
        ("def f(): mod.rate = 3", ["mod.rate"]),
        ("def f(): return b, a, b", ["b", "a"]),
        ("def f(): return f", ["f"]),
        ("def f(x: A) -> B: y: C = d; return y", ["d"]),
        ("def f():\n    x = a\n    return x", ["a"]),
        ("def f():\n    x += 1", []),
        ("def f():\n    for x, (y, *z) in a: g(x, y, z)\n    else: h(x)", ["a", "g", "h"]),
        ("def f():\n    with a as b, c as (d, e[g]): b, d", ["a", "c", "e", "g"]),
        (
            "def f():\n    try: a\n    except b as c: c\n    except* d: e".replace("except*", "except"),
            ["a", "b", "d", "e"],
        ),
        (
            "def f():\n    match a:\n        case [b, *c] | {'k': d, **e}: b, c, d, e\n        case G(h=i) as j: i, j",
            ["a", "G"],
        ),
        ("def f(): return (y := a) and y", ["a"]),
        ("def f(): return [y for x in a if (y := x)] and y", ["a"]),
        ("def f(): return [x for x in x]", ["x"]),
        ("def f(): return {a: b for a, c in d for b in c if e}", ["d", "e"]),
        ("def f(): return (lambda x, y=b: x + y + c)", ["b", "c"]),
        ("def f():\n    def g(x): return x, y\n    y = 1\n    return g", []),
        ("def f():\n    @a\n    def g(x=b): return c\n    return g", ["a", "b", "c"]),
        ("def f():\n    global x\n    x = 1\n    return x", ["x"]),
        ("def f():\n    x = 1\n    def g():\n        global x\n        return x", ["x"]),
        ("def f():\n    x = 1\n    def g():\n        nonlocal x\n        x = x + 1", []),
        ("def f():\n    del x", []),
        ("@task(a)\ndef f(): pass", []),
        ("@other(a)\ndef f(): pass", ["other", "a"]),
        ("async def f():\n    async with a as b:\n        return [c async for c in b]", ["a"]),
        ("def f(): return f'{a:{b}} {c!r}'", ["a", "b", "c"]),
        ("def f(): return __name__, __file__, mod.__name__", []),
        ("def f(): return super().x, __class__", ["super"]),
        ("class f(A, metaclass=B):\n    c: D = e\n    def m(self): return self.c, c", ["A", "B", "D", "e", "c"]),
        ("class f:\n    x = a\n    y = x\n    def m(self, z=x): return x", ["a", "x"]),
        ("class f:\n    x = [1]\n    y = [x for _ in x]", ["x"]),
        ("f = lambda x: x + a", ["a"]),
        ("f, b = a, c", ["a", "c"]),
        ("f = {}\nf[a] = b\nf.add(c)\nother.add(f)", ["a", "b", "c"]),
        ("for f in a: b", ["a"]),
        ("if a:\n    f = b\nelse:\n    f = c", ["a", "b", "c"]),
        ("with a as f: b", ["a"]),
        ("try:\n    f = a\nexcept E:\n    f = b", ["a", "b"]),
    ],
)
def test_names_taken_from_outside(text: str, expected: list[str]) -> None:
    """A name counts where the code loads it and doesn't bind it itself, in order of first appearance."""
    assert expected == chains(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f():\n    import a.b\n    return a.b.c()", [(("a", "b", "c"), (Import("a", 0, None),))]),
        ("def f():\n    import a.b as d\n    return d.c()", [(("d", "c"), (Import("a.b", 0, None),))]),
        ("def f():\n    from ..a import b as c\n    return c.d", [(("c", "d"), (Import("a", 2, "b"),))]),
        ("def f():\n    from . import b\n    def g(): return b", [(("b",), (Import("", 1, "b"),))]),
        ("def f():\n    import a", []),
        (
            "def f():\n    try: import a as x\n    except E: import b as x\n    return x",
            [(("E",), ()), (("x",), (Import("a", 0, None), Import("b", 0, None)))],
        ),
    ],
)
def test_names_that_an_import_inside_binds(text: str, expected: list[Any]) -> None:
    """They come with what they are imported from."""
    assert expected == list(piece(text).names)


def test_depth_is_no_limit() -> None:
    """The walk over a syntax tree is a loop, so a long chain of operators or calls is no trouble."""
    tree: ast.expr = ast.Name("a", ast.Load())
    for number in range(5000):
        tree = ast.BinOp(tree, ast.Add(), ast.Name(f"b{number}", ast.Load()))
    assert 5001 == len(names_used([tree], lambda decorator: False))


# --- text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class A:\n    @a\n    def f(self):\n        # why\n        return 1\n", "def f"),
        ("x = 1; f = 2  # two", "f = 2"),
        ("é = 'ü'; f = [\n    2,\n]", "f = [\n    2,\n]"),
        ("@task\n@a\ndef f():\n    return 1\n\n\nx = 1", "@task\n@a\ndef f():\n    return 1"),
        ("if a:\n    f = 1", "a\nf = 1"),
    ],
)
def test_the_text_of_a_piece(text: str, expected: str) -> None:
    """People see it as it stands in the file, without what is around it."""
    if text.startswith("class"):
        assert text.strip() == piece(text, "A").text
    else:
        assert expected == piece(text).text


def test_a_file_that_is_no_python_has_no_pieces() -> None:
    """Neither text that can't be parsed nor bytes that are no text do harm."""
    for content in ("{% template %}", b"\xff\xfe\x00", "", b"# coding: nonsense\n"):
        assert {} == File(content).bindings


def test_bytes_are_decoded_as_they_declare() -> None:
    """The encoding is that of the file's own first lines, and line ends don't matter."""
    text = "# coding: latin-1\ndef f():\n    return 'é'\n"
    expected = File(text).piece(list(File(text).tree.body), lambda decorator: False).digest
    file = File(text.replace("\n", "\r\n").encode("latin-1"))
    assert expected == file.piece(list(file.tree.body), lambda decorator: False).digest


# --- random programs ---------------------------------------------------------------------------------------------

PROGRAM = '''
@decorate(1, key="k")
def f(a, b=2, *args, c=3.5, **options):
    """Say something."""
    total = a + b * 4 - len(args) // 5
    for index, item in enumerate(options):
        if item > 6 and not index == 7 or item is None:
            total += -item ** 8
        elif "text" in item:
            continue
    while total < 9 <= b:
        total -= 1 if a else 0
    try:
        value = [x * 10 for x in args if x % 11] + [*args[1:2]]
    except (KeyError, ValueError) as error:
        raise TypeError(f"{error!r:>12} {total}") from error
    else:
        value = {"a": True, **options, b"b": lambda y: y | 13 ^ 14}
    return value, total, None
'''


_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult,
    ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr, ast.Gt: ast.GtE, ast.Lt: ast.LtE,
    ast.LtE: ast.Lt, ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.In: ast.NotIn, ast.And: ast.Or, ast.Or: ast.And,
    ast.Not: ast.Invert, ast.USub: ast.UAdd,
}  # fmt: skip


class _Shift(ast.NodeTransformer):
    """Change one constant or operator of a tree: the one of a number."""

    def __init__(self, number: int) -> None:
        self.left = number

    def visit(self, node: ast.AST) -> Any:
        is_constant = isinstance(node, ast.Constant)
        if is_constant or type(node) in _OPERATORS:
            self.left -= 1
            if self.left == -1:
                return _other(node) if isinstance(node, ast.Constant) else _OPERATORS[type(node)]()
        return self.generic_visit(node)


def _other(node: ast.Constant) -> ast.Constant:
    if node.value is None or isinstance(node.value, bool):
        return ast.Constant(not node.value)
    return ast.Constant(
        node.value + (b"!" if isinstance(node.value, bytes) else "!" if isinstance(node.value, str) else 1)
    )


def _without_docstring(text: str) -> ast.Module:
    tree = ast.parse(text)
    del tree.body[0].body[0]  # type: ignore[attr-defined]
    return tree


def test_each_operator_and_each_constant_matters() -> None:
    """Changing any single one of them changes the digest."""
    tree, digests = _without_docstring(PROGRAM), []
    for number in range(46):
        shift = _Shift(number)
        changed = ast.fix_missing_locations(shift.visit(copy.deepcopy(tree)))
        assert shift.left < 0
        digests.append(piece(ast.unparse(changed)).digest)
    assert piece(PROGRAM).digest not in digests


@given(data=st.data())
def test_layout_never_matters(data: st.DataObject) -> None:
    """Blank lines, comments, docstrings, other quotes, brackets and indentation don't change the digest."""
    text = PROGRAM
    if data.draw(st.booleans(), "written anew"):
        text = ast.unparse(ast.parse(text)) + "\n"
    if data.draw(st.booleans(), "without docstring"):
        text = ast.unparse(_without_docstring(text)) + "\n"
    if data.draw(st.booleans(), "indented by tabs"):
        text = text.replace("    ", "\t")
    lines = text.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(0, 8), "comments")):
        place = data.draw(st.integers(0, len(lines)), "line")
        lines.insert(place, data.draw(st.sampled_from(["\n", "# why\n", "      # 'why\n", "   \n"]), "comment"))
    text = "".join(lines)
    text = text.replace("len(args)", data.draw(st.sampled_from(["len(args)", "(len( args ))", "(\n len\n(args))"])))
    assert piece(PROGRAM).digest == piece(text).digest
