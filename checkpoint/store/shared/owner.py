"""Owner: the leases that this process holds in a shared store, and the thread that gives its signs of life.

The thread is there while leases are held, and sends a sign each quarter of the time that they last: one request,
however many they are. What a process can't ask, because the network is away, is granted.

Invariants: nothing here raises or waits; a lease that may have run out meanwhile is only removed if it is still the
same. A forked child holds none.

Next: store/shared/claims.py
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import final

from checkpoint.errors import StoreError
from checkpoint.store.claims import Standing
from checkpoint.store.shared.lease import Lease, end, place_of, read, signs_of
from checkpoint.store.shared.objects import Objects, each
from checkpoint.store.shared.watch import Watch, signs

__all__ = ["Owner"]

logger = logging.getLogger("checkpoint")

#: Signs of life in the time that a lease lasts.
_SIGNS = 4
#: How often to try again where leases come and go.
_ATTEMPTS = 3


@final
@dataclass(slots=True)
class _Held:
    lease: Lease
    #: Up to when nobody can have seen it run out, by the clock of this process.
    until: float
    is_certain: bool = True
    standing: Standing = Standing.RUNNING


@final
class Owner:
    """A process as the holder of leases. Safe to share between its threads.

    Args:
        objects: where leases are.
        seconds: how long its leases last without a sign of life.
        clock: counts seconds.
    """

    def __init__(self, objects: Objects, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects = objects
        self._seconds = seconds
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Hold nothing, as a forked child does, whose parent holds what was held."""
        self._name = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._held: dict[int, _Held] = {}
        self._heart: _Heart | None = None
        self._count = 0
        self._watch = Watch(self._objects, self._clock)
        self._away_until = float("-inf")

    def _new_lease(self, scope: str) -> Lease:
        return Lease.new(self._name, scope, self._seconds)

    def acquire(self, name: int, scope: str) -> bool:
        """Take a lease; False if somebody else has it.

        Args:
            name: of what.
            scope: where this process has the local claim on it: whoever had a lease from there has died.

        Notes:
            One round trip.
        """
        if self._clock() < self._away_until:
            return True
        lease, place = self._new_lease(scope), place_of(name)
        with self._granting():
            for _ in range(_ATTEMPTS):
                until = self._clock() + self._seconds
                if self._objects.create(place, lease.to_bytes()) or (found := read(self._objects, place)) == lease:
                    self._hold(name, _Held(lease, until))
                    return True
                if found is not None and (not scope or found.scope != scope):
                    return False
                if found is not None and not end(self._objects, place, found, self._new_lease(scope)):
                    return False
            return False
        return True

    def _hold(self, name: int, held: _Held) -> None:
        with self._lock:
            self._held[name] = held
            if self._heart is None:
                self._heart = _Heart(self.beat, self._end_signs, self._seconds / _SIGNS)

    def release(self, names: Collection[int]) -> None:
        """Give back leases; one round trip."""
        now = self._clock()
        with self._lock:
            gone = {place_of(name): held for name in names if (held := self._held.pop(name, None)) is not None}
            heart = None
            if not self._held:
                heart, self._heart = self._heart, None
        if gone:
            certain = [place for place, held in gone.items() if held.is_certain and now < held.until]
            doubtful = [place for place in gone if place not in certain]
            with self._granting():
                found = each(self._objects, lambda place: read(self._objects, place), doubtful)
                certain += [place for place, lease in zip(doubtful, found, strict=True) if lease == gone[place].lease]
                self._objects.delete(certain)
        if heart is not None:
            heart.stop()

    def mark(self, name: int, standing: Standing) -> None:
        """Let others know how something stands that is held, at the latest with the next sign of life."""
        with self._lock:
            held, heart = self._held.get(name), self._heart
            if held is None:
                return
            is_news = Standing.WAITING in (held.standing, standing)
            held.standing = standing
        if is_news and heart is not None:
            heart.beat_now()

    def standings(self, names: Collection[int], scope: str) -> dict[int, Standing]:
        """Tell how things stand that this process doesn't hold; what can't be seen is free."""
        with self._granting():
            return self._watch.standings(names, scope, lambda: self._new_lease(scope))
        return dict.fromkeys(names, Standing.FREE)

    # --- signs of life ---

    def beat(self) -> None:
        """Give a sign of life."""
        with self._lock:
            self._count += 1
            held = dict(self._held)
            told = {name: of.standing for name, of in held.items() if of.standing is not Standing.RUNNING}
            data = signs(self._count, told)
        began = self._clock()
        with self._granting():
            self._objects.put(signs_of(self._name), [data])
            ended = self._clock()
            for of in held.values():
                of.is_certain &= ended < of.until
                of.until = began + self._seconds

    def _end_signs(self) -> None:
        with self._granting():
            self._objects.delete([signs_of(self._name)])

    @contextlib.contextmanager
    def _granting(self) -> Iterator[None]:
        """Go on without leases, for as long as one would last, where the place of the store can't be asked."""
        try:
            yield
        except (StoreError, TypeError) as error:
            now = self._clock()
            if now >= self._away_until:
                logger.warning("claims hold on this machine alone for the next %g s: %s", self._seconds, error)
            self._away_until = now + self._seconds


@final
class _Heart:
    """A thread that beats."""

    def __init__(self, beat: Callable[[], None], at_end: Callable[[], None], pause: float) -> None:
        self._beat, self._at_end, self._pause = beat, at_end, pause
        self._changed = threading.Condition()
        self._is_due = self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="checkpoint-leases", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        has_beaten = False
        while True:
            with self._changed:
                if not (self._is_due or self._is_stopped):
                    self._changed.wait(self._pause)
                if self._is_stopped:
                    break
                self._is_due = False
            self._beat()
            has_beaten = True
        if has_beaten:
            self._at_end()

    def beat_now(self) -> None:
        with self._changed:
            self._is_due = True
            self._changed.notify()

    def stop(self) -> None:
        """Stop; what it is just asking of an unreachable place is not waited for."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)
