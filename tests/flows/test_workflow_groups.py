"""Groups of workflows: real threads and processes, barriers, merges, and what a failure or a kill leaves of them."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from checkpoint import TaskLostError
from checkpoint.flows.workflow import (
    CheckpointManager,
    ConfigError,
    ExecutionContext,
    GraphCompilationError,
    MergeConflictError,
    ParallelGroup,
    ParallelGroupError,
    TaskExecutionContext,
    WorkflowContext,
    parallel,
    task,
    workflow,
)

Context = TaskExecutionContext
resume = CheckpointManager.resume_from_checkpoint
each_backend = pytest.mark.parametrize("backend", ["threads", "processes", "direct"])


@task(inject_context=True)
def left(context: Context) -> tuple[str, int]:
    """Run in whatever process there is."""
    channel = context.get_channel()
    channel.set("left", {1, 2})
    channel.append("list", "left")
    channel.atomic_add("n", 2)
    with channel.lock("lock"):
        channel.set("seen by left", channel.get("x"))
    context.checkpoint({"by": "left"}, path="barrier")
    receipt = context.once("charge", str, 5)
    done = list(context.each("abc"))
    return f"{context.task_id} {context.cycle_count} {receipt} {len(done)}", os.getpid()


@task(inject_context=True)
def right(context: Context) -> tuple[str, int]:
    channel = context.get_channel()
    assert not channel.exists("left")
    channel.append("list", "right")
    channel.atomic_add("n", 3)
    channel.get("idle")
    return context.idempotency_key(1), os.getpid()


@task(inject_context=True)
def start(context: Context) -> None:
    context.get_channel().set("idle", 0)
    context.get_channel().set("x", 7)
    context.checkpoint(path="before")


@task(inject_context=True)
def end(context: Context) -> list[Any]:
    channel = context.get_channel()
    return [channel.get(key) for key in ("left", "list", "n", "seen by left", "idle")]


@task
def fails() -> None:
    raise OSError("no")


@task
def dies() -> None:
    os._exit(3)


def grouped(backend: str, *members: Any, **options: Any) -> WorkflowContext:
    with workflow("grouped") as flow:
        start >> parallel(*members).set_group_name("group").with_execution(backend, **options) >> end
    return flow


@each_backend
def test_members_run_side_by_side_and_are_merged_at_the_barrier(backend: str) -> None:
    """Each sees what was there before; additions and lists are joined, untouched keys stay. [W39]"""
    result, context = grouped(backend, left, right).execute(ret_context=True)
    assert [{1, 2}, ["left", "right"], 5, 7, 0] == result
    told, process = context.get_result("left")
    assert "left 1 5 3" == told
    assert (process == os.getpid()) == (backend != "processes")
    assert context.get_result("group")["right"] == context.get_result("right")
    assert ["start", "group", "end"] == [each for each in context.completed_tasks if each not in ("left", "right")]
    assert 4 == context.steps


@each_backend
def test_a_checkpoint_of_a_member_is_made_once_at_the_barrier(backend: str) -> None:
    """It is one of the whole workflow: members are complete, and what follows the group is pending. [W38]"""
    grouped(backend, left, right).execute()
    context, metadata = resume("barrier")
    assert ("left", ["end"]) == (metadata.user_metadata["by"], context.task_queue.to_list())
    assert {"left", "right", "group"} < set(context.completed_tasks)
    assert [{1, 2}, ["left", "right"], 5, 7, 0] == context.execute()


def test_members_meet_while_they_run() -> None:
    """Threads wait for each other, so they run at the same time."""
    barrier = threading.Barrier(2, timeout=30)
    with workflow("meet") as flow:
        parallel(*[task(id=name)(lambda: barrier.wait() >= 0) for name in "ab"])
    assert {"a": True, "b": True} == flow.execute("ParallelGroup_1")


def test_a_group_is_pending_before_it_runs() -> None:
    """A checkpoint made before it resumes with it. [W37]"""
    grouped("threads", left, right).execute()
    context, _ = resume("before")
    assert ["group"] == context.task_queue.to_list()
    assert 5 == context.execute()[2]


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_members_that_are_done_do_not_run_again(backend: str) -> None:
    """After a failure of another one, in this process and after a resume. [W37]"""
    flow = grouped(backend, left, fails)
    context = ExecutionContext.create(flow.graph, on_failure=True)
    with pytest.raises(ParallelGroupError, match=r"fails: .*OSError: no") as caught:
        context.execute()
    assert ["fails"] == list(caught.value.failures)
    assert ["group"] == context.task_queue.to_list()
    assert not context.channel.exists("left")
    for again in (resume(context.last_checkpoint_path or "")[0], CheckpointManager.resume_latest("grouped")[0]):
        with pytest.raises(ParallelGroupError):
            again.execute()
        assert {"start": 1, "left": 1} == again.cycle_counts


def test_a_group_may_go_on_without_those_that_fail() -> None:
    """With the policy "best_effort", unless all fail."""
    assert ["left"] == grouped("threads", left, fails, policy="best_effort").execute()[1]
    with pytest.raises(ParallelGroupError):
        grouped("threads", fails, dies_in_thread(), policy="best_effort").execute()


def dies_in_thread() -> Any:
    return task(id="also")(lambda: 1 / 0)


def test_a_process_that_dies_is_a_failure_of_its_member() -> None:
    """The error says how it ended."""
    with pytest.raises(ParallelGroupError, match="its process ended with code 3") as caught:
        grouped("processes", left, dies).execute()
    assert isinstance(caught.value.__cause__.cause, TaskLostError)  # type: ignore[union-attr]


def writers(**options: Any) -> WorkflowContext:
    """Return a workflow whose two members write different values to one key."""
    with workflow("writers") as flow:

        @task(inject_context=True)
        def one(context: Context) -> None:
            context.get_channel().set("done", {1})

        @task(inject_context=True)
        def two(context: Context) -> None:
            context.get_channel().set("done", {2})

        group = (one | two).set_group_name("group").with_execution(**options)
        group >> task(id="after", inject_context=True)(lambda context: context.get_channel().get("done"))
    return flow


def test_different_values_of_one_key_are_a_conflict() -> None:
    """The error names the key and the members; nothing is merged. A declared rule solves it. [W39]"""
    flow = writers()
    context = ExecutionContext.create(flow.graph, "group")
    with pytest.raises(MergeConflictError, match=r"one, two of group group .* 'done'"):
        context.execute()
    assert (False, ["group"]) == (context.channel.exists("done"), context.task_queue.to_list())
    rules = {"done": lambda before, values: set().union(*values)}
    assert {1, 2} == writers(merge=rules).execute("group")


def test_chains_are_branches_of_a_group() -> None:
    """What follows a member runs in its branch, before what follows the group."""
    log: list[str] = []
    with workflow("chains") as flow:
        a, b, c, d, e = (task(id=name)(lambda name=name: log.append(name)) for name in "abcde")
        a >> ((b >> c) | d).with_execution("direct") >> e
    flow.execute()
    assert ["a", "b", "c", "d", "e"] == log


def test_a_task_that_follows_two_members_is_refused() -> None:
    """It would run twice."""
    with workflow("shared") as flow:
        a, b, c = (task(id=name)(lambda: None) for name in "abc")
        (a >> c) | (b >> c)
    with pytest.raises(GraphCompilationError, match="'c' follows both 'a' and 'b'"):
        flow.execute("ParallelGroup_1")


def test_loops_retries_and_ends_work_in_members() -> None:
    """A member iterates and is tried again in its lane; when it terminates, nothing follows the group."""
    tries: list[int] = []
    with workflow("lanes") as flow:

        @task(inject_context=True)
        def loops(context: Context) -> int:
            if context.cycle_count < 3:
                context.next_iteration()
            else:
                context.terminate_workflow("enough")
            return context.cycle_count

        @task(max_retries=1)
        def fails_once() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise OSError("once")

        (loops | fails_once) >> task(id="never")(lambda: 1 / 0)
    result, context = flow.execute("ParallelGroup_1", ret_context=True)
    assert ({"loops": 3, "fails_once": None}, 2) == (result, len(tries))
    assert [] == context.task_queue.to_list()


def test_groups_are_written_in_several_ways() -> None:
    """a | b | c is one group of three; options that don't exist are refused."""
    with workflow("ways") as flow:
        a, b, c = (task(id=name)(lambda: None) for name in "abc")
        group = a | b | c
    assert ["a", "b", "c"] == group.members
    assert [group] == [node for node in flow.graph.nodes.values() if isinstance(node, ParallelGroup)]
    with pytest.raises(ValueError, match="at least 2"):
        parallel(a)
    with pytest.raises(ConfigError, match="threads, processes, direct"):
        group.with_execution("cloud")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no option thread_count"):
        group.with_execution("threads", {"thread_count": 2})


