"""References: from a function to the code that it uses, through helpers, classes, constants and imports.

A name is followed to what it holds now: closure first, then globals. Imports inside of functions are followed by the
text of the files alone, so it makes no difference what happens to be loaded. What is found becomes a part, in
breadth-first order; other distributions are parts by name and version, builtins and the standard library are none.
Nothing of the user's runs: no import, no `__getattr__`, no `repr`. What can't be seen is named in `unseen`.

Must not know: tasks (but for how to recognise one), stores.

Next: fingerprint/__init__.py
"""

from __future__ import annotations

import ast
import contextlib
import enum
import functools
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

from checkpoint.fingerprint.modules import (
    Owner,
    distribution,
    file_of,
    find,
    is_module,
    namespace,
    owner_of_file,
    owner_of_module,
    top_level,
)
from checkpoint.fingerprint.names import FUNCTIONS, Import, Name
from checkpoint.fingerprint.parts import STOP, Draft, Part, Parts
from checkpoint.fingerprint.places import Place, absolute, bound_by, import_of, names_of, options_of, place_in, place_of
from checkpoint.fingerprint.source import Piece, describe_code, hexdigest
from checkpoint.fingerprint.things import (
    cells_of,
    innermost,
    is_small,
    members_of,
    methods_of,
    names_in,
    registered,
    shown,
    task_name,
    text_or_empty,
    wrapped,
)
from checkpoint.keys import encode, module_name

__all__ = ["Walk"]

_MISSING = object()

#: Methods of classes written in C, such as `str.strip`.
_DESCRIPTORS = (types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType)

#: The module, and the name in it, where a value was found.
Home = tuple[Place, str]


