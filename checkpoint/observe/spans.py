"""Spans: a run as a trace of OpenTelemetry.

Next: observe/__init__.py
"""

from __future__ import annotations

from typing import Any, final

from checkpoint.events import Event, EventKind, Observer, RunBegun, RunEnded

__all__ = ["Spans"]

_BAD = (EventKind.FAILED, EventKind.TIMED_OUT, EventKind.LOST, EventKind.RETRIED)


@final
class Spans(Observer):
    """An observer that makes a span for the run and, below that, one for each attempt at an instance.

    Needs the package opentelemetry-api and, to send spans anywhere, whatever exporter you configure.

    Args:
        tracer: a tracer of yours; the one named "checkpoint" of the global provider otherwise.
    """

    def __init__(self, tracer: Any = None) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._tracer = tracer or trace.get_tracer("checkpoint")
        self._run: Any = None
        self._began_ns = 0

    def begin(self, run: RunBegun) -> None:
        """Open the span of the run, below the caller's current one."""
        self._began_ns = int(run.at * 1e9)
        self._run = self._tracer.start_span("checkpoint.run", start_time=self._began_ns)
        self._run.set_attribute("checkpoint.instances", len(run.instances))

    def notify(self, event: Event) -> None:
        """Add a span for an attempt that is over, with the times that the runner had."""
        if event.kind is not EventKind.COMPUTED and event.kind not in _BAD:
            return
        task = event.instance.task.name
        start = event.start if event.start is not None else event.time - event.seconds
        start_ns = self._began_ns + int(start * 1e9)
        span = self._tracer.start_span(
            task,
            context=self._trace.set_span_in_context(self._run),
            start_time=start_ns,
            attributes={
                "checkpoint.task": task,
                "checkpoint.key": event.instance.key,
                "checkpoint.outcome": event.kind.value,
                "checkpoint.place": event.place,
                "checkpoint.size_bytes": event.size,
            },
        )
        if event.error is not None:
            span.record_exception(event.error)
            span.set_status(self._trace.StatusCode.ERROR, str(event.error))
        span.end(end_time=start_ns + int(event.seconds * 1e9))

    def end(self, ended: RunEnded) -> None:
        """Close the span of the run, with the numbers."""
        for what in ("computed", "hit", "failed", "skipped"):
            self._run.set_attribute(f"checkpoint.{what}", sum(getattr(count, what) for count in ended.counts.values()))
        if ended.error is not None:
            self._run.record_exception(ended.error)
            self._run.set_status(self._trace.StatusCode.ERROR)
        self._run.end()