# --- groups in branches -----------------------------------------------------------------------------------


def nested(backend: str, log: list[str]) -> WorkflowContext:
    """Declare begin >> (plain | (head >> (one | two) >> tail)) >> end, where each adds to the same keys."""

    def declare(name: str, asks: bool = False) -> Any:
        @task(id=name, inject_context=True)
        def run(context: Context) -> str:
            channel = context.get_channel()
            channel.append("names", name)
            channel.atomic_add("n", 1)
            channel.set(name, channel.get("names"))
            log.append(name)
            if asks:
                context.checkpoint({"by": name}, path="nested")
            return name

        return run

    with workflow("nested") as flow:
        inner = parallel(declare("one", asks=True), declare("two")).set_group_name("inner").with_execution(backend)
        branch = declare("head") >> inner >> declare("tail")
        outer = parallel(declare("plain"), branch).set_group_name("outer").with_execution(backend)
        declare("begin") >> outer >> declare("end")
    return flow


@pytest.mark.parametrize("backend", ["threads", "direct"])
def test_a_branch_may_have_a_group_of_its_own(backend: str) -> None:
    """What its members write is merged into the branch, then with the branch; requests go up to the outer barrier."""
    result, context = nested(backend, []).execute(ret_context=True)
    assert ("end", 7, 7) == (result, context.channel.get("n"), context.steps)
    seen = {name: context.channel.get(name) for name in ("plain", "one", "two", "tail")}
    assert {
        "plain": ["begin", "plain"],
        "one": ["begin", "head", "one"],
        "two": ["begin", "head", "two"],
        "tail": ["begin", "head", "one", "two", "tail"],
    } == seen
    assert ["begin", "plain", "head", "one", "two", "tail", "end"] == context.channel.get("names")
    assert {"plain": "plain", "head": "head"} == context.get_result("outer")
    assert {"one": "one", "two": "two"} == context.get_result("inner")
    resumed, metadata = resume("nested")
    assert ("one", ["end"]) == (metadata.user_metadata["by"], resumed.task_queue.to_list())
    assert "end" == resumed.execute()


