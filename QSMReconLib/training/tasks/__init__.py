"""What a training teaches: the registry of tasks, by the name a configuration gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from ...errors import InputError
from .background import Background
from .inversion import Inversion
from .r2prime import SplitRates
from .separation import Separation
from .task import Example, Source, Task

if TYPE_CHECKING:
    from ..config import TrainingConfig

__all__ = ["TASKS", "Example", "Inversion", "Source", "Task", "task_of"]

TASKS: dict[str, Callable[[TrainingConfig, nn.Module], Task]] = {
    "inversion": Inversion,
    "separation": Separation,
    "r2prime": SplitRates,
    "background": Background,
}


def task_of(config: TrainingConfig, network: nn.Module) -> Task:
    """The task of a training. Raises InputError, naming those there are."""
    if config.task not in TASKS:
        raise InputError(f"There is no training task {config.task!r}; there are {', '.join(TASKS)}.")
    return TASKS[config.task](config, network)
