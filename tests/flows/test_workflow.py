"""Workflows: requests for checkpoints, their files, what a resume brings back, failures, and results."""

from __future__ import annotations

import json
import os
import pickle
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import checkpoint
from checkpoint import DamagedSnapshotError, StoreError, UnknownSnapshotError, UnsavableError
from checkpoint.flows.workflow import (
    ChangedWorkflowError,
    CheckpointManager,
    CheckpointMetadata,
    ConfigError,
    CycleLimitExceededError,
    DuplicateTaskError,
    ExecutionContext,
    GraphCompilationError,
    MergeConflictError,
    ParallelGroupError,
    RetryLimitExceededError,
    RetryPolicy,
    TaskExecutionContext,
    WorkflowCanceledError,
    WorkflowContext,
    WorkflowEngine,
    WorkflowRuntimeError,
    chain,
    task,
    workflow,
)

Context = TaskExecutionContext
resume = CheckpointManager.resume_from_checkpoint


def three(
    log: list[str], body: Callable[[Context], Any] | None = None, *, name: str = "three", where: str = "two"
) -> WorkflowContext:
    """Declare one >> two >> three, which log their names; one of them also does something else."""
    with workflow(name) as flow:

        def declare(task_id: str) -> Any:
            @task(id=task_id, inject_context=True)
            def run(context: Context) -> Any:
                log.append(context.task_id)
                result = body(context) if body is not None and task_id == where else None
                return f"{context.task_id} done" if result is None else result

            return run

        chain(declare("one"), declare("two"), declare("three"))
    return flow


def checkpoint_in(log: list[str], where: str = "one", **options: Any) -> ExecutionContext:
    """Run a workflow of three tasks, one of which asks for a checkpoint."""
    _, context = three(log, lambda context: context.checkpoint(**options), where=where).execute(ret_context=True)
    return context


def files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.suffix in (".pkl", ".json"))


def state_of(context: ExecutionContext) -> dict[str, Any]:
    assert context.last_checkpoint_path is not None
    return json.loads(Path(context.last_checkpoint_path.removesuffix(".pkl") + ".state.json").read_text())  # type: ignore[no-any-return]


# --- requests and their time ------------------------------------------------------------------------------


def test_a_deferred_request_writes_nothing_before_the_task_returns() -> None:
    """The call returns None; the three files are there when the next task runs. [W1]"""
    seen: list[Any] = []
    log: list[str] = []

    def body(context: Context) -> None:
        seen.extend([context.checkpoint(), files()])

    three(log, body).execute()
    assert [None, []] == seen
    assert 3 == len(files())


def test_several_requests_of_one_task_make_one_checkpoint() -> None:
    """Metadata and path of the last one count. [W2]"""

    def body(context: Context) -> None:
        context.checkpoint({"n": 1}, path="first")
        context.checkpoint({"n": 2}, path="second")

    _, context = three([], body).execute(ret_context=True)
    assert ["second.meta.json", "second.pkl", "second.state.json"] == files()
    assert 2 == context.checkpoint_metadata["n"]
    assert 1 == len(CheckpointManager.list("three"))


def test_the_requesting_task_is_complete_in_its_checkpoint() -> None:
    """It is listed, and its result can be read after the resume. [W3]"""
    context, _ = resume(checkpoint_in([], where="two").last_checkpoint_path or "")
    assert ["one", "two"] == context.completed_tasks
    assert "one done" == context.get_result("one")


def test_successors_are_pending_in_the_order_of_the_queue() -> None:
    """What follows the requesting task is in the snapshot, after what was queued before it. [W4]"""
    with workflow("fan") as flow:

        @task(inject_context=True)
        def start(context: Context) -> None:
            context.checkpoint(path="fan")

        others = [task(id=name)(lambda: None) for name in ("b", "c", "a")]
        for other in others:
            start >> other
    flow.execute()
    assert ["b", "c", "a"] == resume("fan")[0].task_queue.to_list()


def test_a_failed_attempt_leaves_no_checkpoint_and_no_request() -> None:
    """What it asked for is dropped, and doesn't come with another task's success. [W5, W6]"""
    tried: list[int] = []

    def body(context: Context) -> None:
        tried.append(1)
        if len(tried) == 1:
            context.checkpoint({"from": "the failed attempt"})
            context.next_task("one")
            raise OSError("once")

    flow = three(log := [], body)
    context = ExecutionContext.create(flow.graph)
    with pytest.raises(WorkflowRuntimeError):
        context.execute()
    assert not context.checkpoint_requested
    context.execute()
    assert ["one", "two", "two", "three"] == log
    assert ([], None) == (files(), context.last_checkpoint_path)


def test_a_canceled_workflow_writes_no_checkpoint() -> None:
    """The error says why; the task is not complete. [W7]"""

    def body(context: Context) -> None:
        context.checkpoint()
        context.cancel_workflow("enough")

    context = ExecutionContext.create(three([], body).graph)
    with pytest.raises(WorkflowCanceledError, match="two canceled the workflow: enough"):
        context.execute()
    assert (["one"], []) == (context.completed_tasks, files())
    assert ["two"] == context.task_queue.to_list()


