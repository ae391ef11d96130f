"""Fingerprints: a digest of a function's code and of the project code that it uses.

Formatting, comments, docstrings and annotations don't change it; neither does moving a helper to another file. The
text of a file is taken when the function is decorated (editing the file later doesn't matter to what runs), and
parsed only when a fingerprint is asked for. It never raises and is never random: what can't be seen is left out.

Must not know: tasks, stores. FORMAT changes whenever any function's fingerprint changes.

Next: functions.py
"""

from __future__ import annotations

import contextlib
import json
import re
import types
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, final

from checkpoint.fingerprint.modules import capture_loaded, file_of, is_interactive, is_module, namespace
from checkpoint.fingerprint.parts import Part
from checkpoint.fingerprint.references import Walk
from checkpoint.fingerprint.source import describe_code, digest_of_text, hexdigest
from checkpoint.fingerprint.things import innermost, task_name
from checkpoint.keys import encode

__all__ = ["FORMAT", "Change", "Code", "Part", "Tracker", "digest", "look_again"]

#: Number of the fingerprint format; golden tests pin it.
FORMAT = 1

#: What differs in a `repr` from one process to the next.
_ADDRESS = " at 0x[0-9a-fA-F]+"


class Change(NamedTuple):
    """One piece of code that differs: its name, its text before and after ("" where there was none)."""

    name: str
    before: str
    after: str

    def diff(self) -> str:
        """Return the difference as a person reads it, in the unified form with the name in its head."""
        import difflib

        before, after = self.before.splitlines(), self.after.splitlines()
        titles = f"{self.name} (before)", f"{self.name} (now)"
        return "\n".join(difflib.unified_diff(before, after, *titles, lineterm=""))


@final
class Code(NamedTuple):
    """What a fingerprint was made from: `parts[0]` is the function itself, `unseen` names what could not be seen."""

    parts: tuple[Part, ...]
    unseen: tuple[str, ...]
    fingerprint: str
    format: int = FORMAT

    @classmethod
    def of(cls, walk: Walk) -> Code:
        """Return what a walk finds."""
        parts = walk.parts()
        described = json.dumps([FORMAT, *([part.digest, part.uses] for part in parts)], separators=(",", ":"))
        return cls(parts, tuple(walk.unseen), hexdigest(described))

    @property
    def packages(self) -> tuple[str, ...]:
        """Name and version of the installed packages that are used."""
        return tuple(
            sorted(part.text for part in self.parts[1:] if part.text == part.name and not part.name.startswith("task "))
        )

    def to_json(self) -> str:
        """Return this as compact JSON text."""
        content = [self.format, self.fingerprint, self.parts, self.unseen]
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Code:
        """Return what `to_json` made a text from.

        Raises:
            ValueError: the text is no such text.
        """
        try:
            number, fingerprint, parts, unseen = json.loads(text)
            code = cls(
                tuple(
                    Part(str(name), str(digest), str(source), tuple((str(label), int(index)) for label, index in uses))
                    for name, digest, source, uses in parts
                ),
                tuple(map(str, unseen)),
                str(fingerprint),
                int(number),
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"not the text of a fingerprint's code: {error}") from error
        if not all(0 <= index < len(code.parts) for part in code.parts for _, index in part.uses) or not code.parts:
            raise ValueError("not the text of a fingerprint's code: a part is missing")
        return code

    def changes_since(self, old: Code) -> list[Change]:
        """Return the pieces that differ from what they were; none if nothing is known to have changed.

        What only one of the two has counts where the code that uses it differs, and shows in that code's text.
        """
        found: dict[Change, None] = {}
        work = deque([(0, 0)])
        seen = {(0, 0)}
        while work:
            one, other = work.popleft()
            now, before = self.parts[one], old.parts[other]
            if not self._agrees(now, before, old):
                found[Change(now.name, before.text, now.text)] = None
            uses, used = _numbered(now.uses), _numbered(before.uses)
            pairs = [(uses[label], used[label]) for label in uses if label in used]
            work.extend(pair for pair in pairs if pair not in seen)
            seen.update(pairs)
        return list(found)

    def _agrees(self, now: Part, before: Part, old: Code) -> bool:
        if now.digest == before.digest or now.text == before.text:
            return now.digest == before.digest or self.format != old.format
        return self.format != old.format and digest_of_text(now.text) == digest_of_text(before.text)


