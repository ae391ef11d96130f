"""Groups: members run at the same time, each in a lane and a branch of the channel of its own, up to a barrier.

A member that is done is not run again, whatever becomes of the others. At the barrier branches are merged, and what
members asked for is passed on.

Must not know: how a lane runs.

Next: flows/workflow/engine.py
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from checkpoint.flows.workflow.branch import merge
from checkpoint.flows.workflow.channel import Channel
from checkpoint.flows.workflow.errors import GraphCompilationError, ParallelGroupError
from checkpoint.flows.workflow.graph import Graph, ParallelGroup
from checkpoint.flows.workflow.requests import Requests
from checkpoint.flows.workflow.session import MemberLane, Session

__all__ = ["run_group"]

RunLane = Callable[[MemberLane], None]


def run_group(session: Session, group: ParallelGroup, parent: MemberLane | None, run_lane: RunLane) -> Requests | None:
    """Run the members of a group that are not done, then merge what they have written.

    Args:
        parent: the lane that the group is in, if it is in that of a member of another group.
        run_lane: runs what is pending in the lane of a member.

    Returns:
        What members have asked for; None if not all of them have ended: one waits, or `max_steps` was reached.

    Raises:
        ParallelGroupError: a member failed.
        MergeConflictError: members wrote different values to one key.
        BaseException: what ends the run, not the member.
    """
    _check_apart(session.graph, group)
    with session.guard:
        lanes = {member: session.member_lane(group, member, parent) for member in group.members}
    errors = _run_members(session, group, lanes, run_lane)
    for error in errors.values():
        if not isinstance(error, Exception):
            raise error
    if errors and (group.policy == "strict" or len(errors) == len(lanes)):
        failures = {member: str(error) for member, error in errors.items()}
        successful = tuple(member for member, lane in lanes.items() if lane.is_done)
        raise ParallelGroupError(group.task_id, failures, successful) from next(iter(errors.values()))
    if not errors and not all(lane.is_done for lane in lanes.values()):
        return None
    with session.guard:
        channel = session.channel if parent is None else parent.branch
        _merge(channel, group, {member: lane for member, lane in lanes.items() if lane.is_done})
        del session.groups[group.task_id]
    requests = [lane.checkpoint for lane in lanes.values() if lane.checkpoint is not None]
    messages = [lane.terminates for lane in lanes.values() if lane.terminates is not None]
    return Requests(checkpoint=requests[-1] if requests else None, terminates=messages[0] if messages else None)


def _run_members(
    session: Session, group: ParallelGroup, lanes: dict[str, MemberLane], run_lane: RunLane
) -> dict[str, BaseException]:
    waiting = {member: lane for member, lane in lanes.items() if not lane.is_done}
    if group.backend == "direct" or len(waiting) < 2:
        return {member: error for member, lane in waiting.items() if (error := _outcome(run_lane, lane)) is not None}
    workers = group.max_workers or len(waiting)
    with ThreadPoolExecutor(workers, thread_name_prefix=f"checkpoint-{group.task_id}") as pool:
        futures: dict[str, Future[BaseException | None]] = {
            member: pool.submit(_outcome, run_lane, lane) for member, lane in waiting.items()
        }
        try:
            wait(futures.values())
        except BaseException:
            session.is_stopping = True  # the pool waits for what runs; nothing more begins
            raise
    return {member: error for member, future in futures.items() if (error := future.result()) is not None}


def _outcome(run_lane: RunLane, lane: MemberLane) -> BaseException | None:
    try:
        run_lane(lane)
    except BaseException as error:
        return error
    return None


def _merge(channel: Channel, group: ParallelGroup, lanes: dict[str, MemberLane]) -> None:
    listener, channel.on_change = channel.on_change, None
    try:
        merge(group.task_id, channel, {member: lane.branch.touched for member, lane in lanes.items()}, group.merge)
    finally:
        channel.on_change = listener


def _check_apart(graph: Graph, group: ParallelGroup) -> None:
    """See that no task follows two members: it would run twice."""
    owner: dict[str, str] = {}
    for member in group.members:
        waiting, seen = [member], set[str]()
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            waiting += graph.after(node)
            inner = graph.nodes.get(node)
            waiting += inner.members if isinstance(inner, ParallelGroup) else []
            if owner.setdefault(node, member) != member:
                text = f"task {node!r} follows both {owner[node]!r} and {member!r} of group {group.task_id}"
                raise GraphCompilationError(graph.name, f"{text}; let it follow the group")
