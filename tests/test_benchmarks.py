"""The benchmarks run and give figures; how good these are is not a matter of tests."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("numpy")  # bench_codec compresses an array

from benchmarks import __main__ as command
from benchmarks.measure import Figure, Goal, compare

_FOLDER = Path(command.__file__).parent


@pytest.mark.parametrize("name", ["keys", "codec", "store"])
def test_a_benchmark_yields_positive_figures(name: str) -> None:
    """Each figure has a finite positive value and ratio, and a name of its own."""
    figures = list(command.figures_of(name, quick=True))

    assert figures
    assert all(math.isfinite(number) and number > 0 for each in figures for number in (each.value, each.ratio))
    assert len({figure.name for figure in figures}) == len(figures)


def test_list_names_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` prints a name for each file bench_*.py and measures nothing."""
    assert command.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == sorted(path.stem[6:] for path in _FOLDER.glob("bench_*.py"))


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt benchmark ends with exit code 2 and the names that exist."""
    with pytest.raises(SystemExit) as stopped:
        command.main(["speed"])

    assert stopped.value.code == 2
    assert "there is no benchmark speed" in capsys.readouterr().err


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """Subject and reference take turns, the first round isn't counted, ratios are taken round by round."""
    subject, reference = iter([9.0, 2.0, 4.0, 6.0]), iter([1.0, 1.0, 1.0, 2.0])

    (figure,) = compare({"it": lambda: next(subject)}, ("that", lambda: next(reference)), "s", rounds=3)

    assert (figure.value, figure.ratio, figure.reference) == (4.0, 3.0, "that")


@pytest.mark.parametrize(("ratio", "code"), [(2.0, 0), (2.9, 0), (3.1, 1), (1.2, 1)])
def test_check_tells_what_moved(
    ratio: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1 if a ratio is off its baseline by more than the tolerated factor, in either direction."""
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({"it": {"ratio": 2.0, "tolerance": 1.5}}))
    monkeypatch.setattr(command, "_BASELINE", baseline)
    monkeypatch.setattr(
        command, "figures_of", lambda name, quick: iter([Figure("it", "us", 1.0, 0.0, "that", ratio, Goal(2.0))])
    )

    assert command.main(["keys", "--check", "--json", str(tmp_path / "figures.json")]) == code
    assert f"1 ratios compared with baseline.json, {code} moved" in capsys.readouterr().out
    assert json.loads((tmp_path / "figures.json").read_text())[0]["ratio"] == ratio


def test_the_baseline_is_complete() -> None:
    """Each entry of baseline.json has a ratio above 0 and a tolerance above 1."""
    baseline = json.loads((_FOLDER / "baseline.json").read_text())

    assert baseline
    assert all(known["ratio"] > 0 and known["tolerance"] > 1 for known in baseline.values())
