"""Where a training's regions come from: drawn when they are asked for, or ahead of it by other processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from .tasks import Source

AHEAD = 2
"""How many batches every process keeps ready."""


class _Drawn(Dataset[Sequence[Any]]):
    """Batches of `size` regions of one grid by the number of their first."""

    def __init__(self, source: Source, size: int) -> None:
        self.source, self.size = source, size

    def __getitem__(self, number: int) -> Sequence[Any]:
        return self.source.samples(number, self.size)


def feed(source: Source, numbers: Iterable[int], size: int, workers: int = 0) -> Iterator[Sequence[Any]]:
    """`size` regions of one grid for each of `numbers`, in their order; the same, however many `workers` draw them.

    Worker processes draw on the CPU, so the anatomy behind the source must lie there.
    """
    drawn = _Drawn(source, size)
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


def _as_they_are(samples: Sequence[Any]) -> Sequence[Any]:
    return samples


def _left_alone(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal: the training stops, and then its workers with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
