"""Workflows: how tasks are called, how often, and how a workflow is run again, by itself or from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import checkpoint
from checkpoint.flows.workflow import (
    ChangedWorkflowError,
    CheckpointManager,
    ConfigError,
    CycleLimitExceededError,
    ExecutionContext,
    RetryLimitExceededError,
    RetryPolicy,
    TaskExecutionContext,
    TaskHandler,
    TaskWrapper,
    WorkflowContext,
    WorkflowEngine,
    WorkflowRuntimeError,
    task,
    workflow,
)

Context = TaskExecutionContext
resume = CheckpointManager.resume_from_checkpoint


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process, in a folder."""
    surroundings = {**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parents[1])}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=60)


# --- calling ----------------------------------------------------------------------------------------------


class Twice(TaskHandler):
    """Calls a function twice, and says so by returning the sum or by setting it."""

    def __init__(self, *, sets: bool) -> None:
        self.sets = sets

    def execute_task(self, task: TaskWrapper, context: Context) -> Any:
        try:
            result = task.run() + task.run()
        except Exception as error:
            context.set_result(task.task_id, error)
            raise
        context.set_result(task.task_id, result)
        return None if self.sets else result


@pytest.mark.parametrize("sets", [False, True])
def test_a_handler_calls_the_function(sets: bool) -> None:
    """With the arguments that the task gets; what it returns, or has set, is the result."""
    with workflow("handled") as flow:
        handled = task(id="a", handler="twice", inject_context=True)(lambda context, x: (context.cycle_count, x))
        handled >> task(id="b")(lambda a: a)
    engine = WorkflowEngine()
    engine.register_handler("twice", Twice(sets=sets))
    context = ExecutionContext.create(flow.graph)
    context.channel.set("x", 4)
    assert (1, 4, 1, 4) == engine.execute(context)
    assert (1, 4, 1, 4) == context.get_result("a")


