"""Work done ahead in a thread of its own, so that one batch is made while the one before it is written."""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

from django.utils.translation import get_language, override

Item = TypeVar("Item")
End = tuple[BaseException | None]


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, at most one waiting while another is made. `items` must not touch the database: it is another thread.

    An exception in `items` is raised here, after what came before it. Closing the iterator ends the thread.
    """
    queue: Queue[tuple[Item] | End] = Queue(maxsize=1)
    stop, language = threading.Event(), get_language()
    done: list[BaseException | None] = []

    def put(entry: tuple[Item]) -> None:
        while not stop.is_set():
            try:
                queue.put(entry, timeout=0.2)
                return
            except Full:
                continue

    def work() -> None:
        try:
            with override(language):
                for item in items:
                    put((item,))
                    if stop.is_set():
                        return
            done.append(None)
        except BaseException as error:  # raised in the thread that asked
            done.append(error)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                yield queue.get(timeout=0.05)[0]  # type: ignore[misc]
            except Empty:
                if not done or not queue.empty():
                    continue
                if done[0] is not None:
                    raise done[0] from None
                return
    finally:
        stop.set()
        thread.join()