def test_a_terminated_workflow_queues_no_successors() -> None:
    """A checkpoint that was asked for is written; what was queued before stays pending. [W8]"""
    with workflow("ends") as flow:

        @task
        def start() -> None: ...

        @task(inject_context=True)
        def ends(context: Context) -> str:
            context.checkpoint(path="ends")
            context.terminate_workflow("that is all")
            return "the end"

        @task
        def waits() -> None: ...

        @task
        def never() -> None: ...

        start >> ends >> never
        start >> waits
    assert "the end" == flow.execute()
    assert ["waits"] == resume("ends")[0].task_queue.to_list()
    assert "the end" == flow.run()  # a new session, as the last one came to its end
    assert 2 == len({snapshot.run for snapshot in CheckpointManager.list("ends", steps=True)})


def test_an_immediate_checkpoint_runs_its_task_again() -> None:
    """Path and metadata come at once; the interrupted attempt is not counted. [W9, W10]"""
    made: list[Any] = []
    counts: list[int] = []

    def body(context: Context) -> None:
        counts.append(context.cycle_count)
        if not made:
            made.append(context.checkpoint(path="now", deferred=False))
            assert Path("now.pkl").exists()

    flow = three(log := [], body)
    flow.execute()
    path, metadata = made[0]
    assert ("now.pkl", "immediate") == (path, metadata.user_metadata["mode"])
    context, _ = resume(path)
    assert ["two"] == context.task_queue.to_list()
    assert "two" == json.loads(Path("now.state.json").read_text())["resuming_task_id"]
    context.execute()
    assert ["one", "two", "three", "two", "three"] == log
    assert [1, 1] == counts


def test_metadata_tells_where_the_request_came_from() -> None:
    """Task, cycle, time and mode are added; the caller's own keys win. [W11]"""
    context = checkpoint_in([], metadata={"cycle_count": "mine"})
    found = dict(context.checkpoint_metadata)
    assert found.pop("elapsed_time") >= 0
    assert {"cycle_count": "mine", "task_id": "one", "mode": "deferred"} == found


def test_metadata_are_copied_at_the_request() -> None:
    """Changing the dict afterwards changes nothing. [W12]"""
    given = {"list": [1]}

    def body(context: Context) -> None:
        context.checkpoint(given)
        given["list"].append(2)

    _, context = three([], body).execute(ret_context=True)
    assert [1] == context.checkpoint_metadata["list"]


def test_what_cannot_be_saved_is_named_where_it_is_given() -> None:
    """Metadata at the request, values when they are set, results when they come; what was saved before stays. [W13]"""
    with pytest.raises(WorkflowRuntimeError) as caught:
        checkpoint_in([], metadata={"lock": threading.Lock()})
    assert isinstance(caught.value.cause, UnsavableError)
    assert "metadata['lock']" == caught.value.cause.key
    checkpoint_in([], path="good")

    def body(context: Context) -> Any:
        context.get_channel().set("x", (n for n in ()))

    with pytest.raises(WorkflowRuntimeError, match="channel key 'x' of flow three cannot be saved"):
        three([], body).execute()
    with pytest.raises(WorkflowRuntimeError, match="result of task two of flow three cannot be saved"):
        three([], lambda context: (n for n in ())).execute()
    assert ["two"] == resume("good", on_drift="allow")[0].task_queue.to_list()


# --- files ------------------------------------------------------------------------------------------------


def test_automatic_paths_name_session_and_step() -> None:
    """They lie below checkpoints/<session>/. [W14]"""
    context = checkpoint_in([], where="two")
    session = context.session_id
    assert re.fullmatch("[0-9a-f]{32}", session)
    assert re.fullmatch(rf"checkpoints/{session}/session_{session}_step_2_\w+\.pkl", context.last_checkpoint_path or "")


@pytest.mark.parametrize("path", ["new/folder/base", "new/folder/base.pkl", Path("new/folder/base")])
def test_a_path_of_ones_own_gives_three_files(path: Any) -> None:
    """With or without ending, text or Path; folders are made, and a relative path stays relative. [W15, W16, W17]"""
    context = checkpoint_in([], path=path)
    assert "new/folder/base.pkl" == context.last_checkpoint_path
    assert [f"new/folder/base{end}" for end in (".meta.json", ".pkl", ".state.json")] == files()
    assert ["two"] == resume(path)[0].task_queue.to_list()


@pytest.mark.parametrize("url", ["redis://host/0", "s3://bucket/x", "gs://bucket/x"])
def test_a_url_is_refused(url: str) -> None:
    """At the request and at the resume. [W17]"""
    with pytest.raises(WorkflowRuntimeError) as caught:
        checkpoint_in([], path=url)
    assert isinstance(caught.value.cause, NotImplementedError)
    with pytest.raises(NotImplementedError):
        resume(url)


def test_the_state_file_tells_where_the_run_is() -> None:
    """Version, session, start, steps, what is complete and pending, counts, backend. [W18]"""
    context = checkpoint_in([], where="two")
    state = state_of(context)
    assert ("2.0", context.session_id) == (state["schema_version"], state["session_id"])
    assert ("one", 2, ["one", "two"]) == (state["start_node"], state["steps"], state["completed_tasks"])
    assert ({"one": 1, "two": 1}, {"channel": "memory"}) == (state["cycle_counts"], state["backend"])
    assert ["three"] == [spec["task_id"] for spec in state["pending_tasks"]]
    assert state["resuming_task_id"] is None


