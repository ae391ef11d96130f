"""Workflows in programs that are killed, told to end, edited, or started elsewhere."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import checkpoint
from checkpoint import BusyFlowError
from checkpoint.flows.workflow import (
    ChangedWorkflowError,
    CheckpointManager,
    ExecutionContext,
    TaskExecutionContext,
    task,
    workflow,
)

ROOT = Path(checkpoint.__file__).parents[1]
KILLED = Path(__file__).with_name("killed.py")
EXAMPLES = ["order_states", "order_charges", "training", "recovery"]
WAIT_S = 120

resume = CheckpointManager.resume_from_checkpoint


def start(*command: object, store: Path, folder: Path | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CP_CACHE_DIR": str(store), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", *map(str, command)], cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def example(name: str, folder: Path, what: str, number: int, *options: str) -> tuple[str, str, int]:
    """Run an example that is killed at a moment; return what it printed, on both channels, and its code."""
    folder.mkdir(exist_ok=True)
    process = start(KILLED, what, number, ROOT / "examples" / f"{name}.py", folder, *options, store=folder / "cache")
    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode in (0, -signal.SIGKILL), errors
    return output, errors, process.returncode


def run_to_the_end(name: str, folder: Path) -> str:
    output, errors, code = example(name, folder, "moment", 10**9)
    assert (0, "") == (code, errors)
    return output


@functools.cache
def undisturbed_lines(name: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        return run_to_the_end(name, Path(folder)).splitlines()


def check_end(name: str, outputs: list[str]) -> None:
    """Compare with what an undisturbed run says in its last line; nothing was done twice that may be done once."""
    undisturbed = undisturbed_lines(name)
    lines = Counter("".join(outputs).splitlines())
    assert undisturbed[-1] in lines
    assert set(lines) <= set(undisturbed)
    if name == "order_states":
        assert {1} == {count for line, count in lines.items() if "->" in line}


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("boundary", "order_states"),
        ("unkept", "order_charges"),
        pytest.param("unkept", "order_states", marks=pytest.mark.stress),
        *[pytest.param("boundary", name, marks=pytest.mark.stress) for name in EXAMPLES[1:]],
    ],
)
def test_an_example_killed_at_every_step_boundary_comes_to_the_same_end(name: str, what: str, tmp_path: Path) -> None:
    """Just after each boundary was kept, and just before: states are passed and charges made once. [W53, W55]"""
    outputs = []
    for number in range(1, 40):
        count = 1 if what == "boundary" else 1 + number % 2  # the one that was not kept is passed the next time
        output, _, code = example(name, tmp_path / "killed", what, count)
        outputs.append(output)
        if code == 0:
            break
    else:
        raise AssertionError("it makes no progress")
    assert len(outputs) > 2
    check_end(name, outputs)


@pytest.mark.parametrize("name", [*EXAMPLES[:3], pytest.param(EXAMPLES[3], marks=pytest.mark.stress)])
def test_an_example_killed_in_the_middle_of_steps_comes_to_the_same_end(name: str, tmp_path: Path) -> None:
    """At moments between what it writes, further and further from its start. [W53, W55]"""
    outputs, code, number = [], -1, 15
    while code:
        output, _, code = example(name, tmp_path / "killed", "moment", number)
        outputs.append(output)
        number += 11
    assert len(outputs) > 2
    check_end(name, outputs)


@pytest.mark.stress
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_killed_at_every_moment_come_to_the_same_end(name: str, tmp_path: Path) -> None:
    """Each moment of an undisturbed run once, every fifth time with one more kill before the end. [W53, W55]"""
    chance = random.Random(name)
    moments = int(example(name, tmp_path / "counted", "moment", 0)[1])
    for moment in range(1, moments + 1):
        folder = tmp_path / f"at-{moment}"
        outputs = [example(name, folder, "moment", moment)[0]]
        if moment % 5 == 0:
            outputs.append(example(name, folder, "moment", chance.randint(1, moments))[0])
        outputs.append(run_to_the_end(name, folder))
        check_end(name, outputs)


def test_training_goes_back_to_its_last_checkpoint(tmp_path: Path) -> None:
    """Killed at the end of epoch 8, with a checkpoint every 3, it resumes at 7 and finishes. [W54]"""
    output, _, code = example("training", tmp_path / "t", "unkept", 8)
    assert (8, -signal.SIGKILL) == (len(output.splitlines()), code)
    output, _, code = example("training", tmp_path / "t", "moment", 10**9, "--from-checkpoint")
    lines = output.splitlines()
    assert ["epoch 7", "epoch 8", "epoch 9", "epoch 10"] == [line.partition(":")[0] for line in lines[:-1]]
    assert run_to_the_end("training", tmp_path / "other").splitlines()[6:] == lines


# --- saves that are killed --------------------------------------------------------------------------------


def saving(path: str) -> ExecutionContext:
    with workflow("saving") as flow:

        @task(inject_context=True, max_cycles=100)
        def count(context: TaskExecutionContext) -> int:
            total: int = context.get_channel().atomic_add("total", -30)
            context.next_iteration()
            return total

    _, context = flow.execute(ret_context=True, max_steps=1, initial_channel={"total": 100})
    context.save(path)
    return context


def kill_child_at(moment: int, context: ExecutionContext, path: str) -> bool:
    """Take a step and save it in a forked child that is killed at a moment; return whether it was."""
    child = os.fork()
    if child == 0:
        seen = [0]

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event in ("open", "os.rename", "os.remove"):
                seen[0] += 1
                if seen[0] == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        context.max_steps = 2
        context.execute()
        sys.addaudithook(hook)
        context.save(path)
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_killed_save_leaves_the_old_or_the_new_checkpoint() -> None:
    """At any moment, under one path; saved again over what is left, too. [W42]"""
    saving("latest")
    outcomes, moment, is_killed = Counter[int](), 0, True
    while is_killed:
        moment += 1
        saving("latest")
        context = resume("latest")[0]
        is_killed = kill_child_at(moment, context, "latest")
        found, _ = resume("latest")
        assert (found.steps, found.channel.get("total")) in ((1, 70), (2, 40))
        outcomes[found.steps] += 1
        found.save("latest")
        assert found.steps == resume("latest")[0].steps
    assert moment > 8
    assert {1, 2} == set(outcomes)


@pytest.mark.parametrize(
    ("firsts", "seconds"), [((4, 7, 10), (3, 8)), pytest.param(range(4, 12), range(3, 10), marks=pytest.mark.stress)]
)
def test_a_save_over_what_a_killed_one_left_may_be_killed(firsts: Iterable[int], seconds: Iterable[int]) -> None:
    """Whatever two kills leave is one whole checkpoint. [W42]"""
    for first in firsts:
        for second in seconds:
            context = saving("twice")
            kill_child_at(first, context, "twice")
            kill_child_at(second, context, "twice")
            assert resume("twice")[0].channel.get("total") in (70, 40)


# --- programs ---------------------------------------------------------------------------------------------

MODULE = """
    from checkpoint.flows.workflow import task, workflow

    def helper():
        return "{helper}"

    with workflow("module") as flow:
        @task(inject_context=True)
        def first(context):
            context.checkpoint(path="m")
        @task
        def second():
            return helper() + "{body}"
        first >> second
