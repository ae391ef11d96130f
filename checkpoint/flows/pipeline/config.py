"""Config: what one run of a pipeline is told: what to load, what to keep, where, and how to run.

`JsonFirst` is the codec that results have unless a stage or a Config says otherwise.

Must not know: stages beyond their names, stores.

Next: flows/pipeline/overlay.py
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, final

from checkpoint.choice import check_executor
from checkpoint.codec import Codec, Pickler, check_codec
from checkpoint.errors import name_of
from checkpoint.events import Observer
from checkpoint.policy import POLICIES
from checkpoint.traits import ExecutorTraits, Submits
from checkpoint.unpickling import loads

__all__ = ["Config", "JsonFirst", "codec_named", "is_selected"]

Selection = bool | Collection[Any]


@final
@dataclass(frozen=True, slots=True)
class Config:
    """How to run a pipeline. Immutable; `pipeline()` uses `Config()`.

    Args:
        load: True to load every stage whose result is there, or the stages (or their names) to load. A loaded stage
            does not run, and nothing above it is looked for. False computes everything again.
        store: True to keep every result, or the stages (or their names) whose results are kept.
        dir: the folder of the store; made when the first result is kept. None is the current store.
        executor: "serial" (the calling thread), None (a process pool of our own), "threads", "processes", "async",
            or an executor of yours.
        max_workers: how many stages run at once.
        codec: "json" keeps a result as JSON if that gives the same value back, else by pickle; "pickle" always
            takes pickle, as suits arrays and data frames; or an object with `name`, `encode` and `decode`.
        compress: True or a zstandard level: keep results compressed.
        on_change: "warn", "rerun" or "ignore": what becomes of a kept result whose stage's code has changed.
        progress: None writes a line for each step to standard error, True shows a bar instead, False nothing.
        on_error, pools, limits, traits, observers: those of `checkpoint.run`.

    Raises:
        TypeError, ValueError: a value that cannot be.
    """

    load: Selection = False
    store: Selection = True
    dir: str | os.PathLike[str] | None = None
    _: KW_ONLY
    executor: Submits | str | None = "serial"
    max_workers: int | None = None
    codec: Literal["json", "pickle"] | Codec = "json"
    compress: bool | int = False
    on_change: Literal["warn", "rerun", "ignore"] | None = None
    on_error: Literal["raise", "continue"] = "raise"
    pools: Mapping[str, int] | None = None
    limits: Mapping[Any, int] | None = None
    progress: bool | None = None
    traits: ExecutorTraits | None = None
    observers: list[Observer] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "load", _checked_selection("load", self.load))
        object.__setattr__(self, "store", _checked_selection("store", self.store))
        if self.dir is not None and not isinstance(self.dir, (str, os.PathLike)):
            raise TypeError(f"Config(dir=...) takes the path of a folder, not {self.dir!r}")
        if self.on_change not in (None, *POLICIES):
            raise ValueError(f"Config(on_change=...) takes one of {', '.join(POLICIES)}, not {self.on_change!r}")
        if self.progress not in (None, True, False):
            raise TypeError(f"Config(progress=...) takes True, False or None, not {self.progress!r}")
        check_executor(self.executor, self.max_workers)
        codec_named(self.codec)

    def run_options(self) -> dict[str, Any]:
        """Return what `checkpoint.run` is told, but for the store and the observers."""
        names = ("executor", "max_workers", "on_change", "on_error", "pools", "limits", "traits")
        return {name: getattr(self, name) for name in names} | {"progress": self.progress is True}


def _checked_selection(option: str, given: object) -> bool | tuple[Any, ...]:
    if isinstance(given, bool):
        return given
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        advice = f"; write {option}=[{given!r}]" if isinstance(given, str) or hasattr(given, "func") else ""
        raise TypeError(
            f"Config({option}=...) takes True, False or a collection of stages and their names, not {given!r}{advice}"
        )
    return tuple(given)


def is_selected(selection: Selection, names: Iterable[Hashable]) -> bool:
    """Tell whether something, under one of the names it goes by, is among what `load` or `store` selects."""
    if isinstance(selection, bool):
        return selection
    return any(name in selection for name in names)


def codec_named(codec: object) -> Literal["pickle"] | Codec:
    """Return what a task takes as its codec.

    Raises:
        TypeError, ValueError: it is neither "json", "pickle" nor a codec.
    """
    if codec == "json":
        return _json_first
    return check_codec(codec) or "pickle"


@final
class JsonFirst:
    """JSON where reading it back gives the same value, else pickle; so what a stage returns is what the next one gets.

    JSON alone would make a list of a tuple, text of a number that is a key, a plain dict of a Counter.
    """

    name = "json-first"
    uses_pickle = True

    def encode(self, value: Any) -> bytes:
        """Return UTF-8 JSON, or a pickle.

        Raises:
            TypeError: neither can take the value.
        """
        if _is_json(value):
            return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        file = io.BytesIO()
        try:
            Pickler(file, 5).dump(value)
        except Exception as error:
            raise TypeError(
                f"neither JSON nor pickle can keep a {name_of(value)} ({error}); "
                "give the stage a codec of its own with Stage.wrap(codec=...), or don't store it"
            ) from error
        return file.getvalue()

    def decode(self, data: bytes) -> Any:
        """Return the value."""
        return loads(data) if data[:1] == b"\x80" else json.loads(data.decode("utf-8", "surrogatepass"))


_json_first = JsonFirst()


def _is_json(root: object) -> bool:
    pending = [root]
    while pending:
        value = pending.pop()
        if type(value) is list:
            pending.extend(value)
        elif type(value) is dict:
            if not all(type(name) is str for name in value):
                return False
            pending.extend(value.values())
        elif type(value) not in (type(None), bool, int, float, str):
            return False
    return True