def test_the_metadata_file_round_trips() -> None:
    """Also keys and values that JSON would change. [W19]"""
    given = {1: (2, {3}), "nan": float("inf")}
    context = checkpoint_in([], metadata=given, path="m")
    _, metadata = resume("m")
    assert given == {key: metadata.user_metadata[key] for key in given}
    assert metadata == CheckpointMetadata.from_dict(metadata.to_dict())
    assert datetime.fromisoformat(metadata.created_at).tzinfo == UTC
    assert (context.session_id, 1, "one", {"channel": "memory"}) == (
        metadata.session_id, metadata.steps, metadata.start_node, metadata.backend,
    )  # fmt: skip


def test_checkpoints_of_one_moment_are_two() -> None:
    """In the same second and step, ids and paths differ. [W20]"""
    made: list[tuple[str, CheckpointMetadata]] = []
    three([], lambda context: made.extend(context.checkpoint(deferred=False) for _ in range(2))).execute()
    assert 2 == len({path for path, _ in made}) == len({metadata.checkpoint_id for _, metadata in made})


def test_the_context_knows_its_last_checkpoint() -> None:
    """Path and metadata change with each. [W21]"""
    context = checkpoint_in([], path="first", metadata={"n": 1})
    assert ("first.pkl", 1) == (context.last_checkpoint_path, context.checkpoint_metadata["n"])
    path, made = CheckpointManager.create_checkpoint(context, path="second", metadata={"n": 2})
    assert (path, {"n": 2}) == (context.last_checkpoint_path, context.checkpoint_metadata)
    assert {"n": 2} == made.user_metadata


# --- resume -----------------------------------------------------------------------------------------------


def test_a_resume_runs_only_what_is_pending() -> None:
    """Nothing runs before execute(), whose result is that of the last task. [W22, W23]"""
    first = checkpoint_in(log := [], path="p")
    log.clear()
    context, metadata = resume("p")
    assert ([], first.checkpoint_metadata) == (log, metadata.user_metadata)
    assert "three done" == WorkflowEngine().execute(context)
    assert ["two", "three"] == log


def test_a_resumed_session_is_the_saved_one() -> None:
    """Session, steps, completed tasks, counts and metadata. [W24]"""
    made: list[Any] = []

    def body(context: Context) -> None:
        context.checkpoint({"x": 1}, path="p")
        made.append(context.session_id)

    three([], body).execute()
    context, _ = resume("p")
    assert (made[0], 2, ["one", "two"]) == (context.session_id, context.steps, context.completed_tasks)
    assert ({"one": 1, "two": 1}, 1) == (context.cycle_counts, context.checkpoint_metadata["x"])


def test_channel_values_keep_their_types() -> None:
    """Sets, tuples and numbers as keys come back as they were. [W25]"""
    values = {"set": {1, "a"}, "tuple": (1, (2,)), "dict": {1: "x", (2, 3): b"y"}, "none": None}

    def body(context: Context) -> None:
        for key, value in values.items():
            context.get_channel().set(key, value)
        context.checkpoint(path="p")

    three([], body).execute()
    channel = resume("p")[0].channel
    found = {key: channel.get(key, "missing") for key in values}
    assert values == found
    assert [type(value) for value in values.values()] == [type(value) for value in found.values()]


def counting(path: str) -> Callable[[Context], int]:
    """Return a body that adds 1 to "n" and asks for a checkpoint."""

    def body(context: Context) -> int:
        total: int = context.get_channel().atomic_add("n")
        context.checkpoint(path=f"{path}{total}")
        return total

    return body


def looping(name: str, body: Callable[[Context], Any], times: int = 3) -> WorkflowContext:
    with workflow(name) as flow:

        @task(inject_context=True, max_cycles=times)
        def loop(context: Context) -> Any:
            result = body(context)
            if context.can_iterate():
                context.next_iteration()
            return result

        @task
        def end(loop: int) -> str:
            return f"ended at {loop}"

        loop >> end
    return flow


def test_a_checkpoint_can_be_resumed_twice() -> None:
    """Both runs have the same result, and neither sees what the other writes. [W26]"""
    looping("twice", counting("c")).execute()
    (one, _), (two, _) = resume("c1"), resume("c1")
    one.channel.set("only", 1)
    assert "ended at 3" == one.execute() == two.execute()
    assert not two.channel.exists("only")


def test_an_older_checkpoint_brings_back_its_channel() -> None:
    """The values are those of its moment. [W27]"""
    looping("older", counting("o")).execute()
    assert [1, 2, 3] == [resume(f"o{n}")[0].channel.get("n") for n in (1, 2, 3)]


def test_the_data_of_a_pending_iteration_come_back() -> None:
    """Whatever can be pickled. [W29]"""
    seen: list[Any] = []
    with workflow("data") as flow:

        @task(inject_context=True)
        def loop(context: Context, data: Any = None) -> None:
            seen.append(data)
            if len(seen) < 2:
                context.checkpoint(path="p")
                context.next_iteration({1: (2,)})

    flow.execute()
    seen.append("resumed")
    resume("p")[0].execute()
    assert [None, {1: (2,)}, "resumed", {1: (2,)}] == seen


