"""A loop charges the customers of twelve orders, each once, whenever and however often the program is killed.

`each` gives the orders that are not done yet, `once` remembers a charge as soon as it has returned, and the bank
recognises the key of one that it had already done when the program was killed before it could remember. Prints:

    charged order 1 ... charged order 12
    12 orders, 12 charges, 1092.00 in all

Start it again after a kill: it goes on where it was. A finished run only prints the last line.
"""

import os
import sqlite3
import sys
from contextlib import closing

from checkpoint import UnknownSnapshotError
from checkpoint.flows.workflow import CheckpointManager, ExecutionContext, TaskExecutionContext, task, workflow


def bank() -> sqlite3.Connection:
    connection = sqlite3.connect("bank.db")
    connection.execute("CREATE TABLE IF NOT EXISTS charge(number INTEGER PRIMARY KEY, key TEXT UNIQUE, amount REAL)")
    return connection


def charge(amount: float, key: str) -> int:
    """Charge an amount; with a key that the bank has seen, return the number of that charge."""
    with closing(bank()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO charge(key, amount) VALUES (?, ?)", (key, amount))
        ((number,),) = connection.execute("SELECT number FROM charge WHERE key = ?", (key,))
    return int(number)


with workflow("order charges") as flow:

    @task
    def fetch() -> dict[int, float]:
        return {number: number * 14.0 for number in range(1, 13)}

    @task(inject_context=True)
    def process(context: TaskExecutionContext, fetch: dict[int, float]) -> None:
        for order in context.each(fetch):
            receipt = context.once(order, charge, fetch[order], context.idempotency_key(order))
            context.get_channel().append("receipts", receipt)
            print(f"charged order {order}", flush=True)
        context.checkpoint(metadata={"orders": len(fetch)})

    @task(inject_context=True)
    def report(context: TaskExecutionContext, receipts: list[int]) -> str:
        with closing(bank()) as connection:
            ((count, total),) = connection.execute("SELECT count(*), sum(amount) FROM charge")
        return f"{len(set(receipts))} orders, {count} charges, {total:.2f} in all"

    fetch >> process >> report


if __name__ == "__main__":
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else ".")
    try:
        session, _ = CheckpointManager.resume_latest("order charges")
    except UnknownSnapshotError:
        session = ExecutionContext.create(flow.graph)
    print(session.execute())
