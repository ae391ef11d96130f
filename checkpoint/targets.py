"""Targets: what a person names on the command line, as instances, tasks and flows.

`module:expression` or `path/to/script.py:expression`. A script is imported under the name that its tasks have when it
runs, so that the same results are found. What can't be used ends the command with a line that says what to do; of a
traceback, only the frames of the user's own code are shown.

Must not know: the commands.

Next: cli/options.py
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeGuard, cast

import click

from checkpoint import CheckpointError, Task, TaskInstance
from checkpoint.errors import name_of
from checkpoint.fingerprint.modules import owner_of_file
from checkpoint.runs import roots_of

__all__ = ["Flow", "flow_at", "instances_at", "look_in", "named_at", "problems_told", "tasks_at"]

#: What tracebacks call the text after the colon.
_EXPRESSION = "<expression>"


class _Unusable(click.ClickException):
    """A target can't be used."""

    exit_code = 2

    @classmethod
    def of(cls, text: str, problem: str) -> _Unusable:
        return cls(f"{text!r}: {problem}")


class _Target(NamedTuple):
    text: str
    place: str
    expression: str

    @classmethod
    def of(cls, text: str) -> _Target:
        place, _, expression = text.partition(":")
        return cls(text, place, expression.strip())

    @property
    def is_script(self) -> bool:
        return self.place.endswith(".py") or os.sep in self.place


def instances_at(text: str) -> list[TaskInstance[Any]]:
    """Return the distinct instances that a target names, in order.

    Raises:
        click.ClickException: the target can't be used; the exit code is 2.
    """
    target = _Target.of(text)
    if not target.expression:
        raise _Unusable.of(
            text, "name instances as module:expression or script.py:expression, such as 'train:fit(fold=3)'"
        )
    value = _value_of(target, _imported(target))
    try:
        return cast("list[TaskInstance[Any]]", roots_of(value, "the expression must give"))
    except TypeError as error:
        raise _Unusable.of(text, str(error)) from None


def _value_of(target: _Target, module: ModuleType) -> Any:
    with problems_told(target.text, _Unusable):
        return eval(compile(target.expression, _EXPRESSION, "eval", dont_inherit=True), dict(vars(module)))


def named_at(text: str) -> Any:
    """Return what a target names: a task, or instances in any nesting.

    Raises:
        click.ClickException: the target can't be used, or is neither; the exit code is 2.
    """
    target = _Target.of(text)
    module = _imported(target)
    names = ", ".join(task.__qualname__ for task in _tasks_of(module)) or "no tasks"
    if not target.expression:
        raise _Unusable.of(text, f"name a task as {text.rstrip(':')}:name; {module.__name__} has {names}")
    value = _value_of(target, module)
    if isinstance(value, Task):
        return value
    try:
        roots_of(value, "the expression must give a task, or")
    except TypeError as error:
        raise _Unusable.of(text, str(error)) from None
    return value


def tasks_at(text: str) -> list[Task[..., Any]]:
    """Return the task that `module:name` names, or all tasks that are defined in a module or a script.

    Raises:
        click.ClickException: the target can't be used, or there is no task; the exit code is 2.
    """
    target = _Target.of(text)
    module = _imported(target)
    own = _tasks_of(module)
    if not target.expression:
        if not own:
            raise _Unusable.of(text, f"no task is defined in {module.__name__}; name a task as {text}:name")
        return own
    found: Any = module
    with problems_told(text, _Unusable):
        for name in target.expression.split("."):
            found = getattr(found, name, None)
    if isinstance(found, Task):
        return [found]
    names = ", ".join(task.__qualname__ for task in own)
    what = f"{name_of(found)} is no task" if found is not None else f"there is no task {target.expression!r}"
    raise _Unusable.of(text, f"{what}; {module.__name__} has {names or 'no tasks'}")


def _tasks_of(module: ModuleType) -> list[Task[..., Any]]:
    found: dict[Task[..., Any], None] = {}
    seen: set[type] = set()
    pending = [dict(vars(module))]
    while pending:
        for thing in pending.pop().values():
            if not isinstance(thing, (Task, type)) or thing.__module__ != module.__name__:
                continue
            if isinstance(thing, Task):
                found[thing] = None
            elif thing not in seen:
                seen.add(thing)
                pending.append(dict(vars(thing)))
    return list(found)