"""
RESUME = """
    from checkpoint.flows.workflow import CheckpointManager
    print(CheckpointManager.resume_from_checkpoint("m")[0].execute())
"""


def run(text: str, folder: Path, store: Path, *, name: str = "program.py", warns: str = "") -> str:
    """Run a program in a folder; return what it printed."""
    (folder / name).write_text(textwrap.dedent(text))
    process = start(*(() if not warns else ("-W", "default")), name, store=store, folder=folder)
    output, errors = process.communicate(timeout=WAIT_S)
    assert (0, bool(warns)) == (process.returncode, bool(errors)), errors
    assert warns in errors
    return output


def test_a_new_process_finds_the_code_in_its_module(tmp_path: Path, store: Path) -> None:
    """Without importing it; after an edit it runs all of the new code, and tells so. [W28, W46]"""
    (tmp_path / "flowmodule.py").write_text(textwrap.dedent(MODULE.format(helper="old ", body="old")))
    run("from flowmodule import flow; flow.execute()", tmp_path, store)
    assert "old old\n" == run(RESUME, tmp_path, store)
    (tmp_path / "flowmodule.py").write_text(textwrap.dedent(MODULE.format(helper="new ", body="new")))
    assert "new new\n" == run(RESUME, tmp_path, store, warns="other code than it was saved with: second")


SCRIPT = """
    import sys
    from checkpoint.flows.workflow import task, workflow
    import checkpoint.flows.workflow.session as session
    session.PYTHON = {python}
    def helper(): return "from the script"
    def declare():
        held = {held}
        with workflow("script") as flow:
            @task(inject_context=True)
            def first(context):
                held
                context.checkpoint(path="m")
            @task
            def second():
                return helper()
            first >> second
        return flow
    flow = declare()
    if __name__ == "__main__":
        flow.execute()
