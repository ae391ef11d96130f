"""From a table to a tested model in four steps, the last of which fails the first time and is not paid for twice.

Loads breast-cancer measurements, takes out damaged rows, fits and compares three models, and evaluates the best one.
What was fitted is kept, so after the failure only the evaluation runs. Needs scikit-learn. Prints:

    load: 569 rows, clean: 544 rows
    fit: logistic 0.968, neighbours 0.963, forest 0.949
    interrupted: the threshold is not set
    evaluate: logistic, 0.5: precision 1.000, recall 0.988

Kill it at any moment and start it again: it goes on where it was. A finished run starts over.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from checkpoint.flows.linear import CheckpointFlow

State = dict[str, Any]
Data = dict[str, Any]


def load(state: State) -> Data:
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer(as_frame=True).frame
    state["rows"] = len(table)
    damaged = np.random.default_rng(0).choice(len(table), 25, replace=False)
    table.iloc[damaged, 0] = np.nan  # as tables are
    return {"table": table}


def clean(state: State, data: Data) -> None:
    data["table"] = data["table"].dropna()
    print(f"load: {state['rows']} rows, clean: {len(data['table'])} rows", flush=True)


def split(state: State, data: Data) -> None:
    from sklearn.model_selection import train_test_split

    table = data.pop("table")
    parts = train_test_split(table.drop(columns="target"), table["target"], random_state=0, stratify=table["target"])
    data |= zip(("train", "test", "train_targets", "test_targets"), parts, strict=True)


def fit(state: State, data: Data) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
        "forest": RandomForestClassifier(50, random_state=0),
    }
    state["scores"] = {
        name: float(cross_val_score(model, data["train"], data["train_targets"]).mean())
        for name, model in models.items()
    }
    state["best"] = max(state["scores"], key=state["scores"].__getitem__)
    data["model"] = models[state["best"]].fit(data["train"], data["train_targets"])
    print("fit: " + ", ".join(f"{name} {score:.3f}" for name, score in state["scores"].items()), flush=True)


def evaluate(state: State, data: Data) -> None:
    from sklearn.metrics import precision_score, recall_score

    if "threshold" not in state:
        raise LookupError("the threshold is not set")
    says = data["model"].predict_proba(data["test"])[:, 1] >= state["threshold"]
    truth = data["test_targets"]
    found = f"precision {precision_score(truth, says):.3f}, recall {recall_score(truth, says):.3f}"
    print(f"evaluate: {state['best']}, {state['threshold']}: {found}", flush=True)


def define(folder: Path) -> CheckpointFlow:
    flow = CheckpointFlow(folder / "cancer.state", persist_data=True)
    flow.add_step(load=load)(clean)
    for step in (split, fit, evaluate):
        flow.add_step()(step)
    return flow


def main(folder: Path) -> None:
    flow = define(folder)
    try:
        flow.run({})
    except LookupError as error:
        print(f"interrupted: {error}", flush=True)
        flow.handler.write({**flow.handler.read(), "threshold": 0.5})
        define(folder).run()  # as a new program would


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