def test_an_iteration_takes_data_only_if_the_task_does() -> None:
    """A function without a parameter for it is told at the call."""
    with pytest.raises(WorkflowRuntimeError, match="takes no data"):
        three([], lambda context: context.next_iteration(5)).execute()


def test_loops_run_alike_with_and_without_resumes() -> None:
    """Inside the block, outside, and resumed after every step: the same order; what follows runs once, last. [W30]"""

    def flow_of(log: list[str]) -> WorkflowContext:
        def body(context: Context) -> None:
            log.append(f"loop {context.cycle_count}")

        return looping("alike", body)

    inside: list[str] = []
    with flow_of(inside) as flow:
        flow.execute()
    outside: list[str] = []
    flow_of(outside).execute()
    stepwise: list[str] = []
    flow = flow_of(stepwise)
    _, context = flow.execute(max_steps=1, ret_context=True)
    while context.task_queue:
        context, _ = CheckpointManager.resume_latest("alike", max_steps=context.steps + 1)
        context.execute()
    assert ["loop 1", "loop 2", "loop 3"] == inside == outside == stepwise
    assert ["loop", "end"] == context.completed_tasks
    assert 4 == context.steps


def test_a_cycle_limit_counts_across_a_resume() -> None:
    """Executions before and after together; one too many is an error in the task. [W31]"""
    counts: list[int] = []
    with workflow("limit") as flow:

        @task(inject_context=True, max_cycles=4)
        def loop(context: Context) -> None:
            counts.append(context.cycle_count)
            context.checkpoint(path=f"c{context.cycle_count}")
            context.next_iteration()

    with pytest.raises(WorkflowRuntimeError) as caught:
        flow.execute()
    assert isinstance(caught.value.cause, CycleLimitExceededError)
    with pytest.raises(WorkflowRuntimeError):
        resume("c2")[0].execute()
    assert [1, 2, 3, 4, 3, 4] == counts


def test_used_retries_stay_used() -> None:
    """Also after a resume; the JSON shows them. [W32]"""
    tries: list[int] = []
    with workflow("retries") as flow:

        @task
        def start() -> None: ...

        @task(max_retries=2)
        def fails() -> None:
            tries.append(1)
            raise OSError("again")

        @task(inject_context=True)
        def other(context: Context) -> None:
            context.checkpoint(path="r")

        start >> fails
        start >> other
    with pytest.raises(RetryLimitExceededError, match="fails failed in 3 attempts") as caught:
        flow.execute()
    assert (3, 2) == (len(tries), caught.value.max_retries)
    assert isinstance(caught.value.cause, OSError)
    (spec,) = json.loads(Path("r.state.json").read_text())["pending_tasks"]
    assert ("fails", 1, 2, "OSError: again") == tuple(
        spec[key] for key in ("task_id", "retry_count", "max_retries", "last_error")
    )
    tries.clear()
    with pytest.raises(RetryLimitExceededError):
        resume("r")[0].execute()
    assert 2 == len(tries)


def test_a_retry_waits_longer_each_time() -> None:
    """The wait grows by a factor up to a limit."""
    policy = RetryPolicy(initial_interval=1, backoff_factor=3, max_interval=5)
    assert [1, 3, 5] == [policy.wait_s(retry) for retry in (1, 2, 3)]
    assert 0.5 <= RetryPolicy(jitter=True).wait_s(1) <= 1.5
    assert RetryPolicy(jitter=True, max_interval=0.6).wait_s(1) <= 0.6


