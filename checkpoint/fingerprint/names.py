"""Names: which names a piece of code takes from outside of it, by an analysis of scopes on its syntax tree.

Neither `symtable` nor the compiler's own lists are used: what those say of comprehensions differs between Pythons.
A name comes with the attributes that follow it (`np.linalg.svd`), and, if an import inside of the piece binds it,
with that import. Annotations count only as fields of a class. All walks are loops, so depth is no limit.

Must not know: files, modules, values.

Next: fingerprint/source.py
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, final

__all__ = ["FUNCTIONS", "Import", "Name", "imports_of", "names_bound", "names_used"]

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

#: Every module has these; what they hold belongs to the place of the code, not to what it does.
_OF_ANY_MODULE = frozenset({
    "__annotations__", "__builtins__", "__cached__", "__class__", "__debug__", "__dict__", "__doc__", "__file__",
    "__loader__", "__module__", "__name__", "__package__", "__path__", "__qualname__", "__spec__",
})  # fmt: skip


class Import(NamedTuple):
    """What an import takes: `from ..a import b` is ("a", 2, "b"), `import a.b as c` is ("a.b", 0, None)."""

    module: str
    level: int
    name: str | None


class Name(NamedTuple):
    """A name with its attributes, and the imports inside of the piece that bind it (none: it comes from outside)."""

    chain: tuple[str, ...]
    imports: tuple[Import, ...]


def names_used(nodes: list[ast.AST], is_option: Callable[[ast.expr], bool]) -> list[Name]:
    """Return the names that code loads and that it doesn't bind itself, in order of first appearance.

    A function or a class may name itself: what it binds in the scope around it hides nothing. Statements bind for
    themselves. Decorators for which `is_option` is true are left out.
    """
    analysis = _Analysis(is_option)
    hides = not isinstance(nodes[0], (*FUNCTIONS, ast.ClassDef, ast.Lambda)) if len(nodes) == 1 else True
    analysis.walk(nodes)
    found: dict[Name, None] = {}
    for scope, chain in analysis.loads:
        name = chain[0]
        owner = scope.owner_of(name)
        if not _OF_ANY_MODULE.isdisjoint(chain[:2]):
            continue
        if owner is analysis.root and not (hides and name in owner.bound):
            found[Name(chain, ())] = None
        elif name in owner.imports:
            found[Name(chain, tuple(owner.imports[name]))] = None
    return list(found)


def names_bound(node: ast.AST) -> set[str]:
    """Return the names that a statement binds, or changes in place, in the scope where it stands."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return {node.name}
    analysis = _Analysis(lambda decorator: False)
    analysis.walk([node])
    return analysis.root.bound | set(_changed(node))