"""


def script(held: str, python: str = "session.PYTHON") -> str:
    """Return a program whose first task holds something."""
    return SCRIPT.format(held=held, python=python)


def test_a_new_process_has_the_code_of_a_script(tmp_path: Path, store: Path) -> None:
    """From the bytes that were kept of it. [W28]"""
    text = script("sys.stdout")
    run(text, tmp_path, store, name="script.py")
    assert "from the script\n" == run(RESUME, tmp_path, store)


def test_a_task_that_cannot_be_turned_into_bytes_is_no_obstacle_to_saving(tmp_path: Path, store: Path) -> None:
    """It needs its program at the resume; the error says so."""
    text = script("(n for n in ())")
    run(text, tmp_path, store, name="script.py")
    with pytest.raises(ChangedWorkflowError, match="import what declares the workflow") as caught:
        resume("m")
    assert ("first",) == caught.value.tasks


def test_code_of_another_python_is_refused(tmp_path: Path, store: Path) -> None:
    """Where it can't be found by name: the error has both versions. Declared again, it runs. [W45]"""
    text = script("1", python='"3.9"')
    run(text, tmp_path, store, name="script.py")
    with pytest.raises(ChangedWorkflowError, match=r"kept under Python 3.9, this is 3\.1") as caught:
        resume("m")
    assert ("first", "second") == caught.value.tasks
    program = "import script\n" + textwrap.dedent(RESUME)
    assert "from the script\n" == run(program, tmp_path, store)


WAITS = """
    import os, sys, threading
    from checkpoint.flows.workflow import CheckpointManager, task, workflow, parallel
    with workflow("waits") as flow:
        @task(inject_context=True)
        def waits(context):
            channel = context.get_channel()
            for item in context.each("abc"):
                if item == "c":
                    print("waiting", flush=True)
                    sys.stdin.read()
                channel.append("items", item)
                context.once(item, lambda: print("once", item, flush=True))
            return channel.get("items")
        @task(inject_context=True)
        def other(context):
            context.get_channel().append("items", "other")
            return os.getpid()
    if "group" in sys.argv:
        with flow:
            parallel(waits, other).set_group_name("group").with_execution("processes")
        flow.execute("group")
    elif "resume" in sys.argv:
        print(CheckpointManager.resume_latest("waits")[0].execute())
    else:
        flow.execute("waits", on_sigterm=True)
"""


def waiting(tmp_path: Path, store: Path, *options: str) -> subprocess.Popen[str]:
    """Start a program that waits within its task."""
    (tmp_path / "waits.py").write_text(textwrap.dedent(WAITS))
    process = start("waits.py", *options, store=store, folder=tmp_path)
    assert process.stdout is not None
    assert ["once a\n", "once b\n", "waiting\n"] == [process.stdout.readline() for _ in range(3)]
    return process


