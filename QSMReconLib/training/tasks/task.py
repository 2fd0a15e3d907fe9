"""What the training loop asks of a task; the loop itself knows nothing of fields, maps or rates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from ..anatomy import Anatomy
from ..shapes import Dice
from ..simulator import Simulator
from .views import mirrored

if TYPE_CHECKING:
    from ..config import TrainingConfig


@dataclass(frozen=True)
class Example:
    """What one step needs: what the network is called with, by the names of its arguments, and what it should find."""

    inputs: Mapping[str, Any]
    truth: Mapping[str, torch.Tensor]


class Source(Protocol):
    """Samples by number, as `Simulator` has them: the same seed and number give the same sample."""

    seed: int

    def samples(self, number: int, size: int) -> Sequence[Any]:
        """`size` samples on one grid, from `number` on."""
        ...


class Task(ABC):
    """One kind of training, of `network`. A task draws its examples, measures the loss and scores what was found."""

    def __init__(self, config: TrainingConfig, network: nn.Module) -> None:
        self.config = config
        self.network = network

    def source(self, anatomy: Anatomy, seed: int) -> Source:
        """Where its samples come from."""
        return Simulator(anatomy, self.config.simulator, seed)

    @abstractmethod
    def example(self, samples: Sequence[Any], dice: Dice) -> Example:
        """What is made of samples of one grid; the same for the same regions and dice."""

    def varied(self, example: Example, step: int) -> Example:
        """The example as it is shown in this step: mirrored along any axes, B0 with it."""
        return mirrored(example, step)

    @abstractmethod
    def loss(self, found: Any, example: Example) -> torch.Tensor:
        """What is minimised, of what the network has found; a scalar."""

    @abstractmethod
    def scores(self, found: Any, example: Example) -> dict[str, float]:
        """How good that is, of an example of one region: at least `nrmse`, in percent, by which the best is chosen."""
