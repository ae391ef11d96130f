"""RedisChannel: a channel on a Redis server, which other programs can read and write, too.

Each change writes the value and a random token in one transaction. Tokens tell what has changed since the last
snapshot, and whether a transaction whose answer was lost has been done. Each resumed run gets a branch of keys of its
own, filled from its snapshot, so going back goes back here, too; a pointer names the newest branch of a session. A
branch has a mark: where it is missing, the server has lost its memory, and that is an error, never an empty channel.

Must not know: tasks, journals. Credentials stay in this object.

Next: flows/workflow/branch.py
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from checkpoint.errors import StoreError
from checkpoint.flows.workflow.channel import Change, Channel, Stored

if TYPE_CHECKING:
    import redis

__all__ = ["RedisChannel"]

_ATTEMPTS = 5
_FIRST_WAIT_S = 0.05
_PREFIX = "checkpoint:channel"


@final
class RedisChannel(Channel):
    """The channel of one session on a Redis server.

    Args:
        session: id of the session.
        client: a `redis.Redis` that returns bytes.
        name: names the channel in errors.
        branch: None is the newest branch of the session, made if there is none.

    Raises:
        StoreError: the server can't be reached, or has lost what was written to it.

    Notes:
        Other programs join with `RedisChannel(session_id, client)`. What they write while a task runs is part of the
        snapshot at its end.
    """

    def __init__(
        self, session: str, client: redis.Redis, *, name: str | None = None, branch: str | None = None
    ) -> None:
        super().__init__(name or session)
        self.session = session
        self._client = client
        self._seen: dict[str, bytes] = {}
        self._expiring: set[str] = set()
        self._head = f"{_PREFIX}:{session}:head"
        self._branch = branch or self._joined()
        self._base = f"{_PREFIX}:{session}:{self._branch}"
        self._tokens = f"{self._base}:tokens"

    @classmethod
    def restored(
        cls, session: str, client: redis.Redis, stored: Mapping[str, Stored], *, name: str | None = None
    ) -> RedisChannel:
        """Return a channel on a new branch that holds what a snapshot held, and make it the newest."""
        channel = cls(session, client, name=name, branch=uuid.uuid4().hex[:12])
        channel._retried(lambda: channel._fill(stored))
        channel.changes()
        return channel

    def _joined(self) -> str:
        def join() -> str:
            fresh = uuid.uuid4().hex[:12]
            with self._client.pipeline() as pipe:
                pipe.set(self._head, fresh, nx=True)
                pipe.get(self._head)
                found = pipe.execute()[1].decode()
            if found == fresh:
                self._client.hset(f"{_PREFIX}:{self.session}:{fresh}:tokens", "", "made")
            return str(found)

        return str(self._retried(join))

    def _fill(self, stored: Mapping[str, Stored]) -> None:
        with self._client.pipeline() as pipe:
            pipe.hset(self._tokens, "", "made")
            for key, value in stored.items():
                self._put(pipe, key, value, uuid.uuid4().hex)
            pipe.set(self._head, self._branch)
            pipe.execute()

    # --- the server ---

    def _retried(self, action: Callable[[], Any]) -> Any:
        import redis

        last: Exception | None = None
        for attempt in range(_ATTEMPTS):
            try:
                return action()
            except redis.AuthenticationError as error:
                raise StoreError(self._place(), str(error), "pass the credentials with config=") from error
            except (redis.ConnectionError, redis.TimeoutError) as error:
                last = error
                time.sleep(_FIRST_WAIT_S * 2**attempt)
            except redis.RedisError as error:
                raise StoreError(self._place(), str(error), "look at the server") from error
        raise StoreError(
            self._place(), f"the server did not answer in {_ATTEMPTS} attempts", "start it, and go on with the workflow"
        ) from last

    def _place(self) -> str:
        options = self._client.connection_pool.connection_kwargs
        return str(options.get("path") or f"redis {options.get('host')}:{options.get('port')}")

    def _address(self, key: str) -> str:
        return f"{self._base}:value:{key}"

    def _check_mark(self, mark: object) -> None:
        if mark is None:
            raise StoreError(
                self._place(),
                f"the server no longer has the channel of session {self.session}",
                "resume from a snapshot, which has a copy of it",
            )

    def _put(self, pipe: Any, key: str, stored: Stored | None, token: str) -> None:
        if stored is None:
            pipe.delete(self._address(key))
        elif stored.expires_at is None:
            pipe.set(self._address(key), stored.cell)
        else:
            pipe.set(self._address(key), stored.cell, px=max(1, round((stored.expires_at - time.time()) * 1000)))
        pipe.hset(self._tokens, _field(key), token)

    # --- a channel ---

    def _read_all(self, keys: list[str]) -> list[Stored | None]:
        with self._client.pipeline() as pipe:
            pipe.hget(self._tokens, "")
            for key in keys:
                pipe.get(self._address(key))
                pipe.pttl(self._address(key))
            mark, *found = pipe.execute()
        self._check_mark(mark)
        return [_stored(*pair) for pair in zip(found[::2], found[1::2], strict=True)]

    def read(self, key: str) -> Stored | None:
        """Return what is at a key."""
        found: list[Stored | None] = self._retried(lambda: self._read_all([key]))
        return found[0]

    def change(self, key: str, change: Change) -> Stored | None:
        """Change a key in one step; tried again where another writer was faster, done once if an answer is lost."""
        import redis

        token = uuid.uuid4().hex
        done: list[Stored | None] = []

        def attempt() -> Stored | None:
            while True:
                with self._client.pipeline() as pipe:
                    pipe.watch(self._address(key))  # type: ignore[no-untyped-call]
                    mark, known = pipe.hmget(self._tokens, ["", _field(key)])
                    self._check_mark(mark)
                    if done and known == token.encode():
                        return done[-1]
                    before = _stored(pipe.get(self._address(key)), pipe.pttl(self._address(key)))
                    done.append(change(before))
                    pipe.multi()
                    self._put(pipe, key, done[-1], token)
                    try:
                        pipe.execute()
                    except redis.WatchError:
                        continue
                    return done[-1]

        after: Stored | None = self._retried(attempt)
        return after

    def keys(self) -> list[str]:
        """Return the keys."""
        names = [key for key in self._all_tokens() if key]
        found = self._retried(lambda: self._read_all(names))
        return [key for key, stored in zip(names, found, strict=True) if stored is not None]

    def _all_tokens(self) -> dict[str, bytes]:
        found = self._retried(lambda: self._client.hgetall(self._tokens))
        self._check_mark(found.get(b""))
        return {field.decode("utf-8", "surrogatepass").removeprefix(":"): token for field, token in found.items()}

    def changes(self) -> dict[str, Stored | None]:
        """Return what anybody has changed since the last call."""
        tokens = self._all_tokens()
        changed = [key for key, token in tokens.items() if key and self._seen.get(key) != token]
        wanted = list(dict.fromkeys([*changed, *self._expiring]))
        found = dict(zip(wanted, self._retried(lambda: self._read_all(wanted)), strict=True))
        self._seen = tokens
        self._expiring = {key for key, stored in found.items() if stored is not None and stored.expires_at is not None}
        return {key: stored for key, stored in found.items() if key in changed or stored is None}

    @contextlib.contextmanager
    def lock(self, key: str, timeout: float = 10.0) -> Iterator[None]:
        """Keep out everybody who uses the same server; it frees itself a minute after its holder died."""
        from redis.exceptions import LockError

        lock = self._client.lock(f"{self._base}:lock:{key}", timeout=60, blocking_timeout=timeout)
        if not self._retried(lock.acquire):
            raise TimeoutError(f"lock {key!r} was not free within {timeout:g} seconds")
        try:
            yield
        finally:
            with contextlib.suppress(LockError):
                lock.release()

    def close(self) -> None:
        """Close the connections; they are made again when needed."""
        self._client.close()
        self._client.connection_pool.disconnect()

    def forget(self) -> None:
        """Delete what the server has of this session, all branches."""

        def delete() -> None:
            for found in self._client.scan_iter(f"{_PREFIX}:{self.session}:*"):
                self._client.delete(found)

        self._retried(delete)


def _field(key: str) -> str:
    return f":{key}"


def _stored(cell: Any, milliseconds: Any) -> Stored | None:
    if cell is None:
        return None
    return Stored(cell, time.time() + milliseconds / 1000 if milliseconds >= 0 else None)
