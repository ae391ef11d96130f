"""Records, reports and traces of runs; pages are looked at in a real browser where there is one."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsing import chromium, clean_page
from click.testing import CliRunner
from programs import fail, nested, square, total

import checkpoint
from checkpoint import memo, run, run_report
from checkpoint.cli import main
from checkpoint.observe import archive
from checkpoint.observe.record import Bar, Outcome, RunRecord
from checkpoint.observe.report import report_of
from checkpoint.observe.schedule import Schedule
from checkpoint.store import current_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(checkpoint.__file__).parents[1]
NASTY = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">&amp;{{ 7 * 7 }}"


NAPS = """
import time
from checkpoint import memo

@memo
def nap(x: int) -> int:
    time.sleep(1.01)
    return x
"""


def records() -> list[RunRecord]:
    """Return what is on record in the current store, the newest first."""
    return [archive.read(file) for file in archive.kept(current_store())]


def made(count: int, seconds: float = 0.01) -> RunRecord:
    """Return the record of a run of so many instances, some of each outcome, on four workers."""
    width = max(1, count - 2)
    outcomes = [Outcome.FRESH if i % 7 == 3 else Outcome.FAILED if i == 5 else Outcome.COMPUTED for i in range(width)]
    bars = [
        Bar(i, round(i // 4 * seconds, 6), seconds, i % 4, "failed" if i == 5 else "computed")
        for i, outcome in enumerate(outcomes)
        if outcome != Outcome.FRESH
    ]
    outcomes += [Outcome.BLOCKED, Outcome.COMPUTED]
    bars.append(Bar(width + 1, count * seconds / 4, 3 * seconds, 0, "computed"))
    return RunRecord(
        began=1_760_000_000.0,
        seconds=count * seconds / 4 + 4 * seconds,
        workers=4,
        place={"host": "here", "platform": "Linux", "python": "3.12.1"},
        ended_by="",
        limits={},
        limits_of={},
        tasks=["study.fit", "study.best", "study.table"],
        task=[0] * width + [1, 2],
        key=[f'{{"fold":{i}}}' for i in range(width)] + ["{}", "{}"],
        outcome=outcomes,
        seconds_of=[seconds] * width + [0.0, 3 * seconds],
        size=[100] * (width + 2),
        upstream=[[]] * width + [list(range(width)), [i for i in range(width) if i != 5]],
        again=[0, 1],
        lanes=[f"process {i}" for i in range(4)],
        bars=bars,
        failures={5: ("failed", "Traceback (most recent call last):\nValueError: singular")},
    )


# --- records ---------------------------------------------------------------------------------------------


def test_a_run_that_is_asked_for_a_report_leaves_its_record(tmp_path: Path) -> None:
    """The record has the outcome, time, size and requirements of each instance, and the text of failures."""
    square(1).run(executor="serial")
    wanted = [total([square(1), square(2)]), total([fail("x")])]
    run_report(wanted, executor="serial", on_error="continue", report="report.html")
    (record,) = records()
    assert [Outcome.FRESH, Outcome.COMPUTED, Outcome.COMPUTED, Outcome.FAILED, Outcome.BLOCKED] == record.outcome
    assert [[], [], [0, 1], [], [3]] == record.upstream
    assert [square.name, total.name, fail.name] == record.tasks
    assert [1, 2, 3] == [bar.node for bar in record.bars]
    ((kind, text),) = record.failures.values()
    assert "failed" == kind
    assert text.rstrip().endswith("in fail(name='x')")
    assert "KeyError: 'x'" in text


def test_short_runs_and_runs_of_runners_leave_none() -> None:
    """Only what took a second or more is on record unless a page was asked for; a run within a runner never is."""
    run([square(1), nested(3)], executor="serial")
    assert [] == records()


def test_a_long_run_leaves_its_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program whose run takes a second leaves a record, of which `checkpoint report` makes a page."""
    (tmp_path / "naps.py").write_text(NAPS)
    command = [sys.executable, "-c", "import naps; naps.nap(1).run()"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    subprocess.run(command, check=True, env=environment, timeout=60)
    (record,) = records()
    assert ["naps.nap"] == record.tasks
    told = subprocess.run(
        [sys.executable, "-m", "checkpoint", "report"], env=environment, timeout=60, capture_output=True, text=True
    )
    assert (0, "") == (told.returncode, told.stderr)
    assert told.stdout.startswith("report.html: ")
    assert "naps.nap" in Path("report.html").read_text()


def test_a_run_of_many_short_instances_leaves_one_if_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a record would take long beside the run, only what went wrong is worth it."""
    monkeypatch.setattr("checkpoint.runs._RECORDED_SECONDS", 0.0)
    run(square(1), executor="serial")
    monkeypatch.setattr("checkpoint.runs._RECORDED_SECONDS_EACH", 1e9)
    run(square(2), executor="serial")
    with pytest.raises(KeyError):
        run(fail("x"), executor="serial")
    assert [[fail("x").key], [square(1).key]] == [record.key for record in records()]


def test_what_is_computed_again_is_on_record() -> None:
    """Instances that had a result and were computed all the same are named."""
    run([square(1), square(2)], executor="serial")
    run([square(2), square(3)], executor="serial", force=True, report="report.html")
    (record,) = records()
    assert [square(2).key] == [record.key[node] for node in record.again]


def test_the_last_twenty_records_stay() -> None:
    """The oldest go when there are more."""
    for i in range(archive.KEPT + 3):
        run(square(i), executor="serial", trace="trace.json")
    assert [square(i).key for i in range(archive.KEPT + 2, 2, -1)] == [record.key[0] for record in records()]


def test_a_run_that_is_broken_off_leaves_its_record() -> None:
    """Ctrl-C in a runner ends the run; page and record tell how far it came."""

    @memo
    def interrupted(x: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([square(1), interrupted(1)], executor="serial", report="report.html")
    (record,) = records()
    assert ("KeyboardInterrupt", [Outcome.COMPUTED, Outcome.OPEN]) == (record.ended_by, record.outcome)
    assert "ended early by KeyboardInterrupt" in Path("report.html").read_text()


def test_a_record_survives_as_text() -> None:
    """JSON and back is the same record."""
    record = made(20)
    assert record == RunRecord.from_json(record.to_json())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format":1}', '{"format":1,"bars":[[1]]}'])
def test_what_is_no_record_is_refused(text: str) -> None:
    """A text that is no record is a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError, match=r"no record|Expecting"):
        RunRecord.from_json(text)