@final
class Walk:
    """One walk over what some things use. Cost: about 15 us a part whose file is parsed already."""

    def __init__(self) -> None:
        self.unseen: dict[str, None] = {}
        self._parts = Parts()

    def parts(self) -> tuple[Part, ...]:
        """Follow everything that was added, and return all parts."""
        for draft in self._parts:
            for label, value in draft.things.items():
                with self._or_unseen(label):
                    draft.note(label, self._thing(label, value))
            for name in draft.piece.names:
                with self._or_unseen(".".join(name.chain)):
                    self._follow(draft, name)
        return self._parts.finished()

    @contextlib.contextmanager
    def _or_unseen(self, label: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the user's objects may do anything when they are looked at
            self.unseen[f"{label}: {type(error).__name__}"] = None

    def _follow(self, draft: Draft, name: Name) -> None:
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
            draft.note(".".join(name.chain[: len(name.chain) - len(rest)]), index)

    # --- where it starts ---

    def add(self, name: str, said: str, text: str) -> int:
        """Add a part that uses nothing, by what is said of it."""
        return self._parts.add((name, said), name, Piece(hexdigest(said), text, ()))

    def use(self, index: int, label: str, value: object) -> None:
        """Let a part use a thing, too."""
        self._parts.use(index, [(label, value)])

    def add_function(self, function: Callable[..., Any]) -> int:
        """Add a function as it is under its wrappers, whosever it is, and the wrappers as what it uses."""
        layers = [layer for layer in innermost(function) if type(layer) is types.FunctionType]
        if not layers:
            return self.add("no code", "no code", "")
        index = self._function(layers.pop())
        self._parts.use(index, [(f"wrapped by {number}", layer) for number, layer in enumerate(reversed(layers), 1)])
        return index

    # --- live things ---

    def _thing(self, label: str, value: Any, home: Home | None = None) -> int | None:
        """Add what a value is made of. `home` is the module, and the name in it, where the value was found."""
        kind = type(value)
        if task := task_name(value):
            return self.add(f"task {task}", f"task {task}", f"task {task}")
        if home and (home[0].is_rebound(home[1]) or (is_small(value) and home[0].is_passing(home[1], value))):
            return self._statement(home, label, value)
        if issubclass(kind, enum.Enum):
            return self._member(label, value)
        if is_small(value):
            return self._value(label, value, home)
        if kind is types.FunctionType:
            return self._function_or_foreign(value)
        if issubclass(kind, type):
            return self._class(label, value, home)
        if is_module(value):
            return self._module(label, namespace(value).get("__name__", label))
        if kind is functools.partial:
            uses = [("func", value.func), *enumerate(value.args), *value.keywords.items()]
            return self._group(label, "functools.partial", value, uses)
        if kind is types.BuiltinFunctionType and not home:
            return self._foreign(owner_of_module(value.__module__ or "builtins"), value.__module__ or "builtins")
        if kind in _DESCRIPTORS and not home:
            return self._foreign(owner_of_module(value.__objclass__.__module__), value.__objclass__.__module__)
        if home is None or owner_of_module(text_or_empty(kind.__module__)) != "project":
            inner = innermost(value)[1:]  # such as functools.lru_cache has
            if followed := [layer for layer in inner if type(layer) is types.FunctionType or wrapped(layer) is None]:
                return self._thing(label, followed[0])
        if kind is types.MethodType and (home is None or not home[0].binding(home[1]).file):
            owner = value.__self__ if issubclass(type(value.__self__), type) else type(value.__self__)
            return self._group(label, "method", value, [("__func__", value.__func__), ("__self__", owner)])
        return self._statement(home, label, value) if home else self._opaque(label, value)

    def _value(self, label: str, value: object, home: Home | None) -> int:
        source = import_of(*home) if home else None
        module = absolute(source, home[0].package) if source and home else ""
        owner = owner_of_module(module) if module else "project"
        if owner != "project":
            return self._foreign(owner, module)
        return self.add(label, encode(value), f"{label} = {shown(value)}")

    def _member(self, label: str, member: enum.Enum) -> int:
        kind = type(member)
        value = getattr(member, "_name_", None) or getattr(member, "_value_", None)
        name = f"{kind.__qualname__}.{value if isinstance(value, (str, int)) else '?'}"
        key = ("member", label, name, id(kind))
        index = self._parts.add(key, label, Piece(hexdigest(name), f"{label} = {name}", ()), of=kind)
        self._parts.use(index, [("enum", kind)])
        return index

    def _group(self, label: str, kind: str, value: object, uses: Sequence[tuple[str | int, Any]]) -> int:
        piece = Piece(hexdigest(kind), f"{label}: {kind}", ())
        index = self._parts.add(("object", id(value)), label, piece, of=value)
        self._parts.use(index, [(str(name), part) for name, part in uses])
        return index

    def _opaque(self, label: str, value: object) -> int:
        """Add a value that stands in no statement: by its key, if it can have one."""
        text = f"{label}: {type(value).__module__}.{type(value).__qualname__}"
        try:
            return self.add(label, encode(value), text)
        except Exception:  # UnkeyableError, or whatever the value's own code raises
            self.unseen[text] = None
        return self.add(label, f"unseen {type(value).__qualname__}", text)

    def _function_or_foreign(self, function: types.FunctionType) -> int | None:
        layers = [layer for layer in innermost(function) if type(layer) is types.FunctionType]
        for layer in layers:  # under a wrapper from elsewhere may be the project's function
            if _owner_of(layer) == "project":
                index = self._function(layer)
                self._parts.use(index, registered(function))
                return index
        return self._foreign(_owner_of(function), _module_of(function))

    def _function(self, function: types.FunctionType) -> int:
        key = ("object", id(function))
        if (known := self._parts.find(key)) is not None:
            return known
        code, names = function.__code__, function.__globals__
        place = place_of(names, cells_of(function))
        file = file_of(code.co_filename, names)
        node = file.function(code)
        if node is not None:
            piece = file.piece([node], options_of(place))
        else:
            piece = Piece(hexdigest(describe_code(code)), f"{code.co_qualname}: no source", names_in(code))
        name = f"{module_name(text_or_empty(names.get('__name__')))}.{code.co_qualname}"
        index = self._parts.add(key, name, piece, place, of=function)
        if (inner := wrapped(function)) is not None:
            self._parts.use(index, [("__wrapped__", inner)])
        return index

    def _class(self, label: str, cls: type, home: Home | None) -> int | None:
        key = ("object", id(cls))
        if (known := self._parts.find(key)) is not None:
            return known
        module = text_or_empty(cls.__module__)
        owner = owner_of_module(module)
        if owner != "project":
            return self._foreign(owner, module)
        methods = list(methods_of(cls))
        live = [method.__globals__ for method in methods if method.__globals__.get("__name__") == module]
        names = live[0] if live else names_of(module)
        cells = {name: value for method in methods for name, value in cells_of(method).items()}
        place = place_of(names, cells)
        paths = dict.fromkeys(
            [text_or_empty(names.get("__file__")), *(method.__code__.co_filename for method in methods)]
        )
        for path in filter(None, paths):
            lines = [method.__code__.co_firstlineno for method in methods if method.__code__.co_filename == path]
            file = file_of(path, dict(names))
            node = file.class_named(cls.__qualname__, lines)
            if node is not None:
                name = f"{module_name(module)}.{cls.__qualname__}"
                return self._parts.add(key, name, file.piece([node], options_of(place)), place, of=cls)
        if not any(file_of(path, dict(names)).content for path in filter(None, paths)):
            return self._group(label, "class", cls, [*members_of(cls), *enumerate(cls.__bases__)])
        return self._statement(home, label, cls) if home else self._opaque(label, cls)

    def _module(self, label: str, name: str) -> int | None:
        found = find(text_or_empty(name))
        if found is None:
            return None
        if found.owner != "project":
            return self._foreign(found.owner, found.name)
        if found.path is None:
            self.unseen[f"{label}: module {found.name} without source"] = None
            return self.add(label, "module", f"module {found.name}")
        place = place_in(found)
        assert place.file is not None
        piece = place.file.piece([place.file.tree], options_of(place))
        return self._parts.add(("module", found.path), found.name, piece, place)

    def _foreign(self, owner: Owner, module: str, *, is_loaded: bool = True) -> int:
        if owner != "installed":
            return STOP
        key = ("distribution", top_level(module))
        if (known := self._parts.find(key)) is not None:
            return known
        text = distribution(top_level(module), is_loaded=is_loaded)
        return self._parts.add(key, text, Piece(hexdigest(text), text, ()))

    # --- live names ---

    def _live(self, place: Place, chain: tuple[str, ...]) -> tuple[int | None, tuple[str, ...]]:
        """Return the part that a name with attributes leads to, and which of the attributes were not needed."""
        assert place.names is not None
        name, rest = chain[0], chain[1:]
        home: Home | None = None
        if name in place.cells:
            value = place.cells[name]
        elif name in place.names:
            value, home = place.names[name], (place, name)
        else:
            return None, rest
        while is_module(value) and rest and not (home and home[0].is_rebound(home[1])):
            names = namespace(value)
            module = text_or_empty(names.get("__name__"))
            owner = owner_of_module(module)
            if owner != "project":
                return self._foreign(owner, module), rest
            inner = names.get(rest[0], sys.modules.get(f"{module}.{rest[0]}", _MISSING))
            if inner is _MISSING:
                self.unseen[".".join(chain[: len(chain) - len(rest) + 1])] = None
                return None, rest[1:]
            value, home, rest = inner, (place_of(names, {}), rest[0]), rest[1:]
        return self._thing(".".join(chain[: len(chain) - len(rest)]), value, home), rest

    def _statement(self, home: Home, label: str, value: object) -> int | None:
        """Add the statements that bind a name of a loaded module; through imports to where they are."""
        place, name = home[0].binding(home[1]), home[1]
        seen: set[tuple[str, str]] = set()
        while place.file is not None and (place.module, name) not in seen:
            seen.add((place.module, name))
            groups, source = place.file.bindings.get(name), import_of(place, name)
            if groups and source is None:
                return self._bound_in(place, groups, name, ("statement", place.module, name))
            for candidate in [source] if source else place.file.wildcards:
                wanted = candidate.name if candidate.name not in (None, "*") else name
                module = absolute(candidate, place.package)
                loaded = names_of(module)
                if owner_of_module(module) != "project" or not loaded:
                    return self._imported(candidate._replace(name=wanted), place.package, ())[0]
                if wanted in loaded:
                    place, name = place_of(loaded, {}).binding(wanted), wanted
                    break
            else:
                break
        return self._opaque(label, value)

    def _bound_in(self, place: Place, groups: list[list[ast.AST]], name: str, key: tuple[Any, ...]) -> int:
        if (known := self._parts.find(key)) is not None:
            return known
        assert place.file is not None
        nodes = list({id(node): node for group in groups for node in group}.values())
        index = self._parts.add(
            key, f"{module_name(place.module)}.{name}", place.file.piece(nodes, options_of(place)), place
        )
        for bound, source in bound_by(groups):
            if bound == name:
                self._parts[index].note(name, self._imported(source, place.package, ())[0])
        return index

    # --- names in the text of files that may not be loaded ---

    def _imported(
        self, source: Import, package: str, rest: tuple[str, ...], seen: frozenset[tuple[str, str]] = frozenset()
    ) -> tuple[int | None, tuple[str, ...]]:
        module = absolute(source, package)
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
        place = place_in(found)
        return self._in_text(place, chain[0], chain[1:], seen, is_attribute=True)

    def _in_text(
        self,
        place: Place,
        name: str,
        rest: tuple[str, ...],
        seen: frozenset[tuple[str, str]] = frozenset(),
        *,
        is_attribute: bool = False,
    ) -> tuple[int | None, tuple[str, ...]]:
        """Return the part that a name of a file leads to, and which attributes were not needed."""
        if place.file is None and is_attribute and find(f"{place.module}.{name}"):  # a folder without an __init__.py
            return self._in_module(f"{place.module}.{name}", rest, seen)
        if place.file is None or (place.module, name) in seen:
            return None, rest
        seen |= {(place.module, name)}
        if source := import_of(place, name):
            return self._imported(source, place.package, rest, seen)
        groups = place.file.bindings.get(name)
        if groups and len(groups) == 1:
            node = groups[0][-1]
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and any(map(options_of(place), node.decorator_list)):
                task = f"task {module_name(place.module)}.{name}"
                return self.add(task, task, task), rest
        if groups:
            return self._bound_in(place, groups, name, ("text", place.module, name)), rest
        if is_attribute and find(f"{place.module}.{name}"):
            return self._in_module(f"{place.module}.{name}", rest, seen)
        for source in place.file.wildcards:
            index, left = self._in_module(absolute(source, place.package), (name, *rest), seen)
            if index is not None and index != STOP:
                return index, left[-len(rest) :] if rest else ()
        if is_attribute and "__getattr__" in place.file.bindings:
            return self._module(place.module, place.module), rest
        return None, rest


_MISSING = object()

#: Methods of classes written in C, such as `str.strip`.
_DESCRIPTORS = (types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType)


def _module_of(function: types.FunctionType) -> str:
    return text_or_empty(function.__globals__.get("__name__"))


def _owner_of(function: types.FunctionType) -> Owner:
    path, module = function.__code__.co_filename, _module_of(function)
    return owner_of_module(module) if path.startswith("<") and module else owner_of_file(path)
