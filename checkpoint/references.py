"""References: from a function to the code that it uses, through helpers, classes, constants and imports.

A name is followed to what it holds now: closure first, then globals. Imports inside of functions are followed by the
text of the files alone, so it makes no difference what happens to be loaded. What is found becomes a part, in
breadth-first order; other distributions are parts by name and version, builtins and the standard library are none.
Nothing of the user's runs: no import, no `__getattr__`, no `repr`. What can't be seen is named in `unseen`.

Must not know: tasks (but for how to recognise one), stores.

Next: fingerprint.py
"""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, final

from checkpoint.errors import UnkeyableError
from checkpoint.keys import encode, module_name
from checkpoint.modules import (
    Found,
    Owner,
    distribution,
    file_of,
    find,
    namespace,
    owner_of_file,
    owner_of_module,
    top_level,
)
from checkpoint.names import FUNCTIONS, Import, Name, imports_of
from checkpoint.source import File, Piece, describe_code, hexdigest

__all__ = ["Part", "Walk"]

#: Instead of the number of a part: there is nothing to follow.
_STOP = -1

#: Values up to this many bytes are described by themselves, longer ones by the statement that makes them.
_SMALL = 1024

_ATOMS = (type(None), bool, int, float, complex, str, bytes)


class Part(NamedTuple):
    """One piece of code that was followed.

    Attributes: `name` for people; `digest` of its own text alone; `text` to compare; `uses`, the names that it uses
    with the number of the part each stands for, in order of first appearance.
    """

    name: str
    digest: str
    text: str
    uses: tuple[tuple[str, int], ...]


class _Place(NamedTuple):
    """Where names are looked up: live in dicts, or, where `names` is None, in the text of a file."""

    module: str
    package: str
    file: File | None
    names: Mapping[str, Any] | None
    cells: Mapping[str, Any]


@final
class _Draft:
    __slots__ = ("digest", "extra", "name", "names", "place", "text", "uses")

    def __init__(self, name: str, digest: str, text: str) -> None:
        self.name, self.digest, self.text = name, digest, text
        self.place: _Place | None = None
        self.names: Iterable[Name] = ()
        self.extra: list[tuple[str, Any]] = []
        self.uses: dict[tuple[str, int], None] = {}


