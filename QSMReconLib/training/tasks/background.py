"""From a total-field inversion of a whole head to what it has left of the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..anatomy import Anatomy
from ..shapes import Dice
from ..wholeheads import HeadSample, WholeHeads
from .task import Example, Task
from .views import mirrored_axes

SHIFT = 2
"""By up to this many coarse voxels a head is moved along each axis."""


class Background(Task):
    """What is left (B, 1, X, Y, Z), relative to the field; errors are relative to what is left without a network."""

    def source(self, anatomy: Anatomy, seed: int) -> WholeHeads:
        return WholeHeads(seed)

    def example(self, samples: Sequence[HeadSample], dice: Dice) -> Example:
        seen, left, share = (torch.stack([getattr(s, name) for s in samples]) for name in ("seen", "left", "share"))
        return Example({"seen": seen}, {"left": left, "share": share})

    def varied(self, example: Example, step: int) -> Example:
        """The head a little elsewhere, and in half of the steps its left for its right."""
        dice = Dice(step)
        shifts = [dice.host.randint(-SHIFT, SHIFT) for _ in range(3)]
        flips = [-3] if 0 in mirrored_axes(step) else []

        def seen(volume: torch.Tensor) -> torch.Tensor:
            return volume.flip(flips).roll(shifts, (-3, -2, -1))

        inputs = {name: seen(volume) for name, volume in example.inputs.items()}
        return replace(example, inputs=inputs, truth={name: seen(volume) for name, volume in example.truth.items()})

    def loss(self, found: torch.Tensor, example: Example) -> torch.Tensor:
        return _share_left(found, example).mean()

    def scores(self, found: torch.Tensor, example: Example) -> dict[str, float]:
        return {"nrmse": 100 * float(_share_left(found, example).mean())}


def _share_left(found: torch.Tensor, example: Example) -> torch.Tensor:
    """The rms (B,) of what is wrong after the network, over that before it, both without their means."""
    left, share = example.truth["left"], example.truth["share"]

    def size(volume: torch.Tensor) -> torch.Tensor:
        count = share.sum((1, 2, 3, 4)).clamp(min=1e-6)
        mean = (volume * share).sum((1, 2, 3, 4)) / count
        off = volume - mean.reshape(-1, 1, 1, 1, 1)
        return ((off.square() * share).sum((1, 2, 3, 4)) / count + 1e-12).sqrt()

    return size(left - found) / size(left).clamp(min=1e-6)
