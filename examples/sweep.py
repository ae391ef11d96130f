"""A hyper-parameter sweep that never fits the same model twice: 20 settings, 5 folds, 100 fits in a process pool.

At most two fits run at once; averaging their scores is not limited. Stop it with Ctrl-C or `kill -9` and start it
again: fits that were finished are found, only the rest is computed. Needs scikit-learn. Prints the best settings:

    trees  leaf  accuracy
       80     1    0.9761
    ... four more
    fits: 100 computed, 0 found
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from statistics import mean
from typing import Any

from checkpoint import memo, requires, run_report, task

TREES, LEAVES, FOLDS = (10, 20, 40, 80), (1, 2, 4, 8, 16), 5


@cache
def digits() -> tuple[Any, Any, list[Any]]:
    """The images, what they show, and the folds; each worker loads them once, so no array is ever an argument."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold

    images, targets = load_digits(return_X_y=True)
    return images, targets, list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(images, targets))


@memo(max_concurrency=2)
def fit(trees: int, leaf: int, fold: int) -> float:
    from sklearn.ensemble import RandomForestClassifier

    images, targets, folds = digits()
    train, test = folds[fold]
    # One thread each: the processes are the parallelism.
    model = RandomForestClassifier(trees, min_samples_leaf=leaf, random_state=0, n_jobs=1)
    return float(model.fit(images[train], targets[train]).score(images[test], targets[test]))


@task
def accuracy(trees: int, leaf: int) -> Callable[[], float]:
    @requires([fit(trees, leaf, fold) for fold in range(FOLDS)])
    def average(scores: list[float]) -> float:
        return mean(scores)

    return average


def main() -> None:
    settings = list(product(TREES, LEAVES))
    report = run_report([accuracy(*setting) for setting in settings])
    ranked = sorted(zip(report.value, settings, strict=True), key=lambda pair: (-pair[0], pair[1]))
    print("trees  leaf  accuracy")
    for score, (trees, leaf) in ranked[:5]:
        print(f"{trees:5}  {leaf:4}  {score:8.4f}")
    fits = report.counts[fit.name]
    print(f"fits: {fits.computed} computed, {fits.hit} found")


if __name__ == "__main__":
    main()
