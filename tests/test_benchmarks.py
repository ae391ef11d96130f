"""The benchmarks run and give figures; how good these are is not a matter of tests."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy")  # bench_codec compresses an array

from benchmarks import __main__ as command
from benchmarks.measure import Figure, Goal, compare

_FOLDER = Path(command.__file__).parent


def are_whole(figures: list[Figure]) -> bool:
    """Tell whether there are figures, each with a finite positive value and ratio and a name of its own."""
    numbers = [number for each in figures for number in (each.value, each.ratio)]
    names = {figure.name for figure in figures}
    return 0 < len(names) == len(figures) and all(math.isfinite(number) and number > 0 for number in numbers)


def test_a_benchmark_yields_positive_figures(tmp_path: Path) -> None:
    """Each figure has a finite positive value and ratio, and a name of its own."""
    program = [sys.executable, "-m", "benchmarks", "keys", "--quick", "--json", str(tmp_path / "figures.json")]
    subprocess.run(program, cwd=_FOLDER.parent, check=True, capture_output=True, timeout=120)
    assert are_whole([Figure(**figure) for figure in json.loads((tmp_path / "figures.json").read_text())])


@pytest.mark.stress
@pytest.mark.parametrize("name", sorted({*command.names()} - {"peers", "dask", "events"}))
def test_every_benchmark_yields_positive_figures(name: str) -> None:
    """The same of all that need no other library."""
    assert are_whole(list(command.figures_of(name, quick=True)))


@pytest.mark.stress
def test_peers_that_are_not_installed_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """DiskCache is always there; no library that is installed gives a wrong value or fails."""
    figures = list(command.figures_of("peers", quick=True))
    assert (True, []) == (any("diskcache.memoize" in each.name for each in figures), caplog.records)


def test_figures_are_drawn(tmp_path: Path) -> None:
    """`--plot` gives a picture of each benchmark, and one of what was measured at three sizes or more."""
    pytest.importorskip("matplotlib")
    sized = [Figure(f"of {size:,}", "us", 3.0, 0.0, "that", 1.1, Goal(2.0)) for size in (100, 1_000, 10_000)]
    files = command.plots.draw({"one": [Figure("it", "us", 1.0, 0.0, "that", 0.5)], "sizes": sized}, tmp_path)
    assert ["by-size.svg", "one.svg", "sizes.svg"] == sorted(path.name for path in files)
    assert all("<svg" in path.read_text(encoding="utf-8") for path in files)


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
