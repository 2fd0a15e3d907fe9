"""Conjugate gradients for symmetric positive semi-definite operators.

Hestenes and Stiefel 1952, doi:10.6028/jres.049.044.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._lazy import torch

Operator = Callable[["torch.Tensor"], "torch.Tensor"]
Inner = Callable[["torch.Tensor", "torch.Tensor"], float]


@dataclass(frozen=True)
class Solution:
    """Where an iteration ended: after how many steps, with what relative residual ‖b - Ax‖/‖b‖."""

    value: torch.Tensor
    iterations: int
    residual: float


def conjugate_gradients(
    apply: Operator,
    rhs: torch.Tensor,
    *,
    iterations: int,
    tolerance: float = 0.0,
    start: torch.Tensor | None = None,
    precondition: Operator | None = None,
    inner: Inner | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> Solution:
    """Solve A·x = b for x of any shape; `apply` is A and must return a tensor of its own.

    Ends after `iterations` or when ‖b - Ax‖ <= `tolerance`·‖b‖. `start` is a first guess (not changed), `precondition`
    an approximate inverse of A, symmetric and positive. `inner` is the inner product that A is symmetric in, where it
    is not the usual one. `callback(done, residual)` follows each step and may raise.
    """
    inner = inner or dot
    length = inner(rhs, rhs) ** 0.5
    if start is None:
        value, rest = torch.zeros_like(rhs), rhs.clone()
    else:
        value, rest = start.clone(), rhs - apply(start)
    residual = inner(rest, rest) ** 0.5 / length if length > 0 else 0.0
    step = rest if precondition is None else precondition(rest)
    direction = step.clone()
    power = inner(rest, step)
    done = 0
    while done < iterations and residual > tolerance and power > 0:
        image = apply(direction)
        curvature = inner(direction, image)
        if not curvature > 0:  # the direction lies in the null space: rounding is all that is left
            break
        length_of_step = power / curvature
        value.add_(direction, alpha=length_of_step)
        rest.sub_(image, alpha=length_of_step)
        del image, step  # Volumes: not to be held beside what the preconditioner makes.
        step = rest if precondition is None else precondition(rest)
        previous, power = power, inner(rest, step)
        direction.mul_(power / previous).add_(step)
        residual = inner(rest, rest) ** 0.5 / length
        done += 1
        if callback is not None:
            callback(done, residual)
    return Solution(value, done, residual)


def dot(one: torch.Tensor, other: torch.Tensor) -> float:
    """The inner product of two volumes of one shape."""
    return float(torch.dot(one.reshape(-1), other.reshape(-1)))
