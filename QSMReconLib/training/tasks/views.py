"""The same head seen otherwise: mirrored, and the dipole with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .task import Example


def mirrored_axes(step: int) -> list[int]:
    """The axes, of 0 to 2, along which this step's example is shown backwards: all eight views come equally often."""
    return [axis for axis in range(3) if (step * 2654435761 >> (13 + axis)) & 1]


def mirrored(example: Example, step: int) -> Example:
    """Its volumes (B, C, X, Y, Z) along the axes of this step, and the half-spectrum `kernel` of the same B0."""
    axes = mirrored_axes(step)
    dims = [axis - 3 for axis in axes]

    def seen(values: Mapping[str, Any]) -> dict[str, Any]:
        volumes = (name for name, value in values.items() if isinstance(value, torch.Tensor) and value.ndim == 5)
        return dict(values) | {name: values[name].flip(dims) for name in volumes if name != "kernel"}

    inputs = seen(example.inputs)
    if "kernel" in inputs:
        # Mirrored along the last axis, an even kernel is the one mirrored along the other two.
        for axis in (0, 1):
            if (axis in axes) != (2 in axes):
                inputs["kernel"] = inputs["kernel"].flip(axis - 3).roll(1, axis - 3)
    return replace(example, inputs=inputs, truth=seen(example.truth))
