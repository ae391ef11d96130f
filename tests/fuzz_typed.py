"""The target `typed` of `fuzz.py`: texts for everything that reads what a person types.

The first byte of an input says what the text is given to. A store's address, a filter, a target and the arguments of
a command end in a value, or in an error that the function's documentation names; the command ends in 0, 1 or 2.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import importlib
import os
import pathlib
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click
from click.testing import CliRunner
from fuzz_guard import Guard

from checkpoint import amounts, filters, keys, open_store, targets
from checkpoint.arguments import arguments_of
from checkpoint.cli import main
from checkpoint.cli.options import end_of, metadata_of, moment_of
from checkpoint.errors import StoreError
from checkpoint.inventory import StoredCall
from checkpoint.store import Entry, disk, store_at
from checkpoint.store.shared import address

SCRIPT = """
from checkpoint import memo

@memo
def load(fold: int) -> int:
    return fold

@memo
def fit(data: int, name: str = "x") -> int:
    return data

if __name__ == "__main__":
    fit(load(1)).run(executor="serial")
"""
#: What a person's own expression may make of the process is theirs; here it can't call, repeat or fill anything.
_HARMLESS = str.maketrans(dict.fromkeys("(*<{%@", "_"))
#: Commands that end only when told to, run what is named, or ask a shell for its version.
_LEFT_OUT = {"ui", "run", "completion"}
#: Commands that write where one says.
_WRITE = {"export", "import", "graph", "report"}


class Color(enum.Enum):
    """An enumeration."""

    RED = 1


def takes(
    n: int, x: float, flag: bool, texts: list[str], pairs: dict[str, int], color: Color, way: Literal["a", "b"],
    path: pathlib.Path, number: decimal.Decimal, part: fractions.Fraction, name: uuid.UUID, any_of: int | str | None,
    at: datetime.datetime, span: datetime.timedelta, z: complex, both: tuple[int, str], rest: Any, some: set[int],
) -> None:  # fmt: skip
    """Have a parameter of each kind."""


_ARGUMENTS: dict[str, Any] = {
    "n": 6, "alpha": 0.5, "name": "ridge", "when": datetime.date(2026, 11, 1), "span": datetime.timedelta(1),
    "path": pathlib.PurePath("a/b"), "deep": {"a": [1, {"b": None}]}, "color": Color.RED, "flag": True, "nothing": None,
}  # fmt: skip
_CALL = StoredCall("m.f", keys.encode(_ARGUMENTS), (Entry(b"", b"", b"", b"\x3f" * 16, b"", 1.5, time.time(), 100),))


def _store(text: str) -> None:
    for settings in ({}, {"allow_pickle": False}):
        open_store(text, **settings)
    store_at(text)


def _filter(text: str) -> None:
    list(filters.matching([_CALL], [filters.Filter.parse(text)]))
    sorted([_CALL, _CALL], key=filters.order_of(text))


def _amount(text: str) -> None:
    for read in (amounts.seconds_of, amounts.bytes_of):
        try:
            assert read(text) >= 0, text
        except ValueError:
            continue


def _date(text: str) -> None:
    for read in (moment_of, end_of):
        read(None, None, text)  # type: ignore[arg-type]


def _arguments(text: str) -> None:
    arguments_of(takes, text.split("\n"))


def _metadata(text: str) -> None:
    metadata_of(None, None, tuple(text.split("\n")))  # type: ignore[arg-type]


def _target(text: str) -> None:
    for read in (targets.instances_at, targets.named_at, targets.tasks_at, targets.flow_at):
        try:
            read(_harmless(text))
        except click.ClickException:
            continue


def _name(text: str) -> None:
    task, _, row = text.partition("\n")
    if not task.strip() or not task.isprintable():
        raise ValueError(task)  # as tasks do
    for store in (disk.disk_store("/store"), store_at("file:///store?shared")):
        below = os.path.relpath(os.path.realpath(store.directory(task, row)), "/store").split(os.sep)
        assert ("checkpoint", "files", 4) == (below[0], below[2], len(below)), below
        assert not [part for part in below if part.startswith(".") or len(os.fsencode(part)) > 255], below


def _harmless(text: str) -> str:
    place, sign, expression = text.partition(":")
    if not sign or expression.startswith("//"):
        return text
    is_ours = place in ("train", "train.py", "") or os.sep in place
    return f"{place if is_ours else 'no_' + place}:{expression.translate(_HARMLESS)}"


def _commands() -> list[list[str]]:
    found = []
    pending: list[tuple[list[str], click.Command]] = [([], main)]
    while pending:
        words, command = pending.pop()
        if not isinstance(command, click.Group):
            found.append(words)
            continue
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if name not in _LEFT_OUT and below is not None:
                pending.append(([*words, name], below))
    return sorted(found)


#: What reads texts, and the errors that its documentation names.
REFUSALS: dict[Callable[[str], None], tuple[type[Exception], ...]] = {
    _store: (ValueError, StoreError),
    _filter: (ValueError,),
    _amount: (),
    _date: (click.BadParameter,),
    _arguments: (ValueError,),
    _metadata: (click.BadParameter,),
    _target: (),
    _name: (ValueError,),
}
READERS = list(REFUSALS)
_GOOD: dict[Callable[[str], None], list[str]] = {
    _store: [
        "cache",
        "/data/cache",
        "~/cache",
        "file:///data/x",
        "file:///data/x?shared&lease=5",
        "memory://a?lease=0",
        "s3://bucket/prefix?endpoint_url=http://h:9000&region=eu",
        "s3://me:secret@host/x",
        "gs://b/x?token=1",
        "file://",
        "s3x://b",
        "https://h/x",
        "",
        "s3://b/x?timeout=5",
        "az://b?lease=nan",
    ],
    _filter: [
        "n=6",
        "alpha>0.1",
        "name~^r.*e$",
        "deep.a.0=1",
        "age<30d",
        "size>=1.5GiB",
        "seconds!=2",
        "code=3f",
        "stored_at<2026-11-01T12:00",
        "span>1h",
        "when>2026-01-01",
        "path=a/b",
        "color=RED",
        "n={1:2}",
        "flag=true",
        "deep={'a':[1]}",
        "code~[0-9]",
        "nothing=null",
    ],
    _amount: ["5GB", "10 GiB", "1.5MB", "90", "3 days", "30d", "500ms", "1e3", "12h", "8w", "2.5 KiB", "1y"],
    _date: ["2026-11-01", "2026-11-01T12:00", "2026-11-01 12:00:01", "0001-01-01", "9999-12-31"],
    _arguments: [
        "n=1\nx=1e3",
        "flag=yes\ntexts=['a']",
        "pairs={'a':1}\ncolor=RED",
        "way=a\npath=/x",
        "number=1.5\npart=1/3",
        "name=00000000-0000-0000-0000-000000000005",
        "any_of=none",
        "at=2026-11-01",
        "span=3h\nz=1+2j",
        "both=(1,'a')\nrest=[1]",
        "some={1,2}",
        "1\n2.5\ntrue",
    ],
    _metadata: ["a=1", 'a={"b":[1]}\nc=text', "=", "a="],
    _target: [
        "train:fit(1)",
        "train.py:fit",
        "train.py:",
        "train:",
        "nowhere:x",
        "./train.py:[fit,load]",
        "train:fit.task",
        "train",
        "train:lambda: 0",
        "train.py:'x'",
        "train:None",
    ],
    _name: ["m.f\n{}#1", "..\n../../x", "/etc/passwd\na\0b", "CON\nNUL", "ü" * 200 + "\nx", ".hidden\n", "a\0b\n"],
}
_GOOD_COMMANDS = {
    "ls": ["train.fit\ndata=1", "--sort\nsize\n--limit\n2", "--json", "train.fit\ndata>0\n--csv"],
    "show": ["train.fit\ndata=1", "train:fit(load(1))\n--json"],
    "du": ["--json", "--store\ncache"],
    "plan": ["train:fit", "train.py:[fit]\n--json"],
    "why": ["train:load"],
    "lineage": ["train:load", "--json\ntrain:x"],
    "graph": ["train.fit\n-o\na.svg", "train.load\n-o\na.dot"],
    "report": ["-o\nr.html", "--list"],
    "accept": ["train", "train:fit"],
    "clear": ["train.fit\ndata=1", "train.load"],
    "verify": ["--json"],
    "gc": [
        "--older-than\n30d\n--max-size\n10GB",
        "--keep\ntrain:fit",
        "--larger-than\n1MB\n--task\nt*",
        "--superseded\ntrain",
    ],
    "export": ["a.zip\ntrain.fit", "x/../a.zip\ntrain.load\nfold=1", "\ntrain.fit"],
    "import": ["any.zip", ".."],
    "list": ["--flow\nx", "--since\n2026-01-01\n--where\na=1"],
    "prune": ["--keep\n1"],
    "delete": ["x"],
    "resume": ["train:x"],
    "diff": ["1\n2"],
}
#: After so many inputs the store is filled again.
_FILLED = 100


def prepared(guard: Guard) -> tuple[Callable[[bytes], str], list[bytes]]:
    """Return the check, and good inputs."""
    Path("train.py").write_text(SCRIPT)
    sys.path.insert(0, os.getcwd())
    path = list(sys.path)
    _fill()
    own = set(disk._opened)
    commands = _commands()
    corpus = [bytes([READERS.index(read)]) + _bytes_of(text) for read, texts in _GOOD.items() for text in texts]
    for number, words in enumerate(commands):
        for text in ("--help", "", "--store\ntrain.py", f"--store\n{'x' * 300}", *_GOOD_COMMANDS.get(words[-1], ())):
            corpus.append(bytes([len(READERS), number]) + _bytes_of(text))
    inputs = 0

    def check(data: bytes) -> str:
        nonlocal inputs
        inputs += 1
        if inputs % _FILLED == 0:
            _fill()
        kind = data[0] % (len(READERS) + 1) if data else 0
        if kind == len(READERS):
            return _command(guard, commands[data[1] % len(commands) if data[1:] else 0], _text_of(data[2:]))
        read = READERS[kind]
        try:
            with guard.on(runs_code=read in (_target, _filter, _arguments, _store)):
                read(_text_of(data[1:]))
        except REFUSALS[read]:
            return f"{read.__name__[1:]} refused"
        finally:
            sys.path[:] = path
            address._opened.clear()
            for opened in disk._opened.keys() - own:
                disk._opened.pop(opened).close()
        return f"{read.__name__[1:]} read"

    return check, corpus


def _command(guard: Guard, words: list[str], text: str) -> str:
    given = [_harmless(each) for each in text.replace("\0", "").split("\n")] if text else []
    if any(re.search(r"(?<!file)(?<!memory)://", each) for each in given):
        return "no network"
    path = list(sys.path)
    with guard.on(runs_code=True, is_told=words[0] not in _WRITE):
        result = CliRunner().invoke(main, [*words, *given], input="n\n")
    sys.path[:] = path
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        result.exception.add_note(str((words, given)))
        raise result.exception
    assert result.exit_code in (0, 1, 2), (words, given, result.output)
    assert "Traceback" not in result.output or result.exit_code == 2, result.output
    return f"command {result.exit_code}"


def _fill() -> None:
    train: Any = importlib.import_module("train")
    train.fit(train.load(1)).run(executor="serial")


def _text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
