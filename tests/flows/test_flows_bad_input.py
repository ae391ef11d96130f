"""Bad input to flows: whatever is wrong is refused where it is given, in words that name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from checkpoint.flows import events, linear, workflow

WRONG = [None, -1, 1.5, "1h", b"b", [1], {"a": 1}, object(), float("nan")]


class Greeting(events.Workflow):
    """A workflow of one step."""

    @events.step
    async def greet(self, event: events.StartEvent) -> events.StopEvent:
        return events.StopEvent(result="hello")


def flow() -> linear.CheckpointFlow:
    """Return a flow of one step."""
    made = linear.CheckpointFlow("a.state")

    @made.add_step
    def step(state: dict[str, Any], data: dict[str, Any]) -> None:
        """Do nothing."""

    return made


def graph() -> workflow.WorkflowContext:
    """Return a workflow of one task."""
    with workflow.workflow("w") as made:

        @workflow.task
        def one() -> int:
            return 1

    return made


def declared(**options: Any) -> None:
    """Declare a task with options."""
    with workflow.workflow("w"):

        @workflow.task(**options)
        def one() -> int:
            return 1


#: function(argument=wrong) -> (call, what of WRONG it takes)
CASES: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "state_path": (linear.CheckpointFlow, ["1h"]),
    "handler": (lambda value: linear.CheckpointFlow("a", handler=value), []),
    "persist_data": (lambda value: linear.CheckpointFlow("a", persist_data=value), []),
    "load of a step": (lambda value: flow().add_step(load=value)(lambda state, data: None), [None]),
    "save of a step": (lambda value: flow().add_step(save=value)(lambda state, data: None), [None]),
    "fresh": (lambda value: flow().run(fresh=value), []),
    "on_change": (lambda value: flow().run(on_change=value), []),
    "load_policy": (lambda value: flow().run(load_policy=value), []),
    "state": (lambda value: flow().run(value), [None, {"a": 1}]),
    "step": (lambda value: flow().state_at(value), []),
    "timeout": (lambda value: Greeting(timeout=value), [None, 1.5]),
    "disable_validation": (lambda value: Greeting(disable_validation=value), []),
    "num_concurrent_runs": (lambda value: Greeting(num_concurrent_runs=value), [None]),
    "name": (lambda value: events.Context(Greeting(), name=value), [None, "1h"]),
    "pickle": (lambda value: events.Context(Greeting(), pickle=value), []),
    "strict": (lambda value: events.Context(Greeting(), strict=value), []),
    "ctx": (lambda value: Greeting().run(ctx=value), [None]),
    "start_event": (lambda value: Greeting().run(start_event=value), [None]),
    "stepwise": (lambda value: Greeting().run(stepwise=value), []),
    "checkpoint of": (lambda value: Greeting().run_from(value), ["1h"]),
    "maximum_attempts": (lambda value: events.ConstantDelayRetryPolicy(maximum_attempts=value), []),
    "delay": (lambda value: events.ConstantDelayRetryPolicy(delay=value), [1.5]),
    "max_retries": (lambda value: workflow.RetryPolicy(max_retries=value), []),
    "initial_interval": (lambda value: workflow.RetryPolicy(initial_interval=value), [1.5]),
    "backoff_factor": (lambda value: workflow.RetryPolicy(backoff_factor=value), [1.5]),
    "max_interval": (lambda value: workflow.RetryPolicy(max_interval=value), [1.5]),
    "jitter": (lambda value: workflow.RetryPolicy(jitter=value), []),
    "max_cycles": (lambda value: declared(max_cycles=value), [None]),
    "max_retries of": (lambda value: declared(max_retries=value), [None]),
    "retry_policy": (lambda value: declared(retry_policy=value), [None]),
    "max_steps": (lambda value: graph().execute(max_steps=value), [-1]),
    "checkpoint_every": (lambda value: graph().execute(checkpoint_every=value), [None]),
    "on_failure": (lambda value: graph().execute(on_failure=value), []),
    "on_sigterm": (lambda value: graph().execute(on_sigterm=value), []),
    "autosave": (lambda value: graph().execute(autosave=value), []),
    "initial_channel": (lambda value: graph().execute(initial_channel=value), [None, {"a": 1}]),
    "ttl": (lambda value: workflow.MemoryChannel("m").set("a", 1, ttl=value), [None, 1.5]),
    "atomic_add": (lambda value: workflow.MemoryChannel("m").atomic_add("a", value), [-1, 1.5, WRONG[-1]]),
    "keys of a channel": (lambda value: workflow.MemoryChannel("m").set(value, 1), ["1h"]),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_by_its_name(name: str) -> None:
    """Each wrong type and value is a TypeError or ValueError, or the flow's own, which names the argument."""
    call, fine = CASES[name]
    for wrong in WRONG:
        if repr(wrong) not in map(repr, fine):
            with pytest.raises((TypeError, ValueError, NotImplementedError)) as caught:
                call(wrong)
            assert name.partition(" of")[0] in str(caught.value), (wrong, str(caught.value))