@final
class Walk:
    """One walk over what some things use. Cost: about 30 us a part whose file is parsed already."""

    def __init__(self) -> None:
        self.unseen: dict[str, None] = {}
        self._drafts: list[_Draft] = []
        self._indices: dict[tuple[Any, ...], int] = {}
        self._alive: list[object] = []  # what is in _indices by its id

    def parts(self) -> tuple[Part, ...]:
        """Follow everything that was added, and return all parts."""
        done = 0
        while done < len(self._drafts):
            draft = self._drafts[done]
            for label, value in draft.extra:
                self._note(draft, label, self.thing(label, value))
            for name in draft.names:
                self._note_name(draft, name)
            done += 1
        return tuple(Part(draft.name, draft.digest, draft.text, tuple(draft.uses)) for draft in self._drafts)

    def _note_name(self, draft: _Draft, name: Name) -> None:
        place = draft.place
        if place is None:
            return
        if name.imports:
            found = [self._imported(source, place.package, name.chain[1:]) for source in name.imports]
        elif place.names is not None:
            found = [self._live(place, name.chain)]
        else:
            found = [self._in_text(place, name.chain[0], name.chain[1:])]
        for index, rest in found:
            self._note(draft, ".".join(name.chain[: len(name.chain) - len(rest)]), index)

    def _note(self, draft: _Draft, label: str, index: int | None) -> None:
        if index is not None and index != _STOP:
            draft.uses[label, index] = None

    # --- parts ---

    def add(self, name: str, digest: str, text: str, *key: Any) -> int:
        """Add a part that uses nothing, or return the number of the one with this key."""
        return self._add(key or ("plain", name, digest), name, Piece(digest, text, ()), None)

    def _add(self, key: tuple[Any, ...], name: str, piece: Piece, place: _Place | None) -> int:
        if key in self._indices:
            return self._indices[key]
        draft = _Draft(name, piece.digest, piece.text)
        draft.names, draft.place = piece.names, place
        self._drafts.append(draft)
        self._indices[key] = len(self._drafts) - 1
        return len(self._drafts) - 1

    def use(self, index: int, label: str, value: object) -> None:
        """Let a part use a thing, too."""
        self._drafts[index].extra.append((label, value))

    def root(self, function: Callable[..., Any]) -> int:
        """Add a function as it is under its wrappers, whosever it is, and the wrappers as what it uses."""
        layers = [function]
        while isinstance(inner := _wrapped(layers[-1]), types.FunctionType) and inner not in layers:
            layers.append(inner)
        innermost = layers.pop()
        if not isinstance(innermost, types.FunctionType):
            return self.add("no code", hexdigest("no code"), "")
        index = self._function(innermost)
        for layer in layers:
            self.use(index, "wrapped by", layer)
        return index

    # --- live things ---

    def thing(self, label: str, value: Any, home: tuple[_Place, str] | None = None) -> int | None:
        """Add what a value is made of. `home` is the module, and the name in it, where the value was found."""
        kind = type(value)
        if task := task_name(value):
            return self.add(f"task {task}", hexdigest(f"task {task}"), f"task {task}")
        if issubclass(kind, enum.Enum):
            return self._class(kind.__name__, kind, None)
        if is_small(value) and not (home and home[0].file and home[1] in home[0].file.rebound):
            return self.add(label, hexdigest(encode(value)), f"{label} = {_shown(value)}")
        if kind is types.FunctionType:
            return self._function_or_distribution(label, value, home)
        if issubclass(kind, type):
            return self._class(label, value, home)
        if issubclass(kind, types.ModuleType):
            return self._module(label, namespace(value).get("__name__", label))
        if kind is types.MethodType:
            owner = value.__self__ if isinstance(value.__self__, type) else type(value.__self__)
            return self._group(label, "method", value, [("__func__", value.__func__), ("__self__", owner)])
        if kind is functools.partial:
            parts = [("func", value.func), *enumerate(value.args), *value.keywords.items()]
            return self._group(label, "functools.partial", value, [(str(name), part) for name, part in parts])
        if (inner := _wrapped(value)) is not None and inner is not value:
            return self.thing(label, inner, home)
        return self._statement(home[0], home[1], label, value) if home else self._opaque(label, value)

    def _group(self, label: str, kind: str, value: object, uses: list[tuple[str, Any]]) -> int:
        known = len(self._drafts)
        index = self._add(("object", id(value)), label, Piece(hexdigest(kind), f"{label}: {kind}", ()), None)
        self._alive.append(value)
        if index == known:
            self._drafts[index].extra.extend(uses)
        return index

    def _opaque(self, label: str, value: object) -> int:
        """Add a value that stands in no statement: by its key, if it can have one."""
        text = f"{label}: {type(value).__module__}.{type(value).__qualname__}"
        try:
            return self.add(label, hexdigest(encode(value)), text)
        except UnkeyableError:
            self.unseen[text] = None
        return self.add(label, hexdigest(f"unseen {type(value).__qualname__}"), text)

    def _function_or_distribution(
        self, label: str, function: types.FunctionType, home: tuple[_Place, str] | None
    ) -> int | None:
        path = function.__code__.co_filename
        module = _text(function.__globals__.get("__name__"))
        owner = owner_of_module(module) if path.startswith("<") and module else owner_of_file(path)
        if owner == "project":
            return self._function(function)
        inner = _wrapped(function)
        index = self.thing(label, inner, home) if inner is not None else None
        return index if index is not None and index != _STOP else self._foreign(owner, module)

    def _function(self, function: types.FunctionType) -> int:
        key = ("object", id(function))
        if key in self._indices:
            return self._indices[key]
        self._alive.append(function)
        code, names = function.__code__, function.__globals__
        place = _place_of(names, _cells(function))
        file = file_of(code.co_filename, names)
        node = file.function(code)
        if node is not None:
            piece = file.piece([node], _options_of(place))
        else:
            piece = Piece(hexdigest(describe_code(code)), f"{code.co_qualname}: no source", _names_in(code))
        name = f"{module_name(_text(names.get('__name__')))}.{code.co_qualname}"
        index = self._add(key, name, piece, place)
        if (inner := _wrapped(function)) is not None:
            self.use(index, "__wrapped__", inner)
        return index

    def _class(self, label: str, cls: type, home: tuple[_Place, str] | None) -> int | None:
        key = ("object", id(cls))
        if key in self._indices:
            return self._indices[key]
        module = _text(cls.__module__)
        owner = owner_of_module(module)
        if owner != "project":
            return self._foreign(owner, module)
        methods = list(_methods(cls))
        names = methods[0].__globals__ if methods else _names_of(module)
        cells = {name: value for method in methods for name, value in _cells(method).items()}
        place = _place_of(names, cells)
        paths = dict.fromkeys([_text(names.get("__file__")), *(method.__code__.co_filename for method in methods)])
        for path in filter(None, paths):
            lines = [method.__code__.co_firstlineno for method in methods if method.__code__.co_filename == path]
            file = file_of(path, dict(names))
            node = file.class_named(cls.__qualname__, lines)
            if node is not None:
                self._alive.append(cls)
                name = f"{module_name(module)}.{cls.__qualname__}"
                return self._add(key, name, file.piece([node], _options_of(place)), place)
        return self._statement(home[0], home[1], label, cls) if home else self._opaque(label, cls)

    def _module(self, label: str, name: str) -> int | None:
        found = find(_text(name))
        if found is None:
            return None
        if found.owner != "project":
            return self._foreign(found.owner, found.name)
        if found.path is None:
            self.unseen[f"{label}: module {found.name} without source"] = None
            return self.add(label, hexdigest("module"), f"module {found.name}")
        place = _place_in(found)
        assert place.file is not None
        piece = place.file.piece([place.file.tree], _options_of(place))
        return self._add(("module", found.path), found.name, piece, place)

    def _foreign(self, owner: Owner, module: str, *, is_loaded: bool = True) -> int:
        if owner != "installed":
            return _STOP
        key = ("distribution", top_level(module))
        if key in self._indices:
            return self._indices[key]
        text = distribution(top_level(module), is_loaded=is_loaded)
        return self.add(text, hexdigest(text), text, *key)

    # --- live names ---

    def _live(self, place: _Place, chain: tuple[str, ...]) -> tuple[int | None, tuple[str, ...]]:
        """Return the part that a name with attributes leads to, and which of the attributes were not needed."""
        assert place.names is not None
        name, rest = chain[0], chain[1:]
        home: tuple[_Place, str] | None = None
        if name in place.cells:
            value = place.cells[name]
        elif name in place.names:
            value, home = place.names[name], (place, name)
        else:
            return None, rest
        while isinstance(value, types.ModuleType) and rest:
            names = namespace(value)
            module = _text(names.get("__name__"))
            owner = owner_of_module(module)
            if owner != "project":
                return self._foreign(owner, module), rest
            inner = names.get(rest[0], sys.modules.get(f"{module}.{rest[0]}", _MISSING))
            if inner is _MISSING:
                self.unseen[".".join(chain[: len(chain) - len(rest) + 1])] = None
                return None, rest[1:]
            value, home, rest = inner, (_place_of(names, {}), rest[0]), rest[1:]
        return self.thing(".".join(chain[: len(chain) - len(rest)]), value, home), rest

    def _statement(self, place: _Place, name: str, label: str, value: object) -> int | None:
        """Add the statements that bind a name of a loaded module; through imports to where they are."""
        seen: set[tuple[str, str]] = set()
        while place.file is not None and (place.module, name) not in seen:
            seen.add((place.module, name))
            groups = place.file.bindings.get(name)
            sources = [source for _, source in imports_of(groups[0][-1])] if groups and len(groups) == 1 else []
            source = next((found for bound, found in _bound_by(groups) if bound == name), None) if sources else None
            if groups and source is None:
                return self._bound_in(place, groups, name, ("statement", place.module, name))
            candidates = [source] if source else place.file.wildcards
            for candidate in candidates:
                wanted = name if candidate.name in (None, "*") else str(candidate.name)
                module = _absolute(candidate, place.package)
                loaded = _names_of(module)
                if owner_of_module(module) != "project" or not loaded:
                    return self._imported(candidate._replace(name=wanted), place.package, ())[0]
                if wanted in loaded:
                    place, name = _place_of(loaded, {}), wanted
                    break
            else:
                break
        return self._opaque(label, value)

    def _bound_in(self, place: _Place, groups: list[list[ast.AST]], name: str, key: tuple[Any, ...]) -> int:
        if key in self._indices:
            return self._indices[key]
        assert place.file is not None
        nodes = list({id(node): node for group in groups for node in group}.values())
        index = self._add(
            key, f"{module_name(place.module)}.{name}", place.file.piece(nodes, _options_of(place)), place
        )
        for bound, source in _bound_by(groups):
            if bound == name:
                self._note(self._drafts[index], name, self._imported(source, place.package, ())[0])
        return index

    # --- names in the text of files that may not be loaded ---

    def _imported(
        self, source: Import, package: str, rest: tuple[str, ...], seen: frozenset[tuple[str, str]] = frozenset()
    ) -> tuple[int | None, tuple[str, ...]]:
        module = _absolute(source, package)
        if source.name is None or source.name == "*":
            return self._in_module(module, rest, seen)
        index, left = self._in_module(module, (source.name, *rest), seen)
        return index, left[-len(rest) :] if rest else ()

    def _in_module(
        self, module: str, chain: tuple[str, ...], seen: frozenset[tuple[str, str]]
    ) -> tuple[int | None, tuple[str, ...]]:
        found = find(module)
        if found is None:
            return None, chain
        if found.owner != "project":
            return self._foreign(found.owner, module, is_loaded=False), chain
        if not chain:
            return self._module(module, module), ()
        place = _place_in(found)
        return self._in_text(place, chain[0], chain[1:], seen, is_attribute=True)

    def _in_text(
        self,
        place: _Place,
        name: str,
        rest: tuple[str, ...],
        seen: frozenset[tuple[str, str]] = frozenset(),
        *,
        is_attribute: bool = False,
    ) -> tuple[int | None, tuple[str, ...]]:
        """Return the part that a name of a file leads to, and which attributes were not needed."""
        mark = (place.module, name)
        groups = place.file.bindings.get(name) if place.file is not None and mark not in seen else None
        seen |= {mark}
        if groups and len(groups) == 1:
            for bound, source in imports_of(groups[0][-1]):
                if bound == name:
                    return self._imported(source, place.package, rest, seen)
            node = groups[0][-1]
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and any(map(_options_of(place), node.decorator_list)):
                task = f"task {module_name(place.module)}.{name}"
                return self.add(task, hexdigest(task), task), rest
        if groups:
            return self._bound_in(place, groups, name, ("text", place.module, name)), rest
        if is_attribute and find(f"{place.module}.{name}"):
            return self._in_module(f"{place.module}.{name}", rest, seen)
        for source in place.file.wildcards if place.file is not None else ():
            index, left = self._in_module(_absolute(source, place.package), (name, *rest), seen)
            if index is not None and index != _STOP:
                return index, left[-len(rest) :] if rest else ()
        if is_attribute and place.file is not None and "__getattr__" in place.file.bindings:
            return self._module(place.module, place.module), rest
        return None, rest


