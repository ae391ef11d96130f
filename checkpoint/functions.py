"""Functions: functions and classes as arguments, by what they do.

In a key they have their name and their fingerprint, and a closure what it captured. So an edit of the code is another
call, and a comment is not. Where a task's own function captured them, their name will do: the fingerprint of the task
has their code already.

A function that travels to another process takes its text along, as it may look different there.

Must not know: tasks (but for how to recognise one), stores.

Next: policy.py
"""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

from checkpoint import keys
from checkpoint.errors import FunctionChangedError
from checkpoint.fingerprint import digest
from checkpoint.fingerprint.modules import (
    distribution,
    is_interactive,
    is_module,
    loaded,
    namespace,
    owner_of_module,
    top_level,
)
from checkpoint.fingerprint.things import cells_of, innermost, is_small, methods_of, task_name, text_or_empty
from checkpoint.keys import Unencodable, module_name

__all__ = ["captured_text", "carried"]

#: Functions written in C that may be methods of a value.
_BOUND = (types.BuiltinFunctionType, types.MethodWrapperType)

_CALL_IT = "call it: the task's instance is an argument, the task itself is none"


class _State(threading.local):
    """What is under way in this thread."""

    #: The ids of what is being described: what captures itself ends here.
    pending: frozenset[int] = frozenset()
    #: Whether names will do.
    is_by_name = False


_state = _State()

#: Function or class -> what it captured when it was described last, and its text.
_texts: weakref.WeakKeyDictionary[Any, tuple[str, str]] = weakref.WeakKeyDictionary()
#: The same for those that came from another process with their text.
_received: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def _describing(*values: object, is_by_name: bool | None = None) -> Iterator[None]:
    before = _state.pending, _state.is_by_name
    _state.pending |= set(map(id, values))
    _state.is_by_name = _state.is_by_name if is_by_name is None else is_by_name
    try:
        yield
    finally:
        _state.pending, _state.is_by_name = before


def _text(value: Any) -> str | None:
    """Return the text of a function, a class or what is made of them; None for anything else."""
    kind = type(value)
    if task_name(value):
        return _task(value)
    if kind is functools.partial:
        parts = [
            _part(".func", value.func),
            _several(_part(f".args[{index}]", item) for index, item in enumerate(value.args)),
            _named({name: _part(f".keywords[{name!r}]", item) for name, item in value.keywords.items()}),
        ]
        return _tagged("partial", parts)
    if kind is types.MethodType:
        return _tagged("method", [_part(".__func__", value.__func__), _part(".__self__", value.__self__)])
    if kind in _BOUND and not (is_module(value.__self__) or isinstance(value.__self__, type)):
        return _tagged("method", [_quote(value.__qualname__), _part(".__self__", value.__self__)])
    if kind is types.FunctionType:
        return _code(value, "function", cells_of(value))
    if issubclass(kind, type):
        return _code(value, "class", {name: item for method in methods_of(value) for name, item in _cells(method)})
    inner = innermost(value)[-1]
    if kind is functools._lru_cache_wrapper and type(inner) is types.FunctionType:
        return _code(inner, "function", cells_of(inner))
    return _found_by_name(value)


def _cells(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in cells_of(function).items() if name != "__class__")


def _code(value: Any, tag: str, captured: Mapping[str, Any]) -> str:
    """Return the text of a function or class: name, fingerprint, and what it captured."""
    if not _state.is_by_name and (received := _received.get(value)) is not None:
        return received
    name = f"{module_name(text_or_empty(value.__module__))}.{value.__qualname__}"
    if id(value) in _state.pending:
        return _tagged(tag, [_quote(name)])
    is_outermost = not _state.pending and not _state.is_by_name
    with _describing(value):
        held = _captured(captured)
        if tag == "function":
            held |= _defaults(value, is_unique="<" not in name)
        around = _named(held) if held else ""
        known = _texts.get(value) if is_outermost and not is_interactive() else None
        if known is not None and known[0] == around:
            return known[1]
        is_enough = _state.is_by_name and "<" not in name
        parts = [_quote(name), *([] if is_enough else [_quote(_fingerprint(value))]), *([around] if around else [])]
    text = _tagged(tag, parts)
    if is_outermost:
        _texts[value] = around, text
    return text