def test_keys_keep_the_time_they_have_to_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on after the resume where it was at the save. [W33]"""

    def body(context: Context) -> None:
        context.get_channel().set("short", 1, ttl=50)
        context.checkpoint(path="t")

    three([], body).execute()
    start = time.time()
    monkeypatch.setattr(time, "time", lambda: start + 1000)
    channel = resume("t")[0].channel
    assert channel.exists("short")
    monkeypatch.setattr(time, "time", lambda: start + 1060)
    assert (False, "gone") == (channel.exists("short"), channel.get("short", "gone"))


def test_a_finished_workflow_runs_nothing_more() -> None:
    """Resuming it returns what it returned. [W34]"""
    checkpoint_in(log := [], where="three", path="end")
    log.clear()
    assert "three done" == resume("end")[0].execute()
    assert [] == log


def test_max_steps_keeps_the_next_task() -> None:
    """It stays pending, in this process and in a checkpoint; a higher limit goes on from it. [W35]"""
    flow = three(log := [])
    result, context = flow.execute(max_steps=2, ret_context=True)
    assert ("two done", ["three"]) == (result, context.task_queue.to_list())
    context.save("limit")
    context.max_steps = 3
    assert "three done" == context.execute()
    assert "three done" == resume("limit", max_steps=10)[0].execute()
    assert ["one", "two", "three", "three"] == log


def test_a_failed_task_is_pending() -> None:
    """A checkpoint made after the failure runs it again, and so does the same context. [W36]"""
    broken = [True]

    def body(context: Context) -> None:
        if broken[0]:
            raise ZeroDivisionError("yet")

    context = ExecutionContext.create(three(log := [], body).graph, on_failure=True)
    with pytest.raises(WorkflowRuntimeError, match="task two failed: ZeroDivisionError: yet"):
        context.execute()
    assert (["two"], "failure") == (context.task_queue.to_list(), context.checkpoint_metadata["mode"])
    broken[0] = False
    resumed, _ = resume(context.last_checkpoint_path or "")
    assert "three done" == resumed.execute()
    assert "three done" == context.execute()
    assert ["one", "two", "two", "three", "two", "three"] == log


# --- damage -----------------------------------------------------------------------------------------------

ENDINGS = [".pkl", ".state.json", ".meta.json"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_missing_file_is_named(ending: str) -> None:
    """Before anything is decoded. [W40]"""
    checkpoint_in([], path="p")
    os.remove(f"p{ending}")
    with pytest.raises(FileNotFoundError) as caught:
        resume("p")
    assert f"p{ending}" == caught.value.filename


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "flip"])
def test_damage_is_one_error(ending: str, damage: str) -> None:
    """Whatever happened to whichever file; no task runs. [W41]"""
    checkpoint_in(log := [], path="p")
    log.clear()
    path = Path(f"p{ending}")
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"empty": b"", "cut": content[:middle], "garbage": b"\x80\x05N.", "flip": flipped}[damage])
    with pytest.raises(DamagedSnapshotError):
        resume("p")
    assert issubclass(DamagedSnapshotError, ValueError)
    assert 1 == len(CheckpointManager.verify("p"))
    assert [] == log


def test_files_of_two_saves_are_not_mixed() -> None:
    """Each pair of files that were saved apart is refused. [W43]"""
    checkpoint_in([], path="a")
    checkpoint_in([], path="b")
    for ending in ENDINGS:
        for other in ENDINGS:
            Path(f"mixed{other}").write_bytes(Path(f"a{other}").read_bytes())
        Path(f"mixed{ending}").write_bytes(Path(f"b{ending}").read_bytes())
        with pytest.raises(DamagedSnapshotError, match=r"saved apart|does not match|do not match"):
            resume("mixed")
    assert [] == CheckpointManager.verify("a")


@pytest.mark.parametrize(
    ("key", "value", "ending"),
    [
        ("schema_version", "99.0", ".state.json"),
        ("session_id", "f" * 32, ".state.json"),
        ("schema_version", "99.0", ".pkl"),
    ],
)
def test_foreign_files_are_refused_with_both_values(key: str, value: str, ending: str) -> None:
    """The message has what is there and what should be: versions, or sessions. [W44]"""
    context = checkpoint_in([], path="p")
    path = Path(f"p{ending}")
    own = {"schema_version": "2.0", "session_id": context.session_id}[key]
    path.write_bytes(path.read_bytes().replace(own.encode(), value.encode(), 1))
    with pytest.raises(DamagedSnapshotError) as caught:
        resume("p")
    assert own in str(caught.value)
    assert value in str(caught.value)


def test_a_pending_task_that_is_gone_is_named_at_the_resume() -> None:
    """All such ids are in the error. [W47]"""
    checkpoint_in([], path="p")
    with workflow("three"):
        task(id="another")(lambda: None)
    with pytest.raises(ChangedWorkflowError) as caught:
        resume("p")
    assert ("two",) == caught.value.tasks


def test_changed_code_is_told(recwarn: pytest.WarningsRecorder) -> None:
    """By default as a warning that names the tasks; as an error, or not at all, if one says so. [W46]"""
    checkpoint_in([], path="p")
    with workflow("three"):
        chain(*[task(id=name, inject_context=True)(lambda context: "new") for name in ("one", "two", "three")])
    with pytest.raises(ChangedWorkflowError) as caught:
        resume("p", on_drift="error")
    assert ("one", "two", "three") == caught.value.tasks
    with pytest.warns(checkpoint.CodeChangedWarning, match=r"one \(.*\), two \(.*\), three"):
        resume("p")
    assert "new" == resume("p", on_drift="allow")[0].execute()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").exists(), reason="needs /proc for a folder that refuses")
def test_a_folder_that_cannot_be_written_is_named() -> None:
    """The task that is done stays done in the live session. [W49]"""
    context = ExecutionContext.create(three([], lambda context: context.checkpoint(path="/proc/none/x")).graph)
    with pytest.raises(StoreError, match="/proc/none"):
        context.execute()
    assert (["one", "two"], ["three"]) == (context.completed_tasks, context.task_queue.to_list())
    assert "three done" == context.execute()


def test_files_are_for_their_owner_alone() -> None:
    """Whatever the umask. [W48]"""
    checkpoint_in([], path="new/p")
    assert {0o600} == {os.stat(path).st_mode & 0o777 for path in files()}


# --- results and patterns ---------------------------------------------------------------------------------


def test_results_are_in_the_channel() -> None:
    """By the task's name, None included; and by get_result. [W50]"""
    with workflow("results") as flow:
        nothing = task(id="nothing")(lambda: None)
        nothing >> task(id="something")(lambda: 5)
    _, context = flow.execute(ret_context=True)
    assert (True, None) == (context.channel.exists("nothing.__result__"), context.get_result("nothing", "default"))
    assert (5, 5) == (context.channel.get("something.__result__"), context.get_result("something"))
    assert "default" == context.get_result("unknown", "default")


def test_a_loop_has_the_result_of_its_last_iteration() -> None:
    """Under the id of the task. [W51]"""
    _, context = looping("last", lambda context: context.cycle_count).execute(ret_context=True)
    assert 3 == context.get_result("loop")


