"""Whole workflows as people write them: basic, state machine, periodic, fault recovery, and ways to be idempotent."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from checkpoint.flows.workflow import (
    CheckpointManager,
    ExecutionContext,
    TaskExecutionContext,
    WorkflowContext,
    WorkflowEngine,
    task,
    workflow,
)


def alone(declared: Any, name: str) -> WorkflowContext:
    """Return a workflow of one task that was declared elsewhere."""
    with workflow(name) as flow:
        flow.graph.add_node(declared)
    return flow


def test_a_basic_workflow_resumes_after_its_checkpoint() -> None:
    """Three files, and only the last step runs again. [W58]"""
    ran = []
    with workflow("basic") as wf:

        @task(inject_context=True)
        def step_1(task_ctx: TaskExecutionContext) -> str:
            ran.append("step_1")
            task_ctx.get_channel().set("data", "prepared")
            return "one"

        @task(inject_context=True)
        def step_2(task_ctx: TaskExecutionContext) -> str:
            ran.append("step_2")
            task_ctx.checkpoint(metadata={"stage": "after step 2"})
            return "two"

        @task(inject_context=True)
        def step_3(task_ctx: TaskExecutionContext) -> str:
            ran.append("step_3")
            return f"three: {task_ctx.get_channel().get('data')}"

        step_1 >> step_2 >> step_3
        _, exec_context = wf.execute(start_node=step_1.task_id, ret_context=True)
    path = exec_context.last_checkpoint_path
    assert path is not None
    assert path.endswith(".pkl")
    assert [True] * 3 == [
        Path(path.removesuffix(".pkl") + end).exists() for end in (".pkl", ".state.json", ".meta.json")
    ]
    ran.clear()
    resumed, metadata = CheckpointManager.resume_from_checkpoint(path)
    assert ("after step 2", 2) == (metadata.user_metadata["stage"], metadata.steps)
    assert "three: prepared" == WorkflowEngine().execute(resumed)
    assert ["step_3"] == ran


def test_a_state_machine_resumes_in_each_state(tmp_path: Path) -> None:
    """From the checkpoint of a state, the states after it run, each once. [W58]"""
    ran: list[str] = []
    with workflow("state machine") as wf:

        @task(inject_context=True)
        def process_order(task_ctx: TaskExecutionContext) -> str | None:
            channel = task_ctx.get_channel()
            state = channel.get("order_state", "NEW")
            ran.append(state)
            following = {"NEW": "VALIDATED", "VALIDATED": "PAID", "PAID": "SHIPPED"}[state]
            channel.set("order_state", following)
            if following == "SHIPPED":
                return "ORDER_COMPLETE"
            task_ctx.checkpoint(path=str(tmp_path / f"checkpoint_{following.lower()}"), metadata={"state": following})
            task_ctx.next_iteration()
            return None

        assert "ORDER_COMPLETE" == wf.execute(start_node="process_order", max_steps=10)
    assert ["NEW", "VALIDATED", "PAID"] == ran
    for state, expected in (("validated", ["VALIDATED", "PAID"]), ("paid", ["PAID"])):
        ran.clear()
        context, _ = CheckpointManager.resume_from_checkpoint(str(tmp_path / f"checkpoint_{state}.pkl"))
        assert "ORDER_COMPLETE" == WorkflowEngine().execute(context)
        assert expected == ran


def test_periodic_checkpoints_resume_the_newest(tmp_path: Path) -> None:
    """Of those of epochs 3, 6 and 9, the last one goes on with epoch 10. [W58]"""
    ran: list[int] = []
    with workflow("periodic") as wf:

        @task(inject_context=True)
        def training_loop(task_ctx: TaskExecutionContext) -> str:
            channel = task_ctx.get_channel()
            epoch = channel.get("epoch", 0) + 1
            ran.append(epoch)
            channel.set("epoch", epoch)
            channel.set("loss", 1 / epoch)
            if epoch % 3 == 0:
                task_ctx.checkpoint(path=str(tmp_path / f"epoch_{epoch}"), metadata={"epoch": epoch})
            if task_ctx.can_iterate():
                task_ctx.next_iteration()
            return f"epoch {epoch}"

        wf.execute(start_node=training_loop.task_id, max_steps=20)
    assert list(range(1, 11)) == ran
    ran.clear()
    latest = CheckpointManager.latest("periodic")
    assert latest is not None
    assert str(tmp_path / "epoch_9.pkl") == latest.metadata["path"]
    context, metadata = CheckpointManager.resume_from_checkpoint(latest.metadata["path"])
    assert (9, "epoch 10") == (metadata.user_metadata["epoch"], WorkflowEngine().execute(context))
    assert [10] == ran


def test_a_workflow_recovers_from_a_fault() -> None:
    """In the same process, only the task that failed and later ones run again. [W58]"""
    ran, broken = [], [True]
    with workflow("fault") as wf:

        @task(inject_context=True)
        def fetch_data(task_ctx: TaskExecutionContext) -> list[int]:
            ran.append("fetch")
            task_ctx.checkpoint(metadata={"stage": "before the expensive step"})
            return [1, 2, 3]

        @task(inject_context=True)
        def expensive(task_ctx: TaskExecutionContext) -> int:
            ran.append("expensive")
            data = task_ctx.get_channel().get("fetch_data.__result__")
            if broken[0]:
                raise RuntimeError("out of memory")
            return sum(data)

        @task(inject_context=True)
        def store_result(task_ctx: TaskExecutionContext) -> str:
            ran.append("store")
            return f"stored {task_ctx.get_result('expensive')}"

        fetch_data >> expensive >> store_result
    exec_context = ExecutionContext.create(wf.graph, "fetch_data", max_steps=10)
    with pytest.raises(Exception, match="out of memory"):
        WorkflowEngine().execute(exec_context)
    path = exec_context.last_checkpoint_path
    assert path is not None
    broken[0] = False
    context, _ = CheckpointManager.resume_from_checkpoint(path)
    assert "stored 6" == WorkflowEngine().execute(context)
    assert ["fetch", "expensive", "expensive", "store"] == ran


charged: list[int] = []
interrupts: list[int] = []


@task(inject_context=True)
def process_orders(task_ctx: TaskExecutionContext) -> None:
    channel = task_ctx.get_channel()
    processed_order_ids = channel.get("processed_order_ids", set())
    for order_id in (1, 10, 101):
        if order_id in processed_order_ids:
            continue
        if order_id == 101 and not interrupts:
            interrupts.append(order_id)
            raise KeyboardInterrupt
        charged.append(order_id)
        processed_order_ids.add(order_id)
        channel.set("processed_order_ids", processed_order_ids)
    task_ctx.checkpoint()


def test_progress_in_the_channel_makes_a_task_idempotent() -> None:
    """What an interrupted task had noted is there when it runs again."""
    charged.clear()
    interrupts.clear()
    with pytest.raises(KeyboardInterrupt):
        alone(process_orders, "orders").execute()
    CheckpointManager.resume_latest("orders")[0].execute()
    assert [1, 10, 101] == charged


@task(inject_context=True)
def multi_stage_task(task_ctx: TaskExecutionContext) -> str | None:
    channel = task_ctx.get_channel()
    state = channel.get("state", "INIT")
    channel.append("seen", state)
    following = {"INIT": "PROCESSING", "PROCESSING": "FINALIZING"}.get(state)
    if following is None:
        return "COMPLETE"
    channel.set("state", following)
    task_ctx.checkpoint()
    task_ctx.next_iteration()
    return None


def test_a_task_of_several_stages_goes_through_each() -> None:
    """The state in the channel says which stage is next."""
    result, context = alone(multi_stage_task, "stages").execute(ret_context=True)
    assert ("COMPLETE", ["INIT", "PROCESSING", "FINALIZING"]) == (result, context.channel.get("seen"))
    assert 2 == len(CheckpointManager.list("stages"))


keys: list[str] = []


@task(inject_context=True)
def call_external_api(task_ctx: TaskExecutionContext) -> str:
    channel = task_ctx.get_channel()
    key = channel.get("idempotency_key")
    if not key:
        key = str(uuid.uuid4())
        channel.set("idempotency_key", key)
    keys.append(key)
    if len(keys) == 1:
        raise KeyboardInterrupt
    task_ctx.checkpoint(metadata={"timestamp": time.time(), "records_processed": 10000}, path="api")
    return str(key)


def test_a_key_in_the_channel_is_the_same_when_the_task_runs_again() -> None:
    """It was written before the interrupt."""
    keys.clear()
    with pytest.raises(KeyboardInterrupt):
        alone(call_external_api, "api").execute()
    CheckpointManager.resume_latest("api")[0].execute()
    assert 1 == len(set(keys))
    assert 10000 == CheckpointManager.resume_from_checkpoint("api")[1].user_metadata["records_processed"]


def test_a_checkpoint_can_be_a_stage_of_its_own() -> None:
    """Between the others; each is one of its own."""

    def saves(name: str) -> Any:
        return task(id=name, inject_context=True)(lambda context: context.checkpoint(path=name))

    with workflow("pipeline") as flow:
        stage_1, stage_2 = (task(id=name)(lambda name=name: name) for name in ("stage 1", "stage 2"))
        stage_1 >> saves("saved 1") >> stage_2 >> saves("saved 2")
    flow.execute()
    assert ["stage 2"] == CheckpointManager.resume_from_checkpoint("saved 1")[0].task_queue.to_list()
    assert [] == CheckpointManager.resume_from_checkpoint("saved 2")[0].task_queue.to_list()
