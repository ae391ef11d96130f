"""Modules: whose they are, where their files are, and the text that these had when they were loaded.

A file is the project's unless it lies in the standard library, among installed distributions, or in this package.
The text of the project's files is taken soon after they are loaded, so that an edit of a file doesn't change what is
said of the code that was loaded from it. Nothing is imported or executed to find a module.

Next: fingerprint/things.py
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, Literal, NamedTuple, TypeGuard

from checkpoint.fingerprint.source import File

__all__ = ["OWN", "Found", "Owner", "capture_loaded", "distribution", "file_of", "find", "is_interactive", "is_module",
           "loaded", "namespace", "owner_of_file", "owner_of_module", "top_level"]  # fmt: skip

#: The name of this package.
OWN = __name__.partition(".")[0]
#: Whose a module is. "python" is the standard library and the interpreter, "ours" is this package.
Owner = Literal["project", "installed", "python", "ours"]


# --- whose ---


@functools.cache
def _places() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the folders of this package, of installed distributions, and of the standard library."""
    site = sys.modules.get("site")  # sysconfig knows more, and takes a millisecond to import
    installed = [*site.getsitepackages(), site.getusersitepackages()] if site is not None else []
    library = [os.path.dirname(os.__file__)]
    library += [path for path in sys.path if path.endswith(".zip") and path.startswith(sys.base_prefix)]
    own = [os.path.dirname(os.path.dirname(__file__))]

    def folders(names: list[str]) -> tuple[str, ...]:
        every = [*names, *map(os.path.realpath, names)]
        return tuple({os.path.join(name, "") for name in every if name})

    return folders(own), folders(installed), folders(library)


@functools.lru_cache(maxsize=10_000)
def owner_of_file(path: str) -> Owner:
    """Tell whose a file is."""
    own, installed, library = _places()
    if path.startswith(own):
        return "ours"
    parts = path.split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts or path.startswith(installed):
        return "installed"
    return "python" if path.startswith(library) else "project"


def owner_of_module(name: str) -> Owner:
    """Tell whose a module is: a loaded one, or one that could be imported; the project's where that is unknown."""
    if top_level(name) == OWN:
        return "ours"
    found = find(name)
    return found.owner if found is not None else "project"


def top_level(name: str) -> str:
    """Return the first part of a module's name."""
    return name.partition(".")[0]


# --- where ---