def _numbered(uses: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for label, index in uses:
        number = sum(1 for known, _ in found if known == label)
        found[label, number] = index
    return found


# --- looking at code -------------------------------------------------------------------------------------

_looks = 0


def look_again() -> None:
    """Let trackers in an interactive session, where names are bound anew, look again at their next `code()`."""
    global _looks
    if is_interactive():
        _looks += 1


@final
class Tracker:
    """The code of a function: text is taken when this is made, and looked at when asked for.

    Args:
        function: the function, perhaps under wrappers.
        depends_on: more things to follow: functions, classes, modules, tasks, plain values.
        version: a text that stands for the function's code, which then is not looked at.

    Notes:
        Thread-safe. Cost: about 20 us when made (a `stat`, and a read of each file that was loaded since). The first
        `code()` parses the files that it meets, about 20 us a line, once per process; then a walk over 50 helpers and
        50 constants takes 1 to 2 ms.
    """

    __slots__ = ("_code", "_depends_on", "_function", "_look", "_version")

    def __init__(
        self, function: Callable[..., Any], depends_on: tuple[object, ...] = (), version: str | None = None
    ) -> None:
        self._function = function
        self._depends_on = depends_on
        self._version = version
        self._code: Code | None = None
        self._look = 0
        with contextlib.suppress(Exception):  # the modules of the user's process may be anything
            _take_text(function)
            capture_loaded()

    def code(self) -> Code:
        """Return the code; the first call walks, later ones are free but for interactive sessions (`look_again`)."""
        if self._code is None or self._look != _looks:
            self._look = _looks
            self._code = self._walk()
        return self._code

    def _walk(self) -> Code:
        try:
            walk = Walk()
            if self._version is None:
                walk.add_function(self._function)
            else:
                walk.add(f"version {self._version}", f"version {self._version}", f"version {self._version}")
            for label, thing in _labelled(self._depends_on):
                walk.use(0, label, thing)
            return Code.of(walk)
        except Exception:  # the user's objects may do anything; the function's own text must do then
            return _fallback(self._function)


def digest(thing: object) -> str:
    """Return the fingerprint of a function, method, class, module, plain value, or of a `repr` (32 hex digits)."""
    thing = _plain(thing)
    thing = thing.__func__ if type(thing) is types.MethodType else thing
    if type(thing) is types.FunctionType:
        return Tracker(thing).code().fingerprint
    is_class = issubclass(type(thing), type)
    with contextlib.suppress(Exception):  # UnkeyableError, or what the thing's own code raises
        if not is_class:
            return hexdigest(f"{FORMAT} {encode(thing)}")
    walk = Walk()
    walk.add("the value", "the value", "")
    with contextlib.suppress(Exception):
        walk.use(0, "it", thing)
        code = Code.of(walk)
        if len(code.parts) > 1 and (is_class or not code.unseen):
            return code.fingerprint
    return hexdigest(f"{FORMAT} {_shown(thing)}")


def _plain(thing: object) -> object:
    return thing.__wrapped__ if task_name(thing) else thing  # type: ignore[attr-defined]


def _labelled(things: Iterable[object]) -> list[tuple[str, object]]:
    """Return things with labels, in an order that doesn't depend on the given one."""
    named = sorted((_name(thing), digest(thing), index, _plain(thing)) for index, thing in enumerate(things))
    counts: Counter[str] = Counter()
    found: list[tuple[str, object]] = []
    for name, _, _, thing in named:
        counts[name] += 1
        number = f" ({counts[name]})" if counts[name] > 1 else ""
        found.append((f"depends_on: {name}{number}", thing))
    return found


def _name(thing: Any) -> str:
    thing = _plain(thing)
    if type(thing) is types.FunctionType or issubclass(type(thing), type):
        return str(thing.__qualname__)
    if is_module(thing):
        return str(namespace(thing).get("__name__"))
    return f"a {type(thing).__qualname__}"


def _shown(thing: object) -> str:
    try:
        return re.sub(_ADDRESS, "", repr(thing))
    except Exception:
        return type(thing).__qualname__


def _take_text(function: Callable[..., Any]) -> None:
    for layer in innermost(function):
        if type(layer) is types.FunctionType:
            file_of(layer.__code__.co_filename, layer.__globals__, layer.__code__)


def _fallback(function: Callable[..., Any]) -> Code:
    code = getattr(function, "__code__", None)
    own = hexdigest(describe_code(code) if code is not None else "no code")
    return Code((Part(getattr(function, "__qualname__", "?"), own, "", ()),), ("everything it uses",), own)