_MISSING = object()


# --- looking at things without running their code --------------------------------------------------------


def task_name(value: object) -> str | None:
    """Return the name of a task of this package; None for anything else."""
    kind = type(value)
    if top_level(_text(getattr(kind, "__module__", ""))) != __package__:
        return None
    inside = getattr(value, "__dict__", {})
    return inside["name"] if "name" in inside and "__wrapped__" in inside else None


def is_small(value: object) -> bool:
    """Tell whether a value is immutable, plain, and at most about 1 KB."""
    work: list[Any] = [value]
    size = 0
    for item in work:
        if type(item) in (tuple, frozenset):
            work.extend(item)
        elif type(item) not in _ATOMS:
            return False
        size += _size(item)
        if size > _SMALL:
            return False
    return True


def _size(value: Any) -> int:
    if type(value) is int:
        return 8 + value.bit_length() // 8
    return 8 + (len(value) if type(value) in (str, bytes) else 0)


def _shown(value: Any) -> str:
    """Return the same as repr, but for the order of sets."""
    if type(value) is frozenset:
        return f"frozenset({{{', '.join(sorted(map(_shown, value)))}}})"
    if type(value) is tuple:
        return f"({''.join(f'{_shown(item)}, ' for item in value).rstrip()})"
    return repr(value)


