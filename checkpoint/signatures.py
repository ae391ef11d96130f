"""Signatures: a call to the values of its parameters, from these to a key, and back to a call.

Must not know: tasks, stores.

Next: revival.py
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii as _quote
from typing import TYPE_CHECKING, Any, final

from checkpoint.keys import LARGE_INT, Unencodable, encode, text_of

if TYPE_CHECKING:
    import inspect

__all__ = ["Signature"]

#: Flags of code that takes `*args` or `**kwargs`.
_VARIADIC = 0x04 | 0x08


def _plain_parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[Any, ...]] | None:
    """Return the names and the defaults of parameters that may all be given by position or by name; else None."""
    if type(function) is not types.FunctionType or function.__dict__.keys() & {"__wrapped__", "__signature__"}:
        return None
    code = function.__code__
    if code.co_flags & _VARIADIC or code.co_kwonlyargcount or code.co_posonlyargcount:
        return None
    return code.co_varnames[: code.co_argcount], function.__defaults__ or ()


@functools.lru_cache(maxsize=1024)
def _writer(names: tuple[str, ...]) -> Callable[..., str]:
    """Return a function from the values of parameters to their key, compiled for these names.

    Plain whole numbers, of which most keys are made, become text right there; `text_of` does the rest.
    """
    parts = []
    for name in sorted(names):
        value = f"_{names.index(name)}"
        text = f"{value} if type({value}) is int and -limit < {value} < limit else text_of({value})"
        parts.append(_quote(name).replace("\\", "\\\\") + ":{" + text + "}")
    parameters = ", ".join(f"_{index}" for index in range(len(names)))
    made: Callable[..., str] = eval(  # made of numbered names and quoted texts alone
        f"lambda {parameters}: f'{{{{{','.join(parts)}}}}}'", {"text_of": text_of, "limit": LARGE_INT}
    )
    return made


@final
class Signature:
    """A function's parameters: from a call to its values, from values to a key, and back to a call.

    `values` are in the order of the parameters, defaults filled in; `*args` is one tuple, `**kwargs` one dict.
    """

    __slots__ = (
        "_added",
        "_by_name",
        "_defaults",
        "_function",
        "_parameters",
        "_whole",
        "_write",
        "call_name",
        "is_plain",
        "names",
    )

    def __init__(self, function: Callable[..., Any], call_name: str, added: Mapping[str, Any] | None = None) -> None:
        """Take a function's signature apart.

        Args:
            function: whose calls are bound.
            call_name: how errors name it.
            added: parameters that older keys don't have, and the values that stand for calls of that time: a
                parameter that has this value is left out of the key.

        Raises:
            ValueError: there is no such parameter; UnkeyableError: one of the values cannot be part of a key.
        """
        self._function = function
        #: How errors name the function.
        self.call_name = call_name
        plain = _plain_parameters(function)
        #: Whether any parameter may be given by position or by name.
        self.is_plain = plain is not None
        self._parameters: list[inspect.Parameter] = []
        if plain is None:
            self._parameters = list(self._full().parameters.values())
            plain = tuple([parameter.name for parameter in self._parameters]), ()
        #: The parameters' names in order.
        self.names, self._defaults = plain
        self._by_name = dict(zip(self.names[len(self.names) - len(self._defaults) :], self._defaults, strict=True))
        self._added = {f"{_quote(name)}:{encode(value)}" for name, value in (added or {}).items()}
        for name in added or ():
            if name not in self.names:
                raise ValueError(f"option defaults_added of task {call_name}: there is no parameter {name!r}")
        #: How many arguments by position are the values as they are; -1 where they never are.
        self._whole = len(self.names) if self.is_plain else -1
        self._write: Callable[..., str] = self._key_without if self._added else self._first_key

    def _full(self) -> inspect.Signature:
        import inspect  # takes long, and most calls need none of it

        return inspect.signature(self._function)

    def __str__(self) -> str:
        return str(self._full())

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return the values of a call.

        Raises:
            TypeError: the call does not fit the parameters; names the function.
        """
        if self.is_plain:
            open_count = len(self.names) - len(args)
            if not kwargs and 0 <= open_count <= len(self._defaults):
                return args + self._defaults[len(self._defaults) - open_count :]
            missing = self.names[len(args) :]
            if kwargs and kwargs.keys() <= set(missing):
                values = {**self._by_name, **kwargs}
                if len(values) >= open_count and all([name in values for name in missing]):
                    return args + tuple([values[name] for name in missing])
        return self._bind(args, kwargs)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Do the same for any call, and say what is wrong with it."""
        signature = self._full()
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.call_name}{signature}: {error}") from None
        bound.apply_defaults()
        missing = [name for name in self.names if name not in bound.arguments]
        if missing:  # CPython 3.13.0 lets a positional-only parameter pass that was given by name
            raise TypeError(f"{self.call_name}{signature}: missing a required argument: {missing[0]!r}")
        return tuple([bound.arguments[name] for name in self.names])

    def bind_with_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], str]:
        """Return the values of a call, and their key: a JSON object with the parameters' names, sorted.

        Raises:
            TypeError: the call does not fit the parameters; names the function.
            UnkeyableError: naming the function, the parameter and the path inside the argument.
        """
        values = args if len(args) == self._whole and not kwargs else self.bind(args, kwargs)
        try:
            return values, self._write(*values)
        except (Unencodable, RecursionError):
            for name, value in zip(self.names, values, strict=True):
                encode(value, f"argument {name!r} of {self.call_name}(): {name}")
            raise

    def _first_key(self, *values: Any) -> str:
        """Return a key, and compile what writes the next ones."""
        self._write = _writer(self.names)
        return self._write(*values)

    def _key_without(self, *values: Any) -> str:
        """Return the key without the parameters that have the value of the time before they were added."""
        given = sorted(zip(self.names, values, strict=True), key=lambda pair: pair[0])
        texts = [f"{_quote(name)}:{text_of(value)}" for name, value in given]
        return "{" + ",".join([text for text in texts if text not in self._added]) + "}"

    def call(self, function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        """Call the function with values as `bind` returns them."""
        if self.is_plain:
            return function(*values)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter, value in zip(self._parameters, values, strict=True):
            if parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs.update(value)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        return function(*args, **kwargs)
