"""Places: where the names of a piece of code are looked up.

A place is live (the global names of a loaded module, and what a closure captured) or a text (the file of a module that
may not be loaded). A notebook is a live place whose text is its cells.

Next: fingerprint/parts.py
"""

from __future__ import annotations

import ast
import functools
import os
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from checkpoint.fingerprint.modules import OWN, Found, file_of, is_module, namespace, top_level
from checkpoint.fingerprint.names import FUNCTIONS, Import, imports_of
from checkpoint.fingerprint.source import File
from checkpoint.fingerprint.things import text_or_empty

__all__ = ["Place", "absolute", "bound_by", "import_of", "names_of", "options_of", "place_in", "place_of"]


class Place(NamedTuple):
    """Where names are looked up: live in dicts, or, where `names` is None, in the text of a file."""

    module: str
    package: str
    file: File | None
    names: Mapping[str, Any] | None
    cells: Mapping[str, Any]

    def binding(self, name: str) -> Place:
        """Return the place with the text that binds a name: in a notebook the last cell that does."""
        cells = self.names.get("In") if self.names is not None and self.file is None else None
        if isinstance(cells, list):
            for cell in reversed(cells):
                file = _cell(cell) if isinstance(cell, str) else None
                if file is not None and name in file.bindings:
                    return self._replace(file=file)
        return self

    def is_rebound(self, name: str) -> bool:
        """Tell whether functions rebind a name, so that what it holds depends on what was called before."""
        return self.file is not None and name in self.file.rebound and name in self.file.bindings

    def is_passing(self, name: str, value: object) -> bool:
        """Tell whether a value is that of this process only: a time, a random number, the folder of the project."""
        if self.file is None or self.names is None:
            return False
        path = text_or_empty(self.names.get("__file__"))
        folder = os.path.dirname(path)
        if type(value) is str and os.path.isabs(value) and folder and (path.startswith(value) or folder in value):
            return True
        seen, work = {name}, [name]
        for item in work:
            source = import_of(self, item)
            if source is not None and _is_of_the_moment(source):
                return True
            groups = self.file.bindings.get(item, ()) if source is None else ()
            for used in [used for group in groups if _computes(group[-1]) for used in self.file.names(group)]:
                if used.chain[:2] in _OF_THE_MOMENT_IN_OS:
                    return True
                if used.chain[0] not in seen:
                    seen.add(used.chain[0])
                    work.append(used.chain[0])
        return False


#: What these modules give differs from one process to the next.
_OF_THE_MOMENT = {"time", "datetime", "uuid", "random", "secrets", "tempfile"}
_OF_THE_MOMENT_IN_OS = {("os", name) for name in ("getpid", "getppid", "urandom", "getcwd", "times")}


def _is_of_the_moment(source: Import) -> bool:
    return top_level(source.module) in _OF_THE_MOMENT or (source.module, source.name) in _OF_THE_MOMENT_IN_OS


def _computes(node: ast.AST) -> bool:
    return not isinstance(node, (*FUNCTIONS, ast.ClassDef))


@functools.lru_cache(maxsize=1000)
def _cell(text: str) -> File:
    return File(text)


def names_of(module: str) -> dict[str, Any]:
    """Return the global names of a loaded module; none for one that is not loaded."""
    loaded = sys.modules.get(module)
    return namespace(loaded) if is_module(loaded) else {}


def place_of(names: dict[str, Any], cells: Mapping[str, Any]) -> Place:
    """Return the place that a loaded module's names are."""
    path = text_or_empty(names.get("__file__"))
    module = text_or_empty(names.get("__name__"))
    package = text_or_empty(names.get("__package__")) or module.rpartition(".")[0]
    file = file_of(path, names) if path and not path.endswith((".so", ".pyd")) else None
    return Place(module, package, file, names, cells)


def place_in(found: Found) -> Place:
    """Return the place that a module's text is, loaded or not."""
    file = file_of(found.path, names_of(found.name)) if found.path else None
    return Place(found.name, found.package, file, None, {})


def absolute(source: Import, package: str) -> str:
    """Return the full name of the module that an import names."""
    if not source.level:
        return source.module
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - source.level + 1])
    return f"{base}.{source.module}".strip(".")


def bound_by(groups: Iterable[list[ast.AST]] | None) -> list[tuple[str, Import]]:
    """Return what import statements bind, and from where."""
    return [found for group in groups or () for found in imports_of(group[-1])]


def import_of(place: Place, name: str) -> Import | None:
    """Return the import by which a place has a name, where nothing else binds it."""
    groups = place.file.bindings.get(name) if place.file is not None else None
    if not groups or len(groups) > 1:
        return None
    return next((source for bound, source in bound_by(groups) if bound == name), None)


def options_of(place: Place) -> Callable[[ast.expr], bool]:
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
                found = namespace(found).get(attribute) if is_module(found) else None
            last = text_or_empty(getattr(found, "__name__", ""))
            maker = found if type(found) is types.FunctionType or issubclass(type(found), type) else type(found)
            is_ours = top_level(text_or_empty(maker.__module__)) == OWN
        else:
            groups = place.file.bindings.get(name) if place.file is not None else None
            sources = [source for bound, source in bound_by(groups) if bound == name]
            is_ours = any(top_level(absolute(source, place.package)) == OWN for source in sources)
            last = last if chain else next((str(source.name) for source in sources), last)
        return is_ours and last != "requires"

    return is_option
