"""Observers: what they are told, and the adapters to logging, tqdm and OpenTelemetry."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from programs import chain, fail, flaky, pooled, process_of, square, total

from checkpoint import memo, run, run_report
from checkpoint.observe import Bar, Event, EventKind, Logs, Observer, Progress, RunBegun, RunEnded, Spans, Tick
from checkpoint.observe.standing import Standing


class Notes(Observer):
    """Keeps all it is told."""

    def __init__(self) -> None:
        self.begun: list[RunBegun] = []
        self.events: list[Event] = []
        self.ticks: list[Tick] = []
        self.ended: list[RunEnded] = []

    def begin(self, run: RunBegun) -> None:
        self.begun.append(run)

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def tick(self, tick: Tick) -> None:
        self.ticks.append(tick)

    def end(self, ended: RunEnded) -> None:
        self.ended.append(ended)

    def of(self, kind: EventKind) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.events if event.kind is kind]


# --- what is told ----------------------------------------------------------------------------------------


def test_a_run_begins_with_its_graph_and_limits(tmp_path: object) -> None:
    """An observer gets all instances, what each requires, the limits and which task counts against which."""
    notes = Notes()
    squares = [square(1), square(2)]
    run([total(squares), pooled(1, str(tmp_path))], pools={"gpu": 3}, executor="serial", observers=[notes])
    (begun,) = notes.begun
    assert [*squares, total(squares), pooled(1, str(tmp_path))] == list(begun.instances)
    assert [(), (), (0, 1), ()] == list(begun.upstream)
    assert {"pool gpu": 3} == begun.limits
    assert ("pool gpu",) == begun.limits_of[pooled.name]
    assert {square.name: 2, total.name: 1, pooled.name: 1} == begun.counts


def test_what_instances_took_before_can_be_asked_for() -> None:
    """The time of an instance's own entry, else that of others of its task, else None."""
    square(1).run(executor="serial")
    (entry,) = square.entries()
    expected: list[float | None] = []

    class Asking(Observer):
        def begin(self, run: RunBegun) -> None:
            expected.extend(map(run.expected_seconds, range(len(run.instances))))

    run([square(1), square(2), chain(0)], executor="serial", observers=[Asking()])
    assert [entry.seconds, entry.seconds, None] == expected


def test_a_hit_tells_what_computing_it_took() -> None:
    """The event of a hit has the seconds and bytes of its entry, and the index of its instance."""
    square(2).run(executor="serial")
    (entry,) = square.entries()
    notes = Notes()
    run([square(1), square(2)], executor="serial", observers=[notes])
    (hit,) = notes.of(EventKind.HIT)
    assert (1, entry.seconds, entry.size) == (hit.node, hit.seconds, hit.size)


@pytest.mark.parametrize("kind", ["serial", "threads", "processes", "async"])
def test_an_event_tells_where_and_when_a_runner_ran(kind: str) -> None:
    """Begin and length of each runner lie within the run, and the place is the process."""
    notes = Notes()
    report = run_report([process_of(i) for i in range(5)], executor=kind, observers=[notes])
    computed = notes.of(EventKind.COMPUTED)
    assert [f"process {report.value[event.node]}" for event in computed] == [event.place for event in computed]
    for event in computed:
        assert event.start is not None
        assert 0 <= event.start <= event.start + event.seconds <= event.time <= report.seconds


def test_failures_and_second_attempts_have_their_exceptions(tmp_path: object) -> None:
    """What failed, is tried again or skipped is told as such, with the exception where there is one."""
    notes = Notes()
    wanted = [total([fail("a")]), flaky(1, str(tmp_path), 1)]
    run_report(wanted, executor="serial", on_error="continue", observers=[notes])
    (failed,), (retried,), (skipped,) = map(notes.of, (EventKind.FAILED, EventKind.RETRIED, EventKind.SKIPPED))
    assert ("KeyError", "OSError", None) == (
        type(failed.error).__name__,
        type(retried.error).__name__,
        skipped.error,
    )
    assert (fail("a"), flaky(1, str(tmp_path), 1), total([fail("a")])) == (
        failed.instance,
        retried.instance,
        skipped.instance,
    )


def test_a_tick_tells_what_a_limit_holds_back(tmp_path: object) -> None:
    """A limit that is used up is told with the number of instances that wait for it."""
    notes = Notes()
    run([pooled(i, str(tmp_path)) for i in range(6)], executor="processes", max_workers=2, observers=[notes])
    held = [tick.held for tick in notes.ticks]
    assert {"pool gpu": 5} in held
    assert 2 == max(tick.workers for tick in notes.ticks)


def test_the_end_tells_the_exception_that_ended_a_run() -> None:
    """What breaks a run off, other than a task's failure, is told at its end."""

    class Impatient(Notes):
        def notify(self, event: Event) -> None:
            raise RuntimeError("enough")

    impatient, notes = Impatient(), Notes()
    with pytest.raises(RuntimeError, match="enough"):
        run(square(1), executor="serial", observers=[impatient])
    run(square(1), executor="serial", observers=[notes])
    assert ("enough", None) == (str(impatient.ended[0].error), notes.ended[0].error)


def test_what_is_told_is_frozen() -> None:
    """An observer can't change what the next one is told."""
    notes = Notes()
    run(square(1), executor="serial", observers=[notes])
    for told in (notes.begun[0], notes.events[0], notes.ended[0], Tick(0.0, 1, {}, {})):
        with pytest.raises(AttributeError):
            setattr(told, told._fields[0], None)


def test_an_observer_needs_only_the_methods_it_cares_for() -> None:
    """Those that it inherits do nothing."""

    class Failures(Observer):
        def __init__(self) -> None:
            self.names: list[str] = []

        def notify(self, event: Event) -> None:
            if event.kind is EventKind.FAILED:
                self.names.append(repr(event.instance))

    failures = Failures()
    run_report([fail("x"), square(1)], executor="serial", on_error="continue", observers=[failures])
    assert ["fail(name='x')"] == failures.names