def imports_of(node: ast.AST) -> Iterator[tuple[str, Import]]:
    """Yield what an import statement binds, and from where; "*" for everything."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (
                alias.asname or alias.name.partition(".")[0],
                Import(alias.name if alias.asname else alias.name.partition(".")[0], 0, None),
            )
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, Import(node.module or "", node.level, alias.name)


def _changed(node: ast.AST) -> Iterator[str]:
    """Yield the names whose items or attributes a statement sets, or of which it calls a method."""
    if isinstance(node, ast.Assign):
        targets: list[ast.expr] = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target]
    elif isinstance(node, ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets = [node.value.func]
    else:
        return
    for target in targets:
        inner = target
        while isinstance(inner, (ast.Attribute, ast.Subscript)):
            inner = inner.value
        if isinstance(inner, ast.Name) and inner is not target:
            yield inner.id


@final
class _Scope:
    __slots__ = ("bound", "elsewhere", "globals", "imports", "is_class", "is_comprehension", "parent")

    def __init__(self, parent: _Scope | None, *, is_class: bool = False, is_comprehension: bool = False) -> None:
        self.parent = parent
        self.is_class = is_class
        self.is_comprehension = is_comprehension
        self.bound: set[str] = set()
        self.imports: dict[str, list[Import]] = {}
        self.globals: set[str] = set()
        self.elsewhere: set[str] = set()  # declared nonlocal

    def owner_of(self, name: str) -> _Scope:
        """Return the scope in which a name is looked up from here; the root for what no inner one binds."""
        scope = self
        is_global = False
        while scope.parent is not None:
            is_global = is_global or name in scope.globals
            is_visible = scope is self or not scope.is_class
            if not is_global and is_visible and name in scope.bound and name not in scope.elsewhere:
                return scope
            scope = scope.parent
        return scope


@final
class _Analysis:
    """One walk over some nodes: the scopes in them, and every load with the scope where it happens."""

    def __init__(self, is_option: Callable[[ast.expr], bool]) -> None:
        self.root = _Scope(None)
        self.loads: list[tuple[_Scope, tuple[str, ...]]] = []
        self._is_option = is_option
        self._work: list[tuple[ast.AST, _Scope]] = []

    def walk(self, nodes: Iterable[ast.AST]) -> None:
        """Go through nodes in the order of their text."""
        self._push(nodes, self.root)
        while self._work:
            node, scope = self._work.pop()
            visit = _VISITS.get(type(node))
            if visit is None:
                self._push(ast.iter_child_nodes(node), scope)
            else:
                visit(self, node, scope)

    def _push(self, nodes: Iterable[ast.AST | None], scope: _Scope) -> None:
        self._work.extend([(node, scope) for node in reversed(list(nodes)) if node is not None])

    def _name(self, node: ast.Name, scope: _Scope) -> None:
        if isinstance(node.ctx, ast.Load):
            self.loads.append((scope, (node.id,)))
        else:
            scope.bound.add(node.id)

    def _attribute(self, node: ast.Attribute, scope: _Scope) -> None:
        chain: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self.loads.append((scope, (inner.id, *reversed(chain))))
        else:
            self._push([inner], scope)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: _Scope) -> None:
        inner = _Scope(scope)
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        inner.bound.update(argument.arg for argument in every if argument is not None)
        if isinstance(node, ast.Lambda):
            self._push([node.body], inner)
            self._push([*arguments.defaults, *arguments.kw_defaults], scope)
            return
        scope.bound.add(node.name)
        inner.bound.update(_type_parameters(node))
        self._push(node.body, inner)
        self._push([*self._decorators(node), *arguments.defaults, *arguments.kw_defaults], scope)

    def _class(self, node: ast.ClassDef, scope: _Scope) -> None:
        scope.bound.add(node.name)
        around = _Scope(scope)
        around.bound.update(_type_parameters(node))
        inner = _Scope(around, is_class=True)
        self._push(node.body, inner)
        self._push([*node.bases, *node.keywords], around)
        self._push(self._decorators(node), scope)

    def _decorators(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[ast.expr]:
        return [item for item in node.decorator_list if not self._is_option(item)]

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, scope: _Scope) -> None:
        inner = _Scope(scope, is_comprehension=True)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for index, part in reversed(list(enumerate(node.generators))):
            self._push([part.target, *([part.iter] if index else []), *part.ifs], inner)
        self._push(results, inner)
        self._push([node.generators[0].iter], scope)

    def _walrus(self, node: ast.NamedExpr, scope: _Scope) -> None:
        owner = scope
        while owner.is_comprehension and owner.parent is not None:
            owner = owner.parent
        owner.bound.add(node.target.id)
        self._push([node.value], scope)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
        for name, source in imports_of(node):
            scope.bound.add(name)
            scope.imports.setdefault(name, []).append(source)

    def _global(self, node: ast.Global, scope: _Scope) -> None:
        scope.globals.update(node.names)

    def _nonlocal(self, node: ast.Nonlocal, scope: _Scope) -> None:
        scope.elsewhere.update(node.names)

    def _handler(self, node: ast.ExceptHandler, scope: _Scope) -> None:
        if node.name:
            scope.bound.add(node.name)
        self._push([node.type, *node.body], scope)

    def _capture(self, node: ast.MatchAs | ast.MatchStar, scope: _Scope) -> None:
        if node.name:
            scope.bound.add(node.name)
        self._push(ast.iter_child_nodes(node), scope)

    def _mapping(self, node: ast.MatchMapping, scope: _Scope) -> None:
        if node.rest:
            scope.bound.add(node.rest)
        self._push(ast.iter_child_nodes(node), scope)

    def _annotated(self, node: ast.AnnAssign, scope: _Scope) -> None:
        self._push([node.target, node.annotation if scope.is_class else None, node.value], scope)


def _type_parameters(node: ast.AST) -> list[str]:
    return [parameter.name for parameter in getattr(node, "type_params", ())]


_VISITS: dict[type[ast.AST], Callable[..., None]] = {
    ast.Name: _Analysis._name,
    ast.Attribute: _Analysis._attribute,
    ast.FunctionDef: _Analysis._function,
    ast.AsyncFunctionDef: _Analysis._function,
    ast.Lambda: _Analysis._function,
    ast.ClassDef: _Analysis._class,
    ast.ListComp: _Analysis._comprehension,
    ast.SetComp: _Analysis._comprehension,
    ast.DictComp: _Analysis._comprehension,
    ast.GeneratorExp: _Analysis._comprehension,
    ast.NamedExpr: _Analysis._walrus,
    ast.Import: _Analysis._import,
    ast.ImportFrom: _Analysis._import,
    ast.Global: _Analysis._global,
    ast.Nonlocal: _Analysis._nonlocal,
    ast.ExceptHandler: _Analysis._handler,
    ast.MatchAs: _Analysis._capture,
    ast.MatchStar: _Analysis._capture,
    ast.MatchMapping: _Analysis._mapping,
    ast.AnnAssign: _Analysis._annotated,
}