def _wrapped(value: Any) -> Any:
    try:
        return object.__getattribute__(value, "__dict__").get("__wrapped__")
    except Exception:
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _cells(function: types.FunctionType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    return found


def _methods(cls: type) -> Iterator[types.FunctionType]:
    for value in vars(cls).values():
        inner: Any = getattr(value, "fget", None) if type(value) is property else value
        inner = inner.__func__ if type(inner) in (staticmethod, classmethod) else inner
        while isinstance(_wrapped(inner), types.FunctionType):
            inner = _wrapped(inner)
        if isinstance(inner, types.FunctionType) and inner.__qualname__.startswith(f"{cls.__qualname__}."):
            yield inner


def _names_in(code: types.CodeType) -> tuple[Name, ...]:
    codes = [code]
    for item in codes:
        codes.extend(constant for constant in item.co_consts if isinstance(constant, types.CodeType))
    names = [name for item in codes for name in (*item.co_names, *item.co_freevars)]
    return tuple(Name((name,), ()) for name in dict.fromkeys(names))


# --- places --------------------------------------------------------------------------------------------------


def _names_of(module: str) -> dict[str, Any]:
    loaded = sys.modules.get(module)
    return namespace(loaded) if isinstance(loaded, types.ModuleType) else {}


def _place_of(names: dict[str, Any], cells: Mapping[str, Any]) -> _Place:
    """Return the place that a loaded module's names are."""
    path = _text(names.get("__file__"))
    module = _text(names.get("__name__"))
    package = _text(names.get("__package__")) or module.rpartition(".")[0]
    file = file_of(path, names) if path and not path.endswith((".so", ".pyd")) else None
    return _Place(module, package, file, names, cells)


def _place_in(found: Found) -> _Place:
    """Return the place that a module's text is, loaded or not."""
    file = file_of(found.path, _names_of(found.name)) if found.path else None
    return _Place(found.name, found.package, file, None, {})


def _absolute(source: Import, package: str) -> str:
    if not source.level:
        return source.module
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - source.level + 1])
    return f"{base}.{source.module}".strip(".")