@pytest.mark.parametrize("steps", range(1, 8))
def test_a_group_in_a_branch_goes_on_where_it_was(steps: int) -> None:
    """After a stop at any step, in a new session of the same state: nothing runs twice, and the outcome is the same."""
    log: list[str] = []
    nested("direct", log).execute(max_steps=steps)
    context, _ = CheckpointManager.resume_latest("nested", max_steps=100, on_drift="allow")
    assert "end" == context.execute()
    assert sorted(["begin", "plain", "head", "one", "two", "tail", "end"]) == sorted(log)
    assert ["begin", "plain", "head", "one", "two", "tail", "end"] == context.channel.get("names")
    assert 7 == context.steps


def test_the_failure_of_an_inner_group_is_one_of_the_outer_group() -> None:
    """It is told with the names of all; what has succeeded is not run again."""
    log: list[str] = []
    broken = [1]

    @task(id="breaks")
    def breaks() -> str:
        log.append("breaks")
        return "mended" if not broken else str(1 // 0)

    @task(id="works")
    def works() -> str:
        log.append("works")
        return "worked"

    @task(id="plain")
    def plain() -> str:
        log.append("plain")
        return "plain"

    with workflow("inner failure") as flow:
        inner = parallel(works, breaks).set_group_name("inner")
        outer = parallel(plain, task(id="head")(lambda: None) >> inner).set_group_name("outer")
        outer >> task(id="end")(lambda works, breaks: f"{works} {breaks}")
    with pytest.raises(ParallelGroupError, match=r"outer failed .* head: .*inner failed .* breaks:") as caught:
        flow.execute("outer")
    assert (["head"], ("plain",)) == ([name for name, _ in caught.value.failed_tasks], caught.value.successful_tasks)
    broken.clear()
    assert "worked mended" == CheckpointManager.resume_latest("inner failure")[0].execute()
    assert ["breaks", "breaks", "plain", "works"] == sorted(log)


def test_a_task_may_not_follow_an_inner_and_an_outer_member() -> None:
    """It would run twice."""
    with workflow("crossed") as flow:
        one, two, three, last = (task(id=name)(lambda: None) for name in ("one", "two", "three", "last"))
        inner = parallel(two, three)
        parallel(one, task(id="head")(lambda: None) >> inner).set_group_name("outer")
        one >> last
        two >> last
    with pytest.raises(GraphCompilationError, match="'last' follows both"):
        flow.execute("outer")


def test_locks_of_a_process_are_given_back_one_by_one() -> None:
    """Leaving the inner one keeps the outer one. [W39]"""

    with workflow("locks") as flow:
        parallel(holds_two, task(id="other")(lambda: None)).set_group_name("group").with_execution("processes")
    assert ["outer kept", "inner free"] == flow.execute("group")["holds_two"]


@task(inject_context=True)
def holds_two(context: Context) -> list[str]:
    channel = context.get_channel()
    seen = []
    with channel.lock("outer"):
        with channel.lock("inner"):
            pass
        try:
            with channel.lock("outer", 0.01):
                seen.append("outer free")
        except TimeoutError:
            seen.append("outer kept")
        with channel.lock("inner", 0.01):
            seen.append("inner free")
    return seen
