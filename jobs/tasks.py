"""What django-q2 calls: the bell and the schedules."""

from jobs import dispatch, nodes, reaper


def execute(queue: str) -> int:
    """The bell: run what waits in the queue, as far as it fits this node. A second bell finds nothing and is harmless."""
    return dispatch.drain([queue], nodes.current(queue))


def reap() -> dict[str, int]:
    """The reaper's schedule."""
    return reaper.reap()