def _fingerprint(value: Any) -> str:
    received = _received.get(value)
    if received is None:
        return digest(value)
    (content,) = json.loads(received).values()
    return str(content[1])


def _captured(values: Mapping[str, Any], how: str = "captured") -> dict[str, str]:
    """Return the texts of captured values; where names will do, what has no text is left out."""
    found: dict[str, str] = {}
    for name, value in values.items():
        try:
            found[name] = _part(f" ({how} {name!r})", value)
        except (Unencodable, RecursionError):
            if not _state.is_by_name:
                raise
    return found


def _defaults(function: types.FunctionType, *, is_unique: bool) -> dict[str, str]:
    """Return the texts of default values: of functions of one name and text they tell which is which."""
    found: dict[str, str] = {}
    import inspect

    for name, parameter in inspect.signature(function, follow_wrapped=False).parameters.items():
        value = parameter.default
        if value is parameter.empty or (is_unique and not is_small(value)):
            continue
        found.update({f"{name}=": text for text in _captured({name: value}, "default of").values()})
    return found


def _part(step: str, value: Any) -> str:
    if is_module(value):
        return _tagged("module", _quote(text_or_empty(namespace(value).get("__name__"))))
    try:
        return keys.text_of(value)
    except Unencodable:
        raise keys.locate(value, step) from None


def _task(value: Any) -> str:
    if not _state.pending:
        raise Unencodable(value, _CALL_IT)
    name = _quote(str(task_name(value)))
    if id(value) in _state.pending:
        return _tagged("function", [name])
    with _describing(value, is_by_name=True):
        return _tagged("function", [name, _named(_captured(cells_of(value.__wrapped__)))])


def _found_by_name(value: Any) -> str | None:
    """Return the text of what is found in an installed module by its name, such as `len`, `str.upper`, `numpy.sin`."""
    owner = getattr(value, "__objclass__", None)
    module = text_or_empty(getattr(owner or value, "__module__", None))
    if type(value) is types.BuiltinFunctionType:
        module = module or "builtins"
    name = text_or_empty(getattr(value, "__qualname__", None)) or text_or_empty(getattr(value, "__name__", None))
    module = module or top_level(type(value).__module__)
    if not callable(value) or not name or owner_of_module(module) == "project":
        return None
    found: Any = loaded(module)
    for step in name.split("."):
        found = getattr(found, step, None)
    if found is not value and not (type(found) is type(value) is types.BuiltinFunctionType and found == value):
        return None
    parts = [_quote(f"{module}.{name}")]
    if owner_of_module(module) == "installed":
        parts.append(_quote(distribution(top_level(module), is_loaded=True)))
    return _tagged("function", parts)


def _tagged(tag: str, content: str | list[str]) -> str:
    return f'{{"${tag}":{content if isinstance(content, str) else _several(content)}}}'


def _several(texts: Any) -> str:
    return f"[{','.join(texts)}]"


def _named(texts: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{_quote(name)}:{texts[name]}" for name in sorted(texts)) + "}"


keys.add_fallback(_text)


def captured_text(function: Callable[..., Any], owner: object) -> str:
    """Return the text of what a task's function captured, "" for nothing; what has no text is left out.

    Args:
        function: the function.
        owner: its task, which it may have captured itself.
    """
    if not isinstance(function, types.FunctionType) or not function.__closure__:
        return ""
    with _describing(owner, function, is_by_name=True):
        held = _captured(cells_of(function))
    return _named(held) if held else ""


# --- to another process ----------------------------------------------------------------------------------


def carried(value: Any, reduced: Any) -> Any:
    """Return how to pickle a function or class so that it has the same text where it arrives.

    Args:
        value: what is pickled, perhaps something else.
        reduced: how it would be pickled.
    """
    if type(value) is not types.FunctionType and not issubclass(type(value), type):
        return reduced
    text = _received.get(value) or (_texts[value][1] if value in _texts else None)
    if text is None:
        return reduced
    if reduced is NotImplemented:
        return _imported, (value.__module__, value.__qualname__, text)
    return _rebuilt, (text, *reduced)


def _rebuilt(text: str, rebuild: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    made = rebuild(*arguments)
    _received[made] = text
    return made


def _imported(module: str, qualname: str, text: str) -> Any:
    import importlib

    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    if keys.text_of(found) != text:
        raise FunctionChangedError(f"{module}.{qualname}")
    return found