def test_a_damaged_record_is_left_out() -> None:
    """The others are still listed."""
    for i in range(2):
        run(square(i), executor="serial", trace="trace.json")
    archive.kept(current_store())[0].write_bytes(b"nonsense")
    told = CliRunner().invoke(main, ["report", "--list"])
    assert (0, 1) == (told.exit_code, len(told.output.splitlines()))


def test_without_a_record_the_command_says_so() -> None:
    """Nothing on record is exit code 1 and a line that names the store."""
    told = CliRunner().invoke(main, ["report"])
    assert 1 == told.exit_code
    assert f"no run 1 on record in {current_store().url}" in told.output


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [("report", 3, TypeError), ("trace", ["x"], TypeError), ("report", "nowhere/report.html", FileNotFoundError)],
)
def test_where_no_file_can_be_is_told_before_the_run(option: str, value: object, error: type[Exception]) -> None:
    """A path that can't be is refused by the name of the option, and nothing is computed."""
    with pytest.raises(error, match=rf"run\({option}="):
        run(square(1), executor="serial", **{option: value})  # type: ignore[call-overload]
    assert not square(1).is_cached()


# --- the schedule ----------------------------------------------------------------------------------------


def schedule(seconds: Sequence[float], upstream: Sequence[Sequence[int]] = (), **limits: int) -> Schedule:
    """Return a schedule in which everything counts against all limits."""
    return Schedule(seconds, upstream or [()] * len(seconds), limits, lambda node: tuple(limits))


def test_the_critical_path_is_the_longest_chain() -> None:
    """Of two chains the one that took longer, from its beginning; what took nothing is left out."""
    diamond = schedule([1, 5, 2, 0, 1], [(), (0,), (0,), (1, 2), (3,)])
    assert [0, 1, 4] == diamond.critical_path()


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12.0), (2, 6.0), (4, 4.0), (6, 2.0), (60, 2.0)])
def test_more_workers_take_less_time(workers: int, seconds: float) -> None:
    """Six independent instances of two seconds."""
    assert seconds == schedule([2.0] * 6).makespan(workers)


def test_no_number_of_workers_beats_a_chain() -> None:
    """What waits for one another takes as long as all of it."""
    assert 6.0 == schedule([2.0] * 3, [(), (0,), (1,)]).makespan(8)


def test_limits_hold_in_the_simulation() -> None:
    """Two at a time, whatever the workers."""
    assert 6.0 == schedule([2.0] * 6, gpu=2).makespan(8)


# --- traces ----------------------------------------------------------------------------------------------

