"""Work in parts on several processes: the results are those of one process, in the order of the parts.

Law: knows nothing of studies. A worker that dies takes what was unfinished with it; that is said and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

P = TypeVar("P")
R = TypeVar("R")

MAX_DEATHS: Final = 3
"""Workers may die this often without one part being finished in between; then the parts themselves are to blame."""


class WorkersLost(Exception):
    """Workers die again and again."""


def spread(
    work: Callable[[P], R],
    parts: Sequence[P],
    workers: int,
    progress: Callable[[int], None],
    lost: Callable[[list[P]], None],
) -> list[R]:
    """The result of each part. `progress` hears how many are finished, `lost` what has to be run again.

    Raises WorkersLost, and whatever `work` raises.
    """
    results: dict[int, R] = {}
    if workers == 1:
        for at, part in enumerate(parts):
            results[at] = work(part)
            progress(len(results))
    deaths = 0
    while len(results) < len(parts):
        before = len(results)
        _round(work, parts, workers, results, progress)
        left = [part for at, part in enumerate(parts) if at not in results]
        if not left:
            break
        deaths = deaths + 1 if len(results) == before else 1
        if deaths >= MAX_DEATHS:
            raise WorkersLost(f"{deaths} workers in a row died before they finished anything; {len(left)} parts left")
        lost(left)
    return [results[at] for at in range(len(parts))]


def _round(
    work: Callable[[P], R],
    parts: Sequence[P],
    workers: int,
    results: dict[int, R],
    progress: Callable[[int], None],
) -> None:
    """Run what is unfinished on a new pool, until it is done or a worker dies."""
    with ProcessPoolExecutor(min(workers, len(parts))) as pool:
        try:
            futures = {pool.submit(work, part): at for at, part in enumerate(parts) if at not in results}
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                progress(len(results))
        except BrokenProcessPool:
            return
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
