"""How a training descends: optimizers and the course of the learning rate, by the names a configuration gives them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from ..errors import InputError
from ..networks.weightpredicted import WeightPredictedConv3d
from .config import TrainingConfig

OPTIMIZERS = ("adamw", "rmsprop")
SCHEDULES = ("cosine", "exponential")


def optimizer_of(config: TrainingConfig, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a training. Raises InputError, naming those there are."""
    if config.optimizer not in OPTIMIZERS:
        raise InputError(f"There is no optimizer {config.optimizer!r}; there are {', '.join(OPTIMIZERS)}.")
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(), config.learning_rate, (0.95, 0.99), weight_decay=config.weight_decay
        )
    return torch.optim.RMSprop(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)


def rate_at(config: TrainingConfig, step: int, done: float) -> float:
    """The learning rate of a step, with the share `done` of the training behind it: warm-up, times the schedule's fall.

    Raises InputError for an unknown schedule.
    """
    if config.schedule not in SCHEDULES:
        raise InputError(f"There is no schedule {config.schedule!r}; there are {', '.join(SCHEDULES)}.")
    rise = min(1.0, (step + 1) / max(config.warm_up, 1))
    if config.schedule == "exponential":
        return config.learning_rate * rise * config.decay ** (step // config.decay_steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.learning_rate * rise * (config.final_rate + (1 - config.final_rate) * fall)


def prediction_penalty(network: nn.Module) -> torch.Tensor:
    """The sum of the squared weights of all layers that predict kernels and biases; their own biases go free."""
    total = torch.zeros((), device=next(network.parameters()).device)
    for layer in _predicting(network):
        total = total + layer.weight.square().sum()
    return total


def _predicting(network: nn.Module) -> Iterator[nn.Linear]:
    for module in network.modules():
        if isinstance(module, WeightPredictedConv3d):
            yield from (layer for layer in module.modules() if isinstance(layer, nn.Linear))
