"""Sources: the project's modules, for a worker process that cannot find their files.

Workers on other computers, or in other working folders, have the installed packages but not the modules beside a
script. These travel as text, when a task travels by value, and are imported there under their own names. A module that
the worker finds by itself is left as it is.

Must not know: tasks, what travels otherwise.

Next: wire.py
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, final

from checkpoint.fingerprint.modules import Found, find

__all__ = ["Source", "install", "sources_of"]


class Source(NamedTuple):
    """The text of a module. `path` is where it was, for tracebacks."""

    text: bytes
    path: str
    is_package: bool


def sources_of(names: Iterable[str]) -> dict[str, Source]:
    """Return the project's modules among some modules, and among what they import, directly or not.

    Scripts are looked at, and not part of it. Cost: each file is read and parsed once.
    """
    sources: dict[str, Source] = {}
    seen: set[str] = set()
    pending = [part for name in names for part in _with_packages(name)]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        found = find(name)
        if found is None or found.owner != "project" or found.path is None:
            continue
        try:
            text = Path(found.path).read_bytes()
            tree = ast.parse(text)
        except (OSError, SyntaxError, ValueError):
            continue
        if name not in ("__main__", "__mp_main__"):
            sources[name] = Source(text, found.path, found.is_package)
        pending += [part for imported in _imports(tree, found) for part in _with_packages(imported)]
    return sources


def _with_packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: length + 1]) for length in range(len(parts))]


def _imports(tree: ast.Module, found: Found) -> Iterator[str]:
    """Yield what may be the name of a module in the import statements of a module, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = found.package.rsplit(".", node.level - 1)[0] if node.level > 1 else found.package
                module = f"{base}.{module}".strip(".")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


# --- where they arrive ------------------------------------------------------------------------------------

_received: dict[str, Source] = {}


def install(sources: dict[str, Source]) -> None:
    """Let modules be imported that nothing else finds."""
    _received.update(sources)
    if sources and _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


@final
class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        source = _received.get(name)
        if source is None:
            return None
        loader = _Loader(source)
        return importlib.util.spec_from_file_location(
            name, source.path, loader=loader, submodule_search_locations=[] if source.is_package else None
        )


@final
class _Loader(importlib.abc.SourceLoader):
    def __init__(self, source: Source) -> None:
        self._source = source

    def get_filename(self, fullname: str) -> str:
        return self._source.path

    def get_data(self, path: str | bytes) -> bytes:
        if path != self._source.path:
            raise OSError(f"there is no {path!r}")
        return self._source.text


_finder = _Finder()
