"""The comparison of edits observes what really happens; the peers themselves aren't needed here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import compare_edits
from benchmarks.comparison.by_hand import SETTINGS
from benchmarks.comparison.edits import EDITS, Edit
from benchmarks.comparison.libraries import LIBRARIES, PLAIN
from benchmarks.comparison.observe import observe

_EDITS = {edit.name: edit for edit in EDITS}
_WARN, _RERUN = LIBRARIES[:2]
_PINNED = SETTINGS[1]

_BLIND = """
import json
import pathlib


def keep(function):
    def call(*arguments):
        kept = pathlib.Path(function.__name__ + ".json")
        if not kept.exists():
            kept.write_text(json.dumps(function(*arguments)))
        return json.loads(kept.read_text())

    return call


"""


@pytest.mark.parametrize(
    ("edit", "warn", "rerun"),
    [("nothing", "hit", "hit"), ("comment only", "hit", "hit"), ("the function itself", "warned", "recomputed")],
)
def test_checkpoint_is_observed_in_both_modes(edit: str, warn: str, rerun: str) -> None:
    """A comment is a hit; an edited function is warned about by one mode and recomputed by the other."""
    assert (warn, rerun) == (observe(_WARN, _EDITS[edit]), observe(_RERUN, _EDITS[edit]))


@pytest.mark.parametrize("edit", [edit for edit in EDITS if "ruff" not in edit.name], ids=lambda edit: edit.name)
def test_every_edit_does_what_its_row_says(edit: Edit) -> None:
    """Plain Python always computes, and its value changes just where the row says that recomputing is right."""
    assert "recomputed" == observe(PLAIN, edit)


def test_a_wrong_value_is_stale() -> None:
    """A cache that never looks at code is caught giving the old value, and hits where that is right."""
    blind = replace(PLAIN, head=_BLIND, decorator="@keep\n")

    assert ("stale", "hit") == (observe(blind, _EDITS["constant"]), observe(blind, _EDITS["docstring only"]))


def test_an_edit_at_fault_is_refused() -> None:
    """An edit that changes nothing, or no value where it should, is an error and no observation."""
    with pytest.raises(ValueError, match="isn't what 'recomputed' is right for"):
        observe(_WARN, replace(_EDITS["comment only"], right="recomputed"))


def test_the_table_replaces_what_is_between_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--write` leaves the rest of the page as it is, and a missing library is shown as not installed."""
    absent = replace(_WARN, title="another", package="no_such_package")
    monkeypatch.setattr(compare_edits, "EDITS", [_EDITS["nothing"]])
    monkeypatch.setattr(compare_edits, "LIBRARIES", [_RERUN, absent])
    monkeypatch.setattr(compare_edits, "SETTINGS", [replace(_PINNED, edits=("the function itself",))])
    monkeypatch.setattr(compare_edits, "is_formatter_installed", lambda: True)
    begin, end = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"
    page = tmp_path / "page.md"
    page.write_text(f"above\n{begin}old\n{end}below\n")

    assert compare_edits.main(["--write", str(page)]) == 0

    above, _, rest = page.read_text().partition(begin)
    table, _, below = rest.partition(end)
    assert (above, below) == ("above\n", "below\n")
    assert "old" not in table
    lines = table.splitlines()
    assert "| nothing | hit | hit | not installed |" in lines
    assert "| checkpoint, `rerun` | `version=1` | the function itself | recomputed | **stale** |" in lines


def test_a_page_without_markers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is observed and nothing written if there is no place for the table."""
    page = tmp_path / "page.md"
    page.write_text("above\n")

    with pytest.raises(SystemExit) as stopped:
        compare_edits.main(["--write", str(page)])

    assert stopped.value.code == 2
    assert "needs one line" in capsys.readouterr().err
    assert page.read_text() == "above\n"