# --- how long it takes -----------------------------------------------------------------------------------


def begun(seconds: Sequence[float | None], upstream: Sequence[Sequence[int]] = (), **limits: int) -> RunBegun:
    """Return the beginning of a run of squares that took some seconds before; all count against the limits."""
    return RunBegun(
        [square(i) for i in range(len(seconds))],
        upstream or [()] * len(seconds),
        limits,
        {square.name: tuple(limits)},
        seconds.__getitem__,
        0.0,
    )


def test_time_left_is_the_work_spread_over_the_workers() -> None:
    """Without anything else in the way, what the open instances took before is divided by the workers."""
    standing = Standing(begun([10.0] * 8))
    standing.tick(Tick(0.0, 4, {}, {}))
    assert 20.0 == standing.seconds_left()
    standing.notify(Event(EventKind.HIT, square(0), 0.0, node=0))
    standing.notify(Event(EventKind.HIT, square(1), 0.0, node=1))
    assert 15.0 == standing.seconds_left()


def test_time_left_is_at_least_that_of_the_longest_chain() -> None:
    """More workers don't help where each instance requires the one before."""
    standing = Standing(begun([10.0] * 4, [(), (0,), (1,), (2,)]))
    standing.tick(Tick(0.0, 4, {}, {}))
    assert 40.0 == standing.seconds_left()


def test_time_left_is_at_least_what_a_limit_lets_through() -> None:
    """Work that counts against a limit is divided by its size."""
    standing = Standing(begun([10.0] * 8, gpu=2))
    standing.tick(Tick(0.0, 8, {}, {}))
    assert 40.0 == standing.seconds_left()


def test_time_left_follows_the_pace_of_this_run() -> None:
    """If instances take twice as long as before, so do those to come."""
    standing = Standing(begun([10.0] * 4))
    standing.seconds_left()
    standing.notify(Event(EventKind.COMPUTED, square(0), 20.0, 20.0, node=0))
    assert 60.0 == standing.seconds_left()


def test_time_left_is_unknown_while_a_task_has_never_been_computed() -> None:
    """Nothing is guessed of a task without a record; the first instances of it tell."""
    standing = Standing(begun([None] * 4))
    assert standing.seconds_left() is None
    standing.notify(Event(EventKind.COMPUTED, square(0), 5.0, 5.0, node=0))
    assert 15.0 == standing.seconds_left()


def test_two_live_views_in_one_process_do_not_fight(capfd: pytest.CaptureFixture[str]) -> None:
    """A run inside of a runner shows nothing of its own."""

    @memo
    def outer(x: int) -> int:
        return sum(run([square(i) for i in range(x)], executor="serial"))

    assert 5 == run(outer(3), executor="serial", observers=[Progress()])
    assert square.name not in capfd.readouterr().err


# --- adapters --------------------------------------------------------------------------------------------


def test_logs_go_to_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    """What is computed is logged at INFO, a failure at ERROR, and each record has its event."""
    with caplog.at_level(logging.INFO, "study"):
        logger = logging.getLogger("study")
        run_report([square(3), fail("x")], executor="serial", on_error="continue", observers=[Logs(logger)])
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "study"]
    assert ("INFO", "run of 2 instances of 2 tasks begins") == told[0]
    assert [("INFO", "square(x=3) computed"), ("ERROR", "fail(name='x') failed")] == [
        (level, text.partition(" (")[0]) for level, text in told[1:3]
    ]
    assert told[2][1].endswith("KeyError: 'x'")
    assert "run ended after" in told[3][1]
    events = [getattr(record, "event", None) for record in caplog.records if record.name == "study"]
    assert [square(3), fail("x")] == [event.instance for event in events if event is not None]


def test_a_bar_of_tqdm_counts_what_is_done() -> None:
    """The bar ends at the number of instances, with the counts behind it."""
    square(1).run(executor="serial")
    file = io.StringIO()
    run([total([square(1), square(2)])], executor="serial", observers=[Bar(desc="study", file=file, ncols=100)])
    last = file.getvalue().split("\r")[-1]
    assert "study: 100%" in last
    assert "3/3" in last
    assert "computed=2, failed=0, hit=1" in last


def spans(*wanted: object) -> tuple[ReadableSpan, dict[str, ReadableSpan]]:
    """Run instances with real OpenTelemetry spans; return the run's, and the others by task."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    observer = Spans(provider.get_tracer("test"))
    run_report(list(wanted), executor="serial", on_error="continue", observers=[observer])
    found = {span.name: span for span in exporter.get_finished_spans()}
    return found.pop("checkpoint.run"), found


def test_spans_of_opentelemetry_are_below_that_of_the_run() -> None:
    """Each attempt is a span within the run's, with task, key and times."""
    whole, parts = spans(square(4))
    assert whole.attributes is not None
    assert (1, 1) == (whole.attributes["checkpoint.instances"], whole.attributes["checkpoint.computed"])
    part = parts[square.name]
    assert part.parent is not None
    assert part.parent.span_id == whole.get_span_context().span_id
    assert part.attributes is not None
    assert square(4).key == part.attributes["checkpoint.key"]
    times = [whole.start_time, part.start_time, part.end_time, whole.end_time]
    assert sorted(time for time in times if time is not None) == times


def test_a_failure_is_an_exception_of_its_span() -> None:
    """A span of a failed attempt has status ERROR and the exception."""
    _, parts = spans(fail("x"))
    part = parts[fail.name]
    assert "ERROR" == part.status.status_code.name
    assert ["exception"] == [event.name for event in part.events]
