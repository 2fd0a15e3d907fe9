"""What one training is: everything that decides its result, as a JSON file says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from .simulatorconfig import SimulatorConfig


@dataclass(frozen=True)
class TrainingConfig:
    """One training. `task` is what is learned (see tasks/), `architecture` holds the options of the network `kind`; a
    step sees `batch` regions per process.

    Batches are made in pools, and every pool is gone through `repeats` times: worth it where making them is slow.
    `start_from` is the name of a network that ships, or a file, whose weights a new training begins with.
    `optimizer` and `schedule` are names that training/descent.py knows; the exponential schedule multiplies the rate by
    `decay` every `decay_steps`. `prediction_l2` times the squared weights of layers that predict kernels is part of
    the loss. `loss` is "relative" (see training/losses.py) or "l1", the mean absolute error of χ in `l1_ppm`.
    """

    name: str = "qsmnet-phys"
    kind: str = "unrolled"
    task: str = "inversion"
    architecture: Mapping[str, Any] = field(default_factory=dict)
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)
    steps: int = 10_000
    batch: int = 1
    pool: int = 32
    repeats: int = 1
    learning_rate: float = 1e-3
    final_rate: float = 0.02
    warm_up: int = 100
    optimizer: str = "adamw"
    schedule: str = "cosine"
    decay: float = 0.95
    decay_steps: int = 200
    prediction_l2: float = 0.0
    loss: str = "relative"
    l1_ppm: float = 0.032
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.998
    gradient_loss: float = 0.5
    consistency_loss: float = 0.1
    seed: int = 0
    validate_every: int = 250
    validation_regions: int = 8
    checkpoint_every: int = 100
    mixed_precision: bool = True
    compile: bool = False
    start_from: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> TrainingConfig:
        """The inverse of `to_json`; what is left out keeps its default. Raises InputError for unknown names."""
        simulator = described.get("simulator", {})
        for known, given, what in ((cls, described, "training"), (SimulatorConfig, simulator, "simulator")):
            unknown = set(given) - {item.name for item in fields(known)}
            if unknown:
                raise InputError(f"The {what} configuration has no {', '.join(sorted(unknown))}.")
        lists: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in simulator.items()
        }
        return cls(**{**described, "simulator": SimulatorConfig(**lists)})

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """From a JSON file. Raises InputError if it is none."""
        try:
            return cls.from_json(json.loads(path.read_text("utf-8")))
        except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a training configuration: {error}.") from error