class Found(NamedTuple):
    """A module of some name, loaded or not. `path` is its source; None if it has none (then often a folder)."""

    name: str
    owner: Owner
    path: str | None
    is_package: bool

    @property
    def package(self) -> str:
        """What relative imports in it start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


def is_module(thing: object) -> TypeGuard[types.ModuleType]:
    """Tell whether a thing is a module, whatever it says of itself."""
    return issubclass(type(thing), types.ModuleType)


def loaded(name: str) -> types.ModuleType | None:
    """Return the module of a name if it is loaded."""
    module = sys.modules.get(name)
    return module if is_module(module) else None


def namespace(module: types.ModuleType) -> dict[str, Any]:
    """Return the names of a module without running any code of it."""
    found: dict[str, Any] = types.ModuleType.__getattribute__(module, "__dict__")
    return found


def find(name: str) -> Found | None:
    """Return what is known of a module by the one that is loaded, else by looking where an import would."""
    module = sys.modules.get(name)
    if is_module(module):
        names = namespace(module)
        spec = names.get("__spec__")
        path = names.get("__file__")
        folders = names.get("__path__")
        if spec is None and path is None and folders is None:
            return Found(name, "python" if name == "builtins" else "project", None, False)
        return _found(name, path or getattr(spec, "origin", None), folders)
    spec = _spec(name)
    return None if spec is None else _found(name, spec.origin, spec.submodule_search_locations)


def _found(name: str, path: str | None, folders: Any) -> Found:
    is_package = folders is not None
    if top_level(name) == OWN:
        return Found(name, "ours", None, is_package)
    if path in ("built-in", "frozen"):
        return Found(name, "python", None, is_package)
    try:
        place = path or os.path.join(next(iter(folders or ())), "")
    except Exception:
        return Found(name, "project", None, is_package)
    owner = owner_of_file(place)
    has_source = bool(path) and not place.endswith((".so", ".pyd", ".pyc"))
    return Found(name, owner, path if has_source else None, is_package)


def _spec(name: str) -> ModuleSpec | None:
    """Return what an import would load, without loading the packages around it."""
    folders: Any = None
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for index in range(len(parts)):
        part = ".".join(parts[: index + 1])
        loaded = sys.modules.get(part)
        spec = getattr(loaded, "__spec__", None) or _ask_finders(part, folders)
        if spec is None:
            return None
        folders = spec.submodule_search_locations
        if folders is None and index + 1 < len(parts):
            return None
    return spec


def _ask_finders(name: str, folders: Any) -> ModuleSpec | None:
    finders: list[Any] = [*sys.meta_path, PathFinder]
    for finder in finders:
        try:
            spec: ModuleSpec | None = finder.find_spec(name, folders)
        except Exception:
            continue
        if spec is not None:
            return spec
    return None


def distribution(name: str, *, is_loaded: bool) -> str:
    """Return the name and version of an installed top-level module.

    Cost: none where a loaded module has a `__version__`, else a read of the distribution's metadata, once.
    """
    module = sys.modules.get(name)
    if is_loaded and is_module(module):
        version = namespace(module).get("__version__")
        if isinstance(version, str):
            return f"{name} {version}"
    return f"{name} {_version(name)}".strip()


@functools.cache
def _version(name: str) -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except Exception:
        pass
    try:
        found = {dist.version for dist in importlib.metadata.distributions() if _has_module(dist, name)}
        return " ".join(sorted(found))
    except Exception:
        return ""


def _has_module(dist: Any, name: str) -> bool:
    """Tell whether a distribution has a top-level module; looks at its list of files, which is a text."""
    declared = dist.read_text("top_level.txt")
    if declared is not None:
        return name in declared.split()
    files = f"\n{dist.read_text('RECORD') or ''}"
    return f"\n{name}/" in files or f"\n{name}.py," in files


# --- the text as it was loaded ---


class _Capture(NamedTuple):
    spec: object  # by which the module was loaded: a reload makes a new one
    stamp: tuple[int, int] | None
    file: File


_captures: dict[str, _Capture] = {}
_modules_seen = 0


def is_interactive() -> bool:
    """Tell whether this is a notebook or a prompt, where names are bound anew all the time."""
    return not hasattr(sys.modules.get("__main__"), "__file__")


def capture_loaded() -> None:
    """Take the text of the project's modules that were loaded since the last time.

    Cost: nothing if no module was loaded, else a few microseconds a module, and one read of each file.
    """
    global _modules_seen
    if len(sys.modules) == _modules_seen:
        return
    modules = list(sys.modules.values())
    first = _modules_seen if _modules_seen < len(modules) else 0
    _modules_seen = len(modules)
    for module in modules[first:]:
        if is_module(module):
            names = namespace(module)
            path = names.get("__file__")
            if isinstance(path, str) and path not in _captures and owner_of_file(path) == "project":
                file_of(path, names)


def file_of(path: str, names: Mapping[str, Any], new: types.CodeType | None = None) -> File:
    """Return the text of a file as it was when its module was loaded.

    Args:
        path: of the file, or what a notebook calls a cell.
        names: the global names of the module that was loaded from it; empty for one that was not loaded.
        new: code that may just have been loaded from it: what the file says now counts, unless it is older code.
    """
    spec = names.get("__spec__") if names.get("__file__") == path else None
    known = _captures.get(path)
    if known is not None and new is None and spec is not None and known.spec is spec:
        return known.file
    stamp = _stamp(path)
    if known is not None and (known.stamp == stamp is not None or (known.stamp and not stamp)):
        _captures[path] = known._replace(spec=spec or known.spec)
        return known.file
    if known is not None and known.stamp and names and (_holds(known.file, path, new) if new else spec is None):
        return known.file
    file = File(_read(path, names))
    if known is None or known.file.content != file.content:
        _captures[path] = _Capture(spec, stamp, file)
    return _captures[path].file


def _holds(file: File, path: str, code: types.CodeType) -> bool:
    """Tell whether a text is the one that code was made from."""
    try:
        found = [compile("\n".join(file.lines), path, "exec", dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for item in found:
        found.extend(constant for constant in item.co_consts if isinstance(constant, types.CodeType))
    return code in found


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size


def _read(path: str, names: Mapping[str, Any]) -> bytes | str:
    try:
        if not path.startswith("<"):
            with open(path, "rb") as file:
                return file.read()
    except (OSError, ValueError):
        pass
    import linecache

    linecache.checkcache(path)
    return "".join(linecache.getlines(path, dict(names)))
