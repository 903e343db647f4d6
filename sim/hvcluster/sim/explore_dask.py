"""Hands the seeds of a campaign to an existing Dask cluster (the extra `dask` of the package).

Law: the same values come back as from a process of this machine. What a lost worker had, the scheduler gives to
another one; a seed that kills worker after worker is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from distributed import Client, as_completed
from distributed.scheduler import KilledWorker

from .explore import Done, Wish, run_one


class DaskCluster:
    """The cluster at an address such as tcp://10.0.0.1:8786. Its workers need this package installed."""

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        self._address = address
        self._timeout_s = timeout_s

    def run(self, wish: Wish, seeds: Sequence[int]) -> Iterator[Done | str]:
        """All seeds, as they are done. Raises ValueError when nobody answers at the address."""
        try:
            client = Client(self._address, timeout=self._timeout_s, set_as_default=False)
        except OSError as error:
            raise ValueError(f"no Dask scheduler answers at {self._address}: {error}") from None
        with client:
            futures = {client.submit(run_one, wish, seed, pure=False): seed for seed in seeds}
            for future in as_completed(futures, loop=client.loop):
                seed = futures[future]
                try:
                    yield future.result()
                except KilledWorker as error:
                    yield f"seed {seed} killed its workers, one after another: {error}"
                    yield Done(seed, f"seed {seed}: its workers died", 0.0, 0.0, 0, -1.0, {})
