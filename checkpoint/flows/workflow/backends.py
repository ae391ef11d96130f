"""Which kind of channel a session has, opened from a configuration; what may be kept of that, and what may not.

Must not know: tasks, journals.

Next: flows/workflow/graph.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpoint.flows.workflow.channel import Channel, MemoryChannel, Stored
from checkpoint.flows.workflow.errors import ConfigError

__all__ = ["open_channel", "restored_channel"]

#: What of a connection is kept. Names, passwords and the URLs that have them never are.
_KEPT = {"host": "host", "port": "port", "db": "db", "path": "unix_socket_path"}


def open_channel(
    kind: str, config: Mapping[str, Any] | None, flow: str, session: str
) -> tuple[Channel, dict[str, Any]]:
    """Return a new channel, and what is kept of how it was opened."""
    if kind == "memory":
        return MemoryChannel(flow), {"channel": "memory"}
    client = _client(kind, config)
    from checkpoint.flows.workflow.redis_channel import RedisChannel

    return RedisChannel(session, client, name=flow), _kept(client)


def restored_channel(
    backend: Mapping[str, Any], config: Mapping[str, Any] | None, flow: str, session: str, stored: Mapping[str, Stored]
) -> Channel:
    """Return a channel that holds what a snapshot held."""
    if backend["channel"] == "memory":
        channel = MemoryChannel(flow)
        for key, value in stored.items():
            channel.change(key, lambda before, value=value: value)  # type: ignore[misc]
        return channel
    known = {key: value for key, value in backend.items() if key != "channel"}
    client = _client(backend["channel"], known if config is None else config)
    from checkpoint.flows.workflow.redis_channel import RedisChannel

    return RedisChannel.restored(session, client, stored, name=flow)


def _client(kind: str, config: Mapping[str, Any] | None) -> Any:
    if kind != "redis":
        raise ConfigError("channel_backend", f"must be 'memory' or 'redis', not {kind!r}")
    try:
        import redis
    except ImportError as error:
        raise ConfigError("channel_backend", "'redis' needs the package of that name: checkpoint[redis]") from error
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options = {"retry": Retry(NoBackoff(), 0), **(config or {})}  # the channel itself tries again
    if "redis_client" in options:
        return options["redis_client"]
    if "url" in options:
        return redis.Redis.from_url(options.pop("url"), **options)
    return redis.Redis(**options)


def _kept(client: Any) -> dict[str, Any]:
    options = client.connection_pool.connection_kwargs
    kept = {name: options[key] for key, name in _KEPT.items() if options.get(key) is not None}
    return {"channel": "redis", **kept}