def test_a_failure_is_no_result() -> None:
    """It is kept apart, as text. [W52]"""

    def body(context: Context) -> None:
        raise OSError("no")

    context = ExecutionContext.create(three([], body).graph)
    with pytest.raises(WorkflowRuntimeError):
        context.execute()
    assert (None, {"two": "OSError: no"}) == (context.get_result("two"), context.failures)


def test_idempotency_keys_are_the_same_in_every_run() -> None:
    """For one session, task and item; another item has another one, and so has a fork. [W56]"""
    seen: list[tuple[str, str]] = []

    def body(context: Context) -> None:
        seen.append((context.idempotency_key("order", 1), context.idempotency_key("order", 2)))

    flow = three([], body)
    _, context = flow.execute(max_steps=1, ret_context=True)
    context.save("p")
    resume("p", max_steps=9)[0].execute()
    resume("p", max_steps=9)[0].execute()
    resume("p", max_steps=9, fork=True)[0].execute()
    assert seen[0] == seen[1]
    assert 4 == len({*seen[0], *seen[2]})


def test_a_diamond_runs_its_sink_once() -> None:
    """After both branches. [W57]"""
    log: list[str] = []
    with workflow("diamond") as flow:
        a, b, c, d, e = (task(id=name)(lambda name=name: log.append(name)) for name in "abcde")
        a >> b >> d
        a >> c >> e >> d
    flow.execute()
    assert ["a", "b", "c", "e", "d"] == log


def test_a_join_whose_other_branch_turned_away_runs_in_the_end() -> None:
    """When nothing else is left."""
    log: list[str] = []
    with workflow("turned") as flow:
        a, b, d = (task(id=name)(lambda name=name: log.append(name)) for name in "abd")

        @task(inject_context=True)
        def turns(context: Context) -> None:
            context.next_task(task(id="new")(lambda: log.append("new")), goto=True)

        a >> b >> d
        a >> turns >> d
    flow.execute()
    assert ["a", "b", "new", "d"] == log


def test_a_static_loop_needs_no_join() -> None:
    """An edge that leads back starts its task each time."""
    log: list[str] = []
    with workflow("back") as flow:

        @task(inject_context=True)
        def work(context: Context) -> None:
            log.append("work")

        @task(inject_context=True)
        def check(context: Context) -> None:
            if context.cycle_count == 3:
                context.terminate_workflow("three times")

        start = task(id="start")(lambda: None)
        start >> work >> check >> work
    flow.execute("start")
    assert ["work"] * 3 == log


def test_new_tasks_run_before_what_follows_and_known_ones_instead() -> None:
    """Also after a resume that only has the names."""
    log: list[str] = []
    with workflow("jumps") as flow:

        @task(inject_context=True)
        def first(context: Context) -> None:
            context.next_task(task(id="new")(lambda: log.append("new")))
            context.checkpoint(path="j")

        @task(inject_context=True)
        def second(context: Context) -> None:
            log.append("second")
            context.next_task(last)

        @task
        def skipped() -> None:
            log.append("skipped")

        @task
        def last() -> None:
            log.append("last")

        first >> second >> skipped >> last
    flow.execute()
    assert ["new", "second", "last"] == log
    log.append("resumed")
    context, _ = resume("j")
    assert ["new", "second"] == context.task_queue.to_list()
    context.execute()
    assert "last" == context.last_task_id


# --- declaring --------------------------------------------------------------------------------------------


def test_a_workflow_needs_one_beginning() -> None:
    """None, or two, are errors that say what to do; one can be named."""
    with workflow("begin") as flow:
        pass
    with pytest.raises(GraphCompilationError, match="0 of its tasks follow nothing"):
        flow.execute()
    with flow:
        task(id="a")(lambda: "a")
        task(id="b")(lambda: "b")
    with pytest.raises(GraphCompilationError, match="2 of its tasks"):
        flow.execute()
    assert "b" == flow.execute("b")
    with pytest.raises(ConfigError, match="has no task 'x'"):
        flow.execute("x")


def test_two_tasks_of_one_id_are_an_error() -> None:
    """It names the id."""
    with workflow("duplicate"):
        task(id="a")(lambda: 1)
        declare = task(id="a")
        with pytest.raises(DuplicateTaskError, match="'a'"):
            declare(lambda: 2)


@task
def outside(x: int = 1) -> int:
    return x + 1


@task("given")
def outside_too(outside: int, *, factor: int = 10) -> int:
    return outside * factor


def test_tasks_from_outside_belong_to_the_workflow_that_connects_them() -> None:
    """To several workflows, too; called by themselves they are functions; parameters come from the channel."""
    for name in ("one", "two"):
        with workflow(name) as flow:
            outside >> outside_too
        assert ["outside", "given"] == list(flow.graph.nodes.keys())
        assert 20 == flow.execute()
        assert 600 == flow.execute(initial_channel={"x": 5, "factor": 100})
    assert (4, 2) == (outside(3), outside.run())


def test_a_called_task_is_a_copy_with_bound_arguments() -> None:
    """They come before what the channel has."""
    with workflow("bound") as flow:
        outside(task_id="a", x=10) >> outside(task_id="outside", x=20) >> outside_too
    assert 210 == flow.execute(initial_channel={"x": 1})