#: Phase -> the fields that Chrome's format wants of an event of that phase, with their types.
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "M": {"name": (str,), "pid": (int,), "tid": (int,), "args": (dict,)},
    "X": {"name": (str,), "cat": (str,), "pid": (int,), "tid": (int,), "ts": (int, float), "dur": (int, float)},
    "C": {"name": (str,), "pid": (int,), "ts": (int, float), "args": (dict,)},
    "s": {"name": (str,), "cat": (str,), "id": (int,), "pid": (int,), "tid": (int,), "ts": (int, float)},
    "f": {"name": (str,), "cat": (str,), "id": (int,), "pid": (int,), "tid": (int,), "ts": (int, float), "bp": (str,)},
}  # fmt: skip


def trace_of_a_run(**options: Any) -> list[dict[str, Any]]:
    """Run some instances; return the events of the trace."""
    run([total([square(i) for i in range(5)])], trace="trace.json", **options)
    trace = json.loads(Path("trace.json").read_text())
    assert {"traceEvents", "displayTimeUnit", "otherData"} == set(trace)
    return list(trace["traceEvents"])


@pytest.mark.parametrize("kind", ["serial", "threads", "processes"])
def test_a_trace_is_in_chromes_format(kind: str) -> None:
    """Each event has the fields of its phase; slices of a thread don't overlap, arrows go forward in time."""
    events = trace_of_a_run(executor=kind)
    for event in events:
        wanted = FIELDS[event["ph"]]
        assert [] == [name for name, types in wanted.items() if not isinstance(event.get(name), types)]
    slices = [event for event in events if event["ph"] == "X"]
    assert 6 == len(slices)
    for thread in {event["tid"] for event in slices}:
        in_thread = sorted((event["ts"], event["dur"]) for event in slices if event["tid"] == thread)
        assert all(ts + dur <= later + 1000 for (ts, dur), (later, _) in itertools.pairwise(in_thread))
    starts = {event["id"]: event["ts"] for event in events if event["ph"] == "s"}
    ends = {event["id"]: event["ts"] for event in events if event["ph"] == "f"}
    assert 5 == len(starts)
    assert set(starts) == set(ends)
    assert all(starts[number] <= ends[number] for number in starts)


def test_rows_of_a_trace_are_named() -> None:
    """Each thread in which there is a slice has the name of its worker."""
    events = trace_of_a_run(executor="processes", max_workers=2)
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    used = {event["tid"] for event in events if event["ph"] == "X"}
    assert used == set(names)
    assert all(re.fullmatch(r"process \d+", name) for name in names.values())


# --- pages -----------------------------------------------------------------------------------------------


def test_a_page_needs_nothing_from_outside() -> None:
    """No element names another file, and the page's own policy forbids to load any."""
    text = report_of(made(10))
    assert [] == re.findall(r"<(?:script|img|iframe|link|object|embed)[^>]*\b(?:src|href|data)=", text)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe-eval" not in policy


def test_a_page_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named before anything is computed."""
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"checkpoint-tool\[report\]"):
        run(square(1), executor="serial", report="report.html")
    assert not square(1).is_cached()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test if anything goes wrong in it, or anything is loaded."""
    with clean_page(browser, lambda url: url.startswith("file:")) as page:
        yield page