class Flow(Protocol):
    """What can be resumed: an object whose `run` goes on where the last run ended.

    The options of `checkpoint flows resume` are handed to `run` under their own names, and only where they are given.
    `step_names`, if there is such an attribute, says where it may be told to start.
    """

    def run(self, **options: Any) -> object:
        """Go on."""
        ...


def flow_at(text: str) -> Flow:
    """Return the flow that a target names.

    Raises:
        click.ClickException: the target can't be used; the exit code is 2.
    """
    target = _Target.of(text)
    module = _imported(target)
    names = ", ".join(name for name, value in vars(module).items() if _is_flow(value)) or "no flows"
    if not target.expression:
        raise _Unusable.of(text, f"name a flow as {text.rstrip(':')}:name; {module.__name__} has {names}")
    found = _value_of(target, module)
    if _is_flow(found):
        return found
    raise _Unusable.of(text, f"{name_of(found)} is no flow, which has a method run; {module.__name__} has {names}")


def _is_flow(value: object) -> TypeGuard[Flow]:
    is_other = isinstance(value, (type, ModuleType, TaskInstance))
    return not is_other and callable(getattr(value, "run", None))


# --- modules ---------------------------------------------------------------------------------------------


def _imported(target: _Target) -> ModuleType:
    """Import a target's module from the current folder, or its script from the script's folder."""
    path = Path(target.place).absolute()
    if target.is_script and not os.path.isfile(path):  # also where the name can't be one
        raise _Unusable.of(target.text, f"there is no file {str(path)!r}")
    if not target.is_script and not all(part.isidentifier() for part in target.place.split(".")):
        raise _Unusable.of(target.text, f"{target.place!r} is neither the name of a module nor the path of a script")
    folder, name = (str(path.parent), path.stem) if target.is_script else (os.getcwd(), target.place)
    look_in(folder)
    with problems_told(target.text, _Unusable):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # something that it imports
            advice = "go to the folder that has it, or name a script by its path, as in 'path/to/script.py:fit(3)'"
            raise _Unusable.of(target.text, f"there is no module {error.name!r} in {folder!r}; {advice}") from None
    file = getattr(module, "__file__", None)
    if target.is_script and not (file and os.path.samefile(file, path)):
        raise _Unusable.of(target.text, f"the name {name!r} belongs to {file or 'another module'}; rename the script")
    return module


def look_in(folder: str) -> None:
    """Let imports look into a folder before all others, as they do into that of a script."""
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


# --- problems --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def problems_told(text: str, ending: type[click.ClickException] = click.ClickException) -> Iterator[None]:
    """End the command if the block raises: with a line on the target, after the user's part of the traceback.

    Args:
        text: the target.
        ending: what is raised instead; it has the exit code.
    """
    try:
        yield
    except click.ClickException:
        raise
    except (Exception, SystemExit) as error:  # a user's module may end the program
        shown = _users_part(error)
        click.echo(shown, err=True, nl=False)
        message = str(error) if isinstance(error, CheckpointError) else f"{type(error).__name__}: {error}"
        message = "failed in your code, as shown above" if shown else message
        raise ending(f"{text!r}: {message}") from None


def _users_part(error: BaseException) -> str:
    """Return the traceback without the frames of this package and of the import system; "" if that leaves no code."""
    told = traceback.TracebackException.from_exception(error)
    pending = [told]
    while pending:
        part = pending.pop()
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if _is_shown(frame.filename)])
        pending += [cause for cause in (part.__cause__, part.__context__) if cause is not None]
    owners = {owner_of_file(frame.filename) for frame in told.stack}
    return "".join(told.format()) if owners & {"project", "installed"} else ""


def _is_shown(file: str) -> bool:
    if file in (_EXPRESSION, importlib.__file__) or file.startswith("<frozen "):
        return False
    return owner_of_file(file) != "ours"