# --- managing ---------------------------------------------------------------------------------------------


def test_checkpoints_can_be_listed_compared_and_pruned() -> None:
    """Newest by order, not by name; pruned with their files."""
    looping("managed", counting("m"), times=12).execute()
    found = CheckpointManager.list("managed")
    assert [f"m{n}.pkl" for n in range(1, 13)] == [os.path.basename(each.metadata["path"]) for each in found]
    latest = CheckpointManager.latest("managed")
    assert latest == found[-1]
    assert 14 == len(CheckpointManager.list("managed", steps=True))
    changed = CheckpointManager.diff(found[0], found[1]).changed
    assert {"channel:n", "channel:loop.__result__", "execution"} == set(changed)
    assert 11 == CheckpointManager.prune("managed", keep=2)
    assert {"m11.pkl", "m12.pkl"} == {path for path in files() if path.endswith(".pkl")}
    assert [] == CheckpointManager.verify()
    assert 11 == resume(CheckpointManager.list("managed")[0])[0].channel.get("n")
    assert "ended at 12" == CheckpointManager.resume_latest("managed")[0].execute()
    with pytest.raises(UnknownSnapshotError):
        CheckpointManager.resume_latest("unknown")


def test_checkpoints_come_every_so_many_steps() -> None:
    """Without a request of any task."""
    looping("every", lambda context: None, times=7).execute(checkpoint_every=3)
    assert [3, 6] == [snapshot.index for snapshot in CheckpointManager.list("every")]
    with pytest.raises(ConfigError, match="checkpoint_every"):
        looping("every", lambda context: None).execute(checkpoint_every=0)


def test_a_fork_leaves_the_session_as_it_is() -> None:
    """It has an id of its own; the latest of the workflow is then the fork's."""
    looping("fork", counting("f")).execute()
    fork, _ = resume("f1", fork=True)
    original, _ = resume("f1")
    assert fork.session_id != original.session_id
    fork.channel.set("n", 100)
    assert "ended at 102" == fork.execute()
    assert "ended at 3" == original.execute()
    assert [fork.session_id] == [
        run.id for run in checkpoint.journal.journal_at().runs("fork") if run.source is not None
    ]


def test_a_session_is_executed_once_at_a_time() -> None:
    """A second execution of it is refused, by name."""
    errors: list[BaseException] = []

    def body(context: Context) -> None:
        other, _ = CheckpointManager.resume_latest("three")
        with pytest.raises(checkpoint.BusyFlowError) as caught:
            other.execute()
        errors.append(caught.value)

    three([], body).execute()
    assert 1 == len(errors)


def test_once_and_each_remember_when_a_session_goes_back() -> None:
    """What was done to the world stays done, whichever checkpoint the session is resumed from. [W55]"""
    done: list[str] = []

    def body(context: Context) -> list[str]:
        results = [context.once(("charge", n), lambda n=n: done.append(f"charge {n}") or f"receipt {n}") for n in "12"]
        done.extend(f"mail {n}" for n in context.each("34"))
        return results

    flow = three([], body)
    _, context = flow.execute(max_steps=1, ret_context=True)
    context.save("p")
    for _ in range(2):
        again, _ = resume("p", max_steps=9)
        again.execute()
        assert ["receipt 1", "receipt 2"] == again.get_result("two")
    assert ["charge 1", "charge 2", "mail 3", "mail 4"] == done
    resume("p", max_steps=9, fork=True)[0].execute()
    assert 8 == len(done)


def test_a_task_can_wait_for_a_key() -> None:
    """The run ends with the task pending; once the key is set it goes on."""
    flow = three(log := [], lambda context: context.wait_for("approved"))
    result, context = flow.execute(ret_context=True)
    assert ("one done", "approved", ["two"]) == (result, context.waiting_for, context.task_queue.to_list())
    again, _ = CheckpointManager.resume_latest("three")
    again.channel.set("approved", "by me")
    again.execute()
    assert (None, "by me") == (again.waiting_for, again.get_result("two"))
    assert ["one", "two", "two", "three"] == log


def test_a_task_that_waits_may_leave_a_checkpoint() -> None:
    """If it has asked for one; the request is not kept for another task."""

    def body(context: Context) -> Any:
        context.checkpoint(path="waits")
        return context.wait_for("approved")

    _, session = three([], body).execute(ret_context=True)
    assert not session.checkpoint_requested
    context, _ = resume("waits")
    assert ("approved", ["two"]) == (context.waiting_for, context.task_queue.to_list())
    context.channel.set("approved", True)
    assert "three done" == context.execute()