def test_what_a_task_wrote_survives_its_kill(tmp_path: Path, store: Path) -> None:
    """Each write and each record, up to the moment; meanwhile nobody else can run the session. [W55]"""
    process = waiting(tmp_path, store)
    context, _ = CheckpointManager.resume_latest("waits")
    assert (["a", "b"], ["waits"]) == (context.channel.get("items"), context.task_queue.to_list())
    with pytest.raises(BusyFlowError, match=f"process {process.pid}"):
        context.execute()
    process.kill()
    process.communicate()
    again = start("waits.py", "resume", store=store, folder=tmp_path)
    output, errors = again.communicate("", timeout=WAIT_S)
    assert ("waiting\nonce c\n['a', 'b', 'c']\n", "") == (output, errors)


def test_sigterm_ends_a_run_after_a_checkpoint(tmp_path: Path, store: Path) -> None:
    """The task that ran is pending in it; the program ends with 143."""
    process = waiting(tmp_path, store)
    process.terminate()
    process.communicate(timeout=WAIT_S)
    assert 143 == process.returncode
    (made,) = CheckpointManager.list("waits")
    state = json.loads(Path(made.metadata["path"].removesuffix(".pkl") + ".state.json").read_text())
    assert ["waits"] == [spec["task_id"] for spec in state["pending_tasks"]]
    assert ["a", "b"] == resume(made)[0].channel.get("items")


def test_members_in_processes_end_with_their_parent(tmp_path: Path, store: Path) -> None:
    """What they wrote is kept; a member that was done isn't run again."""
    text = WAITS.replace("sys.stdin.read()", "threading.Event().wait(600)")
    (tmp_path / "waits.py").write_text(textwrap.dedent(text))
    process = start("waits.py", "group", store=store, folder=tmp_path)
    assert process.stdout is not None
    assert ["once a\n", "once b\n", "waiting\n"] == [process.stdout.readline() for _ in range(3)]
    while not (found := CheckpointManager.resume_latest("waits")[0]).cycle_counts.get("other"):
        pass
    process.kill()
    process.communicate(timeout=WAIT_S)  # the pipe is closed when the last process is gone
    lane = found.groups["group"]["waits"]
    assert ["a", "b"] == lane.branch.get("items")
    assert found.groups["group"]["other"].is_done


def test_sigterm_ends_the_processes_of_a_group(tmp_path: Path, store: Path) -> None:
    """At once, although a member would run on; what they wrote is kept."""
    text = WAITS.replace("sys.stdin.read()", "threading.Event().wait(600)")
    (tmp_path / "waits.py").write_text(textwrap.dedent(text))
    process = start("waits.py", "group", store=store, folder=tmp_path)
    assert process.stdout is not None
    assert ["once a\n", "once b\n", "waiting\n"] == [process.stdout.readline() for _ in range(3)]
    process.terminate()
    process.communicate(timeout=WAIT_S)
    assert 143 == process.returncode
    found, _ = CheckpointManager.resume_latest("waits")
    assert ["a", "b"] == found.groups["group"]["waits"].branch.get("items")


def test_sigterm_ends_the_wait_before_a_retry(tmp_path: Path, store: Path) -> None:
    """Long before its time; the retry is pending, and comes with the next run."""
    (tmp_path / "retries.py").write_text(
        textwrap.dedent("""
            import sys
            from checkpoint.flows.workflow import RetryPolicy, task, workflow
            with workflow("waits to retry") as flow:
                @task(inject_context=True, retry_policy=RetryPolicy(1, initial_interval=600, max_interval=600))
                def fails(context):
                    print("attempt", context.retry_count, flush=True)
                    if context.retry_count == 0:
                        raise OSError("not yet")
                    return "done"
            print(flow.run())
        """)
    )
    process = start("retries.py", store=store, folder=tmp_path)
    assert process.stdout is not None
    assert "attempt 0\n" == process.stdout.readline()
    while not (found := CheckpointManager.resume_latest("waits to retry")[0]).failures:
        pass
    assert 1 == found.retry_controller.get_retry_count("fails")
    process.terminate()
    process.communicate(timeout=WAIT_S)
    assert 143 == process.returncode
    again = start("retries.py", store=store, folder=tmp_path)
    assert ("attempt 1\ndone\n", "") == again.communicate(timeout=WAIT_S)
