"""Work with dependencies, side by side: what is ready starts, what needs a failed one is left out."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait


def run(
    needs: Mapping[str, set[str]], work: Callable[[str], None], parallel: int, said: Callable[[Exception], str]
) -> dict[str, str]:
    """Call `work(key)` for every key after those that it needs; returns, by key, why one failed or was not tried."""
    order = graphlib.TopologicalSorter(needs)
    order.prepare()
    failed: dict[str, str] = {}
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(max(1, parallel)) as pool:
        while order.is_active():
            for key in order.get_ready():
                missing = sorted(needs[key] & set(failed))
                if missing:
                    failed[key] = f"not tried: it needs {missing[0]}"
                    order.done(key)
                else:
                    running[pool.submit(work, key)] = key
            if not running:
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(future)
                error = future.exception()
                if isinstance(error, Exception):
                    failed[key] = said(error)
                elif error is not None:
                    raise error
                order.done(key)
    return failed
