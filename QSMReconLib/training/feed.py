"""Where a training's regions come from: drawn when they are asked for, or ahead of it by other processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from .simulator import Sample, Simulator

AHEAD = 2
"""How many batches every process keeps ready."""


class _Drawn(Dataset[list[Sample]]):
    """Batches of `size` regions of one grid by the number of their first."""

    def __init__(self, simulator: Simulator, size: int) -> None:
        self.simulator, self.size = simulator, size

    def __getitem__(self, number: int) -> list[Sample]:
        return self.simulator.samples(number, self.size)


def feed(simulator: Simulator, numbers: Iterable[int], size: int, workers: int = 0) -> Iterator[list[Sample]]:
    """`size` regions of one grid for each of `numbers`, in their order; the same, however many `workers` draw them.

    Worker processes draw on the CPU, so the simulator's anatomy must lie there.
    """
    drawn = _Drawn(simulator, size)
    if workers == 0:
        return (drawn[number] for number in numbers)
    sampler: Any = numbers
    return iter(
        DataLoader(
            drawn,
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            prefetch_factor=AHEAD,
            collate_fn=_as_they_are,
            worker_init_fn=_left_alone,
        )
    )


def _as_they_are(samples: list[Sample]) -> list[Sample]:
    return samples


def _left_alone(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal: the training stops, and then its workers with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
