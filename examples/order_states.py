"""An order moves from NEW to SHIPPED, each state once, whenever and however often the program is killed.

One task handles one state and asks for one more iteration. The history of states is the state: it moves by one append,
which survives a kill at once. The payment goes to a bank that knows idempotency keys; the parcel's label is a file.
Prints:

    NEW -> VALIDATED
    VALIDATED -> PAID
    PAID -> SHIPPED
    order 7: NEW, VALIDATED, PAID, SHIPPED; 1 payment of 59.70

Start it again after a kill: it goes on where it was. A finished run only prints the last line.
"""

import os
import sqlite3
import sys
from contextlib import closing

from checkpoint import UnknownSnapshotError
from checkpoint.flows.workflow import CheckpointManager, ExecutionContext, TaskExecutionContext, task, workflow

ORDER = {"id": 7, "items": {"lamp": (1, 19.9), "bulb": (4, 9.95)}}


def bank() -> sqlite3.Connection:
    connection = sqlite3.connect("bank.db")
    connection.execute("CREATE TABLE IF NOT EXISTS payment(key TEXT PRIMARY KEY, amount REAL)")
    return connection


def pay(amount: float, key: str) -> None:
    with closing(bank()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO payment VALUES (?, ?)", (key, amount))


def write_label(order: int) -> None:
    with open("label.new", "w") as file:
        file.write(f"order {order}\n")
    os.replace("label.new", f"label-{order}.txt")


with workflow("order states") as flow:

    @task(inject_context=True)
    def move(context: TaskExecutionContext) -> list[str]:
        channel = context.get_channel()
        history = channel.get("history", ["NEW"])
        state, total = history[-1], round(sum(count * price for count, price in ORDER["items"].values()), 2)
        if state == "NEW":
            assert total > 0
            following = "VALIDATED"
        elif state == "VALIDATED":
            pay(total, context.idempotency_key("payment", ORDER["id"]))
            following = "PAID"
        elif state == "PAID":
            write_label(ORDER["id"])
            following = "SHIPPED"
        else:
            return history
        channel.set("history", [*history, following])
        print(f"{state} -> {following}", flush=True)
        context.checkpoint(path=f"checkpoints/{following.lower()}", metadata={"state": following})
        context.next_iteration()
        return history


if __name__ == "__main__":
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else ".")
    try:
        session, _ = CheckpointManager.resume_latest("order states")
    except UnknownSnapshotError:
        session = ExecutionContext.create(flow.graph)
    states = session.execute()
    with closing(bank()) as connection:
        ((count, total),) = connection.execute("SELECT count(*), sum(amount) FROM payment")
    print(f"order {ORDER['id']}: {', '.join(states)}; {count} payment of {total:.2f}")