def _bound_by(groups: Iterable[list[ast.AST]] | None) -> list[tuple[str, Import]]:
    return [found for group in groups or () for found in imports_of(group[-1])]


def _options_of(place: _Place) -> Callable[[ast.expr], bool]:
    """Return what tells whether a decorator is one of this package: options of a task are no part of its code."""

    def is_option(decorator: ast.expr) -> bool:
        expression = decorator.func if isinstance(decorator, ast.Call) else decorator
        chain: list[str] = []
        while isinstance(expression, ast.Attribute):
            chain.append(expression.attr)
            expression = expression.value
        if not isinstance(expression, ast.Name):
            return False
        name = expression.id
        last = chain[0] if chain else name
        if place.names is not None:
            found = place.names.get(name)
            for attribute in reversed(chain):
                found = namespace(found).get(attribute) if isinstance(found, types.ModuleType) else None
            last = _text(getattr(found, "__name__", ""))
            is_ours = inspect.isfunction(found) and top_level(_text(found.__module__)) == __package__
        else:
            groups = place.file.bindings.get(name) if place.file is not None else None
            sources = [source for bound, source in _bound_by(groups) if bound == name]
            is_ours = any(top_level(_absolute(source, place.package)) == __package__ for source in sources)
            last = last if chain else next((str(source.name) for source in sources), last)
        return is_ours and last != "requires"

    return is_option
