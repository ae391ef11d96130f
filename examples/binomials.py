"""Binomial coefficients by Pascal's rule: each task requires two others, and each result is kept.

Prints how many tasks were computed: 15, then 4 after one result was discarded, then 15 after all were.
"""

from collections.abc import Callable

from checkpoint import requires, run_report, task


@task
def choose(n: int, k: int) -> Callable[[], int]:
    if 0 < k < n:

        @requires([choose(n - 1, k - 1), choose(n - 1, k)])
        def run_task(prev_two: list[int]) -> int:
            return sum(prev_two)

    elif k == 0 or k == n:

        def run_task() -> int:
            return 1

    else:
        raise ValueError(f"{(n, k)}")
    return run_task


def show() -> None:
    report = run_report(choose(6, 3))
    print(f"choose(6, 3) = {report.value}: {report.computed} computed, {report.hit} found")


if __name__ == "__main__":
    choose.clear()
    show()
    show()
    choose(3, 3).clear()
    show()
    choose.clear()
    show()