def opened(page: Page, record: RunRecord, history: Sequence[RunRecord] = ()) -> Page:
    """Open the page of a record and wait until it is drawn."""
    Path("report.html").write_text(report_of(record, history), encoding="utf-8")
    page.goto(Path("report.html").absolute().as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    return page


@pytest.mark.parametrize("count", [10, 2_000, pytest.param(20_000, marks=pytest.mark.stress)])
def test_a_page_shows_what_happened(count: int, page: Page) -> None:
    """Numbers, graph, timeline, tables and failures are there, for a few instances as for many."""
    opened(page, made(count))
    assert str(count) == page.inner_text(".tiles li:first-child b")
    assert 3 == page.locator("[id^=box-]").count()
    page.wait_for_selector("#timeline-view canvas, #timeline-view .bk-Figure")
    assert f"{count} of {count}" == page.inner_text("#found")
    assert min(count, 100) == page.locator("#table tbody tr").count()
    assert "ValueError: singular" in page.inner_text("#failures pre")
    assert "study.fit" in page.inner_text("#tasks tbody")


def test_a_click_opens_a_task_and_shows_what_an_instance_requires(page: Page) -> None:
    """A box opens to its instances, in the colours of their outcomes; a chosen one tells what it requires."""
    opened(page, made(100))
    assert 0 == page.locator("rect.instance").count()
    page.click("#box-0")
    assert 98 == page.locator("rect.instance").count()
    assert 1 == page.locator("rect.instance.o2").count()
    assert 14 == page.locator("rect.instance.o0").count()
    page.click("#instance-5")
    chosen = page.inner_text("#chosen")
    assert "fit(fold=5)" in chosen
    assert "failed" in chosen
    assert "requires nothing" in chosen
    assert "required by best()" in chosen
    assert 1 == page.locator("path.tie").count()
    page.click("#box-0", position={"x": 20, "y": 16})
    assert 0 == page.locator("rect.instance").count()


def test_the_graph_can_be_used_with_keys_alone(page: Page) -> None:
    """Tab reaches boxes, Enter opens, arrows go from instance to instance, and the focus stays visible."""
    opened(page, made(100))
    page.focus("#box-0")
    page.keyboard.press("Enter")
    assert "true" == page.get_attribute("#box-0", "aria-expanded")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert "fit(fold=5)" in page.inner_text("#chosen")
    page.keyboard.press("ArrowRight")
    assert "fit(fold=0)" in page.inner_text("#chosen")
    assert "instance-0" == page.evaluate("document.activeElement.id")


def test_the_table_sorts_and_filters(page: Page) -> None:
    """Text, task and outcome narrow the rows; a header sorts by its column, a second click the other way round."""
    opened(page, made(2_000))
    page.fill("#filter-text", "fold=123")
    assert "11 of 2000" == page.inner_text("#found")
    page.select_option("#filter-outcome", label="fresh")
    assert "1 of 2000" == page.inner_text("#found")
    page.fill("#filter-text", "")
    page.select_option("#filter-outcome", label="failed")
    assert ["fit(fold=5)"] == page.locator("#table tbody th").all_inner_texts()
    page.select_option("#filter-outcome", value="")
    page.select_option("#filter-task", label="study.table")
    assert "1 of 2000" == page.inner_text("#found")
    page.select_option("#filter-task", value="")
    page.click("#table thead th:nth-child(5) button")
    assert "descending" == page.get_attribute("#table thead th:nth-child(5)", "aria-sort")
    assert "table()" == page.inner_text("#table tbody tr:first-child th")
    page.click("#table thead th:nth-child(7) button")
    assert "best()" == page.inner_text("#table tbody tr:first-child th")
    page.click("#table thead th:nth-child(7) button")
    assert "best()" != page.inner_text("#table tbody tr:first-child th")
    page.click("#next")
    assert "page 2 of 20" == page.inner_text("#page")


def test_the_table_of_tasks_sorts(page: Page) -> None:
    """A click on a header orders the tasks by that column."""
    opened(page, made(100))
    page.click("#tasks table.sortable thead th:nth-child(2) button")
    assert "study.fit" == page.inner_text("#tasks table.sortable tbody tr:first-child th")
    page.click("#tasks table.sortable thead th:nth-child(2) button")
    assert "study.best" == page.inner_text("#tasks table.sortable tbody tr:first-child th")


def test_what_users_name_is_never_markup(page: Page) -> None:
    """Names, arguments and texts of failures that look like HTML, script or template are shown as they are."""

    def nasty(x: str) -> int:
        raise ValueError(NASTY)

    failing = memo(name=NASTY)(nasty)
    run_report([failing(NASTY)], executor="serial", on_error="continue", report="report.html")
    page.goto(Path("report.html").absolute().as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    assert "checkpoint: run of" in page.title()
    assert NASTY in page.inner_text("#failures pre")
    assert NASTY in page.inner_text("#tasks tbody")
    assert 0 == page.locator("img").count()
    page.click("rect.instance")
    assert "onerror" in page.inner_text("#chosen")
    assert "checkpoint: run of" in page.title()


def test_a_click_in_the_timeline_chooses_an_instance(page: Page) -> None:
    """A bar tells what it is when it is clicked."""
    opened(page, made(10, seconds=1.0))
    view = page.locator("#timeline-view")
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    assert box is not None
    page.wait_for_function("document.querySelector('#timeline-view').firstElementChild !== null")
    for part in (0.3, 0.4, 0.5, 0.6):
        page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * part)
        if "fit(" in page.inner_text("#chosen"):
            break
    assert "fit(fold=" in page.inner_text("#chosen")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_has_enough_contrast_in_both_themes(scheme: Any, browser: Browser) -> None:
    """Text and paper follow the reader's theme."""
    page = browser.new_page(color_scheme=scheme)
    opened(page, made(10))
    paper, ink = page.evaluate(
        "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
    )
    page.close()
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in (paper, ink)]
    assert (scheme == "light") == (lightness[0] > lightness[1])
    assert abs(lightness[0] - lightness[1]) > 0.7


def test_a_printed_page_has_all_of_it(page: Page) -> None:
    """On paper there are no controls, and what scrolls on the screen is there in full."""
    opened(page, made(10))
    page.emulate_media(media="print")
    assert not page.is_visible("nav")
    assert not page.is_visible("#filters")
    assert "visible" == page.evaluate("getComputedStyle(document.querySelector('#graph-view')).overflow")
