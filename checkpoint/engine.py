"""Engine: one execution of a graph: what is fresh, what has to be computed, and the values that were asked for.

It looks at the store, lets `Computing` do what is missing, and reads the roots' values. A run that computes nothing
imports nothing that computing takes.

Must not know: how tasks are defined, executors, what a worker does.

Next: runs.py
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from checkpoint import notices
from checkpoint.choice import Options, check_executor
from checkpoint.errors import DamagedEntryError, TaskLostError
from checkpoint.graph import Instance
from checkpoint.outcome import Outcome, Telling
from checkpoint.plan import State
from checkpoint.store import Store
from checkpoint.survey import survey
from checkpoint.values import load
from checkpoint.version import row_of

if TYPE_CHECKING:
    from checkpoint.computing import Computing
    from checkpoint.events import RunBegun

__all__ = ["Run"]

#: How often a value that was asked for may be gone before the run gives up.
_MOST_REPEATS = 10


@final
class Run:
    """One execution of a graph. Use once: `Run(...).execute()`, then `value_of(root)`."""

    def __init__(self, roots: Sequence[Instance], store: Store, options: Options) -> None:
        """Build the graph and look at the store.

        Raises:
            TypeError, ValueError: options that can't be; and what bodies raise.
        """
        check_executor(options.executor, options.max_workers)
        self.store = store
        self._options = options
        self.began_at, began = time.time(), time.perf_counter()
        self.surveyed = survey(roots, store, pools=options.pools, limits=options.limits, is_forced=options.is_forced)
        self._graph, self._plan, self._revisions = self.surveyed.graph, self.surveyed.plan, self.surveyed.revisions
        instances, tasks = self._graph.instances, self.surveyed.counts
        self._telling = Telling(instances, tasks, options.observers, began_at=self.began_at, began=began)
        self._computing: Computing | None = None
        #: What was asked for and is computed whatever the store has.
        self.forced = frozenset(self._graph.roots if options.is_forced else ())
        #: Called now and then while something is computed, in the thread of the run; does not raise.
        self.pulse: Callable[[], None] | None = None

    @property
    def outcome(self) -> Outcome:
        """What came of it so far."""
        return self._telling.outcome

    @property
    def worker_count(self) -> int:
        """How many workers it has had; 0 if nothing was to be computed."""
        return self._computing.worker_count if self._computing is not None else 0

    @property
    def computing(self) -> Computing | None:
        """Its workers, and what they are at; None if nothing was to be computed."""
        return self._computing

    # --- the whole ---

    def execute(self) -> Outcome:
        """Compute what is missing.

        Raises:
            KeyboardInterrupt: after what ran was finished and kept; a second one ends what is ours at once.
            StoreError: the store can't be read or written.
        """
        if self._options.observers:
            self._telling.begin(self._begun())
        error: BaseException | None = None
        try:
            states, instances = self._plan.states, self._graph.instances
            unsettled = [node for node, state in enumerate(states) if state is not State.FRESH]
            unsettled_counts = Counter([instances[node].task.name for node in unsettled])
            self._telling.count_hits({name: n - unsettled_counts[name] for name, n in self.surveyed.counts.items()})
            self._telling.tell_hits(
                (node for node, state in enumerate(states) if state is State.FRESH), self._plan.served
            )
            self._give_notice()
            if unsettled:
                self._compute(unsettled)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._telling.end(error)
            self._log()
        return self.outcome

    def _compute(self, nodes: Sequence[int]) -> None:
        if self._computing is None:
            from checkpoint.computing import Computing

            self._computing = Computing(self.surveyed, self.store, self._options, self._telling, self._beat)
        with self.store.using(creates=True):
            self._computing.compute(nodes)

    def _beat(self) -> None:
        if self.pulse is not None:
            self.pulse()

    def _begun(self) -> RunBegun:
        from checkpoint.durations import Durations
        from checkpoint.events import RunBegun

        graph, surveyed = self._graph, self.surveyed
        expected = Durations(self.store, surveyed).expected
        return RunBegun(graph.instances, graph.upstream, surveyed.limits, surveyed.limits_of, expected, self.began_at)

    def _log(self) -> None:
        if (logging := sys.modules.get("logging")) is not None:  # else nobody can listen
            text = "run of %d instances took %.3f s: %s"
            logging.getLogger("checkpoint").info(text, len(self._graph), self.outcome.seconds, self.outcome.counts)

    def _give_notice(self) -> None:
        """Warn of code that changed, or cannot be seen, and keep what was declared of it."""
        for task, revisions in self._revisions.items():
            revisions.keep_findings()
            notices.warn_of_unseen_code(task)
        present = {task: revisions.present for task, revisions in self._revisions.items() if revisions.has_ranked}
        if not present:  # all entries are by the present code
            return
        for entry, instance in zip(self._plan.served, self._graph.instances, strict=True):
            if entry is not None and entry.fingerprint != present.get(instance.task, entry.fingerprint):
                notices.warn_of_change(instance, entry, self._revisions[instance.task])

    # --- values ---

    def value_of(self, instance: Instance) -> Any:
        """Return the value of a root, computing again what turns out to be gone or damaged.

        Raises:
            what the runner of an instance that isn't stored raises.
        """
        node = self._graph.node_of(instance.task.name, instance.key)
        for _ in range(_MOST_REPEATS):
            if not instance.task.is_stored:
                from checkpoint.inputs import unstored_value

                try:
                    return unstored_value(self.store, instance, self._plan.editions_above(node))
                except LookupError as lacking:
                    if not (lacking.args and isinstance(lacking.args[0], tuple)):
                        raise
                    self._compute_again([self._graph.node_of(name, key) for name, key, _ in lacking.args[0]])
                    continue
            row = row_of(instance.key, self._plan.edition(node))
            try:
                found = load(self.store, instance.task, row)
            except DamagedEntryError as damage:
                found = None
                notices.warn_of_damage(instance, damage.reason)
            if found is not None:
                return found[1]
            self._compute_again([node])
        raise TaskLostError(repr(instance), "its result vanishes again and again")

    def rows_of_roots(self) -> set[tuple[str, str]]:
        """Return task and row of what was asked for, where that is stored and settled."""
        found = set()
        for node in self._graph.roots:
            instance = self._graph.instances[node]
            if instance.task.is_stored and self._plan.versions[node] is not None:
                found.add((instance.task.name, row_of(instance.key, self._plan.edition(node))))
        return found

    def _compute_again(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self._plan.gone(node)
        self._compute(nodes)
        for error in self.outcome.failures.values():
            raise error
