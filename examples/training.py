"""A model is trained for ten epochs, with a checkpoint every three, and goes on after any kill.

A logistic regression on 400 points in the plane, by stochastic gradient descent. The weights are in the channel. After
a kill it goes on with the epoch that was running; `--from-checkpoint` goes back to the last checkpoint instead.
Prints:

    epoch 1: loss 0.3797
    ...
    epoch 10: loss 0.2931
    accuracy 0.887 after 10 epochs

A finished run only prints the last line.
"""

import math
import os
import random
import sys

from checkpoint import UnknownSnapshotError
from checkpoint.flows.workflow import CheckpointManager, ExecutionContext, TaskExecutionContext, task, workflow

EPOCHS = 10
Point = tuple[float, float, int]


def points() -> list[Point]:
    chance = random.Random(0)
    return [(chance.gauss(2 * label, 1), chance.gauss(-label, 1), label) for label in (0, 1) * 200]


def probability(weights: list[float], x: float, y: float) -> float:
    return 1 / (1 + math.exp(-(weights[0] + weights[1] * x + weights[2] * y)))


def train(weights: list[float], data: list[Point], epoch: int) -> float:
    """Change the weights by one pass over the data; return the loss."""
    loss = 0.0
    for x, y, label in random.Random(epoch).sample(data, len(data)):
        found = probability(weights, x, y)
        loss -= math.log(found if label else 1 - found)
        for place, value in enumerate((1.0, x, y)):
            weights[place] += 0.05 * (label - found) * value
    return loss / len(data)


with workflow("training") as flow:

    @task(inject_context=True, max_cycles=EPOCHS)
    def epoch(context: TaskExecutionContext) -> list[float]:
        weights = context.get_result("epoch", [0.0, 0.0, 0.0])
        loss = train(weights, points(), context.cycle_count)
        print(f"epoch {context.cycle_count}: loss {loss:.4f}", flush=True)
        if context.cycle_count % 3 == 0:
            context.checkpoint(metadata={"epoch": context.cycle_count, "loss": loss})
        if context.can_iterate():
            context.next_iteration()
        return weights

    @task(inject_context=True)
    def evaluate(context: TaskExecutionContext, epoch: list[float]) -> str:
        hits = sum((probability(epoch, x, y) > 0.5) == label for x, y, label in points())
        return f"accuracy {hits / 400:.3f} after {context.execution_context.cycle_counts['epoch']} epochs"

    epoch >> evaluate


def begun(goes_back: bool) -> ExecutionContext:
    latest = CheckpointManager.latest("training")
    try:
        if goes_back and latest is not None:
            return CheckpointManager.resume_from_checkpoint(latest)[0]
        return CheckpointManager.resume_latest("training")[0]
    except UnknownSnapshotError:
        return ExecutionContext.create(flow.graph)


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if argument != "--from-checkpoint"]
    os.chdir(folders[0] if folders else ".")
    print(begun("--from-checkpoint" in sys.argv).execute())