def test_files_stand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are resumed with another store, too, and know what was done to the world."""
    done: list[int] = []

    def body(context: Context) -> None:
        context.once("x", lambda: done.append(1))
        context.checkpoint(path="alone", deferred=False)

    three([], body).execute()
    monkeypatch.setenv("CP_CACHE_DIR", "elsewhere")
    context, _ = resume("alone")
    assert "three done" == context.execute()
    assert [1] == done
    assert [context.session_id] == [run.id for run in checkpoint.journal.journal_at().runs("three")]
    checkpoint.journal.journal_at().close()


@pytest.mark.parametrize(
    ("error", "builtin", "text"),
    [
        (WorkflowRuntimeError("t", "E: x"), RuntimeError, "task t failed: E: x; it stays pending, and runs first"),
        (RetryLimitExceededError("t", "E: x", 2), RuntimeError, "task t failed in 3 attempts, the last time with E: x"),
        (CycleLimitExceededError("t", 3), RuntimeError, "task t may run 3 times; ask can_iterate()"),
        (ParallelGroupError("g", {"a": "x"}), RuntimeError, "group g failed in 1 of its members: a: x"),
        (MergeConflictError("g", "k", ("a", "b")), ValueError, "members a, b of group g wrote different values"),
        (WorkflowCanceledError("t", "m"), RuntimeError, "task t canceled the workflow: m"),
        (GraphCompilationError("w", "r"), ValueError, "workflow w cannot run: r"),
        (
            DuplicateTaskError("w", "t"),
            GraphCompilationError,
            "workflow w cannot run: two of its tasks have the id 't'",
        ),
        (ConfigError("o", "r"), ValueError, "o: r"),
        (ChangedWorkflowError("w", ("a", "b"), "r", "do"), ValueError, "workflow w: r: a, b; do"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_tell_and_travel(error: checkpoint.CheckpointError, builtin: type[Exception], text: str) -> None:
    """Each is the builtin that it specialises, says what failed, and is the same after pickling."""
    if isinstance(error, WorkflowRuntimeError):
        error.cause = OSError(threading.Lock())
    copy = pickle.loads(pickle.dumps(error))
    assert (type(error), error.args, str(error)) == (type(copy), copy.args, str(copy))
    assert isinstance(copy, builtin)
    assert isinstance(copy, checkpoint.CheckpointError)
    assert str(copy).startswith(text)


def test_without_autosave_only_checkpoints_are_kept() -> None:
    """A workflow that asks for none leaves nothing on disk."""
    three([]).execute(autosave=False)
    assert [] == os.listdir()
    checkpoint_in_one = three([], lambda context: context.checkpoint(path="p"))
    checkpoint_in_one.execute(autosave=False)
    assert "three done" == resume("p")[0].execute()


def test_a_workflow_that_is_being_declared_gets_nothing_of_another_one() -> None:
    """Executing and resuming one inside another's block adds no task to that."""
    flow = looping("inner", counting("i"))
    with workflow("outer") as outer:
        assert "ended at 3" == flow.execute()
        assert "ended at 3" == resume("i1")[0].execute()
    assert {} == outer.graph.nodes


def test_a_loop_adds_no_nodes() -> None:
    """However often it runs; and a value that stays the same is kept once."""

    def body(context: Context) -> None:
        if context.cycle_count == 1:
            context.get_channel().set("large", os.urandom(3_000_000))

    flow = looping("growth", body, times=30)
    _, context = flow.execute(ret_context=True)
    assert ["loop", "end"] == list(context.graph.nodes)
    found = CheckpointManager.list("growth", steps=True)
    assert all(snapshot.size > 3_000_000 for snapshot in found[2:])
    assert 4_000_000 > sum(snapshot.written for snapshot in found)


def test_a_task_can_be_called_by_hand() -> None:
    """With the context that it would get."""
    flow = three([], lambda context: context.can_iterate())
    context = ExecutionContext.create(flow.graph)
    with context.executing_task(flow.graph.nodes["two"]) as given:
        assert flow.graph.nodes["two"].run(given) is True  # type: ignore[attr-defined]
    assert ([], 0) == (context.completed_tasks, context.steps)


@given(
    edges=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14),
    stops=st.lists(st.integers(1, 3), max_size=8),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_graph_runs_each_task_once_after_all_that_it_follows(
    edges: list[tuple[int, int]], stops: list[int]
) -> None:
    """In the same order with resumes anywhere as without. [W30, W57]"""
    follows = {(0, number) for number in range(1, 7) if all(after != number for _, after in edges)}
    follows |= {(min(pair), max(pair)) for pair in edges if pair[0] != pair[1]}
    log: list[int] = []
    with workflow("any") as flow:
        tasks = [task(id=str(number))(lambda number=number: log.append(number)) for number in range(7)]
        for before, after in sorted(follows):
            tasks[before] >> tasks[after]
    flow.execute("0")
    undisturbed = list(log)
    reached, size = {0}, 0
    while size < len(reached):
        size = len(reached)
        reached |= {after for before, after in follows if before in reached}
    assert sorted(reached) == sorted(undisturbed)
    for before, after in follows:
        if before in reached:
            assert undisturbed.index(before) < undisturbed.index(after)
    log.clear()
    context = ExecutionContext.create(flow.graph, "0", max_steps=0)
    context.execute()
    for steps in [*stops, 100]:
        context, _ = CheckpointManager.resume_latest("any", max_steps=context.steps + steps)
        context.execute()
    assert undisturbed == log


def test_code_that_drags_much_with_it_is_not_kept() -> None:
    """A closure over megabytes leaves a small checkpoint."""
    table = os.urandom(6_000_000)
    with workflow("heavy") as flow:

        @task(inject_context=True)
        def heavy(context: Context) -> int:
            context.checkpoint(path="heavy")
            return len(table)

    flow.execute()
    assert os.path.getsize("heavy.pkl") < 100_000
    assert 6_000_000 == resume("heavy")[0].get_result("heavy")