def test_a_handler_must_be_known_and_be_one() -> None:
    """An unknown name fails the task; what has no execute_task is refused; a failure is no result."""
    with workflow("unhandled") as flow:
        task(id="a", handler="twice")(lambda: 1 // 0)
    with pytest.raises(WorkflowRuntimeError, match="no handler 'twice'"):
        flow.execute()
    engine = WorkflowEngine()
    with pytest.raises(ConfigError, match="handler twice: must be a TaskHandler"):
        engine.register_handler("twice", print)  # type: ignore[arg-type]
    handler = Twice(sets=False)
    assert "Twice" == handler.get_name()
    engine.register_handler("twice", handler)
    context = ExecutionContext.create(flow.graph)
    with pytest.raises(WorkflowRuntimeError) as caught:
        engine.execute(context)
    assert isinstance(caught.value.cause, ZeroDivisionError)
    assert "nothing" == context.get_result("a", "nothing")


# --- limits -----------------------------------------------------------------------------------------------


def test_limits_can_be_set_for_a_session() -> None:
    """Of runs and of retries; they hold after a resume, too, and say how much of them is used."""
    with workflow("limited") as flow:

        @task(inject_context=True, max_cycles=30)
        def loop(context: Context) -> None:
            if context.cycle_count == 2:
                context.checkpoint(path="p")
            context.next_iteration()

    context = ExecutionContext.create(flow.graph)
    cycles = context.cycle_controller
    assert (30, 0) == (cycles.get_max_cycles_for_node("loop"), cycles.get_cycle_count("loop"))
    cycles.set_node_max_cycles("loop", 3)
    with pytest.raises(WorkflowRuntimeError) as caught:
        context.execute()
    assert isinstance(caught.value.cause, CycleLimitExceededError)
    assert {"loop": 2} == cycles.cycle_counts
    resumed = resume("p")[0].cycle_controller
    assert (3, 2) == (resumed.get_max_cycles_for_node("loop"), resumed.get_cycle_count("loop"))
    assert resumed.accept_next_cycle("loop")
    resumed.increment("loop")
    assert not resumed.accept_next_cycle("loop")
    with pytest.raises(ConfigError, match="max_cycles of task loop: must be a whole number from 1 on"):
        cycles.set_node_max_cycles("loop", 0)


def test_retries_can_be_set_for_a_session() -> None:
    """For a task that is pending already; with a policy, too; they hold after a resume."""
    calls: list[int] = []
    with workflow("retried") as flow:
        task(id="fails", inject_context=True)(lambda context: calls.append(context.max_retries) or 1 // 0)
    context = ExecutionContext.create(flow.graph)
    context.retry_controller.set_node_policy("fails", RetryPolicy(max_retries=2, initial_interval=0))
    with pytest.raises(RetryLimitExceededError):
        context.execute()
    assert [2, 2, 2] == calls
    context.save("p")
    resumed = resume("p")[0].retry_controller
    assert (2, 2) == (resumed.get_max_retries_for_node("fails"), resumed.get_retry_count("fails"))
    assert RetryPolicy(max_retries=2, initial_interval=0) == resumed.get_policy_for_node("fails")
    resumed.set_node_max_retries("fails", 5)
    assert 5 == resumed.get_max_retries_for_node("fails")
    with pytest.raises(ConfigError, match="max_retries of task fails: must be a whole number from 0 on"):
        resumed.set_node_max_retries("fails", -1)


# --- instances --------------------------------------------------------------------------------------------


def test_a_call_with_keywords_is_an_instance_wherever_it_is_made() -> None:
    """Also outside of any workflow, and in a task that lets it follow; ids that nobody gave don't meet."""
    scale = task(id="scale")(lambda x, factor=1: x * factor)
    assert 6 == scale(2, 3)
    with workflow("instances") as flow:

        @task(inject_context=True)
        def begin(context: Context) -> None:
            for x in (1, 2):
                context.next_task(scale(x=x, factor=10))

        begin >> task(id="done")(lambda: "done")
    result, context = flow.execute(ret_context=True)
    made = [name for name in context.completed_tasks if name.startswith("scale_")]
    assert ("done", [10, 20]) == (result, [context.get_result(name) for name in made])


def test_a_wrapper_can_be_made_of_any_callable() -> None:
    """For a task that is only known while the workflow runs."""
    with workflow("router") as flow:

        @task(inject_context=True)
        def classify(context: Context, value: int) -> None:
            context.next_task(TaskWrapper("high" if value > 100 else "low", lambda: value + 10))

    assert [160, 60] == [flow.execute(initial_channel={"value": value}) for value in (150, 50)]


# --- running ----------------------------------------------------------------------------------------------


def test_run_goes_on_with_what_has_not_finished() -> None:
    """Begins anew after the end, or if told to; where an older checkpoint is named, from there."""
    done: list[str] = []
    is_broken = [True]

    def declared() -> WorkflowContext:
        with workflow("again") as flow:

            @task(inject_context=True)
            def one(context: Context) -> None:
                done.append("one")
                context.checkpoint(path="p")

            @task
            def two() -> str:
                done.append("two")
                if is_broken:
                    raise OSError("not yet")
                return "two done"

            one >> two
        return flow

    with pytest.raises(WorkflowRuntimeError):
        declared().run()
    is_broken.clear()
    assert ["two done"] * 3 == [declared().run(), declared().run(max_steps=100), declared().run("p")]
    assert ["one", "two", "two", "one", "two", "two"] == done
    is_broken.append(True)
    with pytest.raises(WorkflowRuntimeError):
        declared().run()
    is_broken.clear()
    del done[:]
    assert "two done" == declared().run(fresh=True)
    assert ["one", "two"] == done


def test_run_begins_anew_if_pending_tasks_are_gone_and_it_may() -> None:
    """By default that is an error which names them."""
    with workflow("renamed") as broken:
        task(id="before")(lambda: 1 // 0)
    with pytest.raises(WorkflowRuntimeError):
        broken.run()
    with workflow("renamed") as flow:
        task(id="after")(lambda: "after")
    with pytest.raises(ChangedWorkflowError, match="before"):
        flow.run()
    assert "after" == flow.run(on_change="restart")
    with pytest.raises(ConfigError, match="must be 'error' or 'restart', not 'ignore'"):
        flow.run(on_change="ignore")  # type: ignore[arg-type]


def test_changed_code_of_a_helper_is_told(tmp_path: Path) -> None:
    """With its name; data in a closure is no code. [W46]"""
    module = tmp_path / "drifting.py"
    program = """
from checkpoint.flows.workflow import task, workflow
def helper():
    return {value}
@task
def first(): ...
@task(inject_context=True)
def second(context):
    context.checkpoint(path={path!r})
@task
def third():
    return helper()
with workflow("drifting") as flow:
    first >> second >> third
"""
    resuming = "from checkpoint.flows.workflow import *; print(CheckpointManager.resume_from_checkpoint"
    path = str(tmp_path / "p")
    module.write_text(program.format(value=1, path=path))
    assert 0 == python(tmp_path, "-c", "import drifting; drifting.flow.execute()").returncode
    assert "1\n" == python(tmp_path, "-c", f"{resuming}({path!r}, on_drift='error')[0].execute())").stdout
    module.write_text(program.format(value=2, path=path))
    resumed = python(tmp_path, "-c", f"{resuming}({path!r})[0].execute())")
    told = "workflow drifting goes on with other code than it was saved with: third (drifting.helper)"
    assert ("2\n", True) == (resumed.stdout, told in resumed.stderr)


def test_the_command_line_goes_on_with_a_workflow(tmp_path: Path) -> None:
    """As with every flow: after a failure where that was, from a snapshot, or anew."""
    (tmp_path / "prices.py").write_text("""
import os
from checkpoint.flows.workflow import task, workflow
with workflow("prices") as flow:
    @task
    def load():
        print("load")
    @task
    def fit():
        print("fit", 1 / os.path.exists("mended"))
    load >> fit
""")

    def resumed(*options: str) -> subprocess.CompletedProcess[str]:
        return python(tmp_path, "-m", "checkpoint", "flows", "resume", *options, "prices.py:flow")

    failed = resumed()
    assert (1, "load\n") == (failed.returncode, failed.stdout)
    assert "task fit failed: ZeroDivisionError" in failed.stderr
    (tmp_path / "mended").touch()
    assert "fit 1.0\nprices.py:flow has finished\n" == resumed().stdout
    assert "load\nfit 1.0\nprices.py:flow has finished\n" == resumed("--fresh").stdout
    assert "fit 1.0\nprices.py:flow has finished\n" == resumed("--checkpoint", "2").stdout
    assert "fit 1.0\nprices.py:flow has finished\n" == resumed("--checkpoint", "2", "--fork").stdout
    listed = python(tmp_path, "-m", "checkpoint", "flows", "list", "--flow", "prices").stdout
    assert 3 == listed.count("finished"), listed
