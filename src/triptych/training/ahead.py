"""Work for the next round, done by a thread while this one waits for the GPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Ahead(Generic[K, T]):
    """Makes what will be wanted next; what is wanted otherwise is made when it is asked for."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "ahead")
        self.next: tuple[K, Future[T]] | None = None

    def get(self, wanted: K, following: K, make: Callable[[K], T]) -> T:
        """What `make` gives for a key, whichever thread calls it; that of the next one is begun."""
        if self.next is not None and self.next[0] == wanted:
            made = self.next[1].result()
        else:
            made = make(wanted)
        self.next = following, self.thread.submit(make, following)
        return made
