"""A value that is computed on a thread of its own while other work goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Begins at once; an error is raised where the value is asked for.

    Neither Ctrl-C nor an error elsewhere waits for it, as they would for a thread of concurrent.futures.
    """

    def __init__(self, compute: Callable[[], T]) -> None:
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(compute,), daemon=True)
        self._thread.start()

    def _run(self, compute: Callable[[], T]) -> None:
        try:
            self._values.append(compute())
        except BaseException as error:  # raised by `result`
            self._error = error

    def result(self) -> T:
        """The value, when it is there; raises what computing it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._values[0]
