"""Phase as the scanners store it: which unit it is in, and GE's alternating slices. Both are put right here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

from .._lazy import torch
from ..errors import InputError

FULL = 0.97
"""A wrapped phase with any noise in it reaches the ends of its range: this much of it at least."""

RADIANS_REACH = 0.75
"""What stays within ±π and reaches this much of it is radians: for its wraps to be smaller, the phase would have to
change by more than half of π between neighbours."""

WRAPPED = 1e-4
"""The share of neighbours further apart than three quarters of the range from which on they are taken for wraps."""

ALTERNATING = -0.3
"""The mean cosine between the phases of neighbouring slices below which their sign alternates. Measured: 0.91 to 0.98
without alternation, on every axis of the development data, and the negative of that with it."""

_CONVENTIONS = (
    (-4096.0, 4096.0, 8192.0),
    (0.0, 4096.0, 4096.0),
    (-2048.0, 2048.0, 4096.0),
    (-1000 * pi, 1000 * pi, 2000 * pi),
    (-180.0, 180.0, 360.0),
    (0.0, 360.0, 360.0),
    (-32768.0, 32768.0, 65536.0),
    (0.0, 65536.0, 65536.0),
)


@dataclass(frozen=True)
class PhaseUnit:
    """Stored values are `zero` at phase 0 and gain `period` in a turn. `text` says it for a person."""

    zero: float
    period: float
    text: str

    def to_radians(self, stored: torch.Tensor) -> torch.Tensor:
        """Phase in -π to π."""
        in_radians = self.zero == 0 and self.period == 2 * pi
        return wrapped(stored if in_radians else (stored - self.zero) * (2 * pi / self.period))


RADIANS = PhaseUnit(0.0, 2 * pi, "radians")


def wrapped(phase_rad: torch.Tensor) -> torch.Tensor:
    """Phase in -π to π; what is there already stays as it is, to the bit."""
    if float(phase_rad.abs().max()) <= pi * (1 + 1e-6):
        return phase_rad
    turns = torch.where(phase_rad.abs() > pi, torch.round(phase_rad / (2 * pi)), 0.0)
    return (phase_rad - turns * (2 * pi)).clamp(-pi, pi)


def recognise_unit(stored: torch.Tensor, names: Sequence[str]) -> PhaseUnit:
    """The unit of stored phase (echo, X, Y, Z), the same for all echoes; `names` are the files', echo by echo.

    Radians (-π to π or 0 to 2π) and the scanners' ranges are known by their ends, everything else by its wraps:
    whatever range the wraps span is a turn. Phase from 0 up starts at -π, as Siemens has it. Raises InputError where
    the unit cannot be told, or where one echo has another than the rest.
    """
    lows = [float(echo.min()) for echo in stored]
    highs = [float(echo.max()) for echo in stored]
    low, high = min(lows), max(highs)
    unit = _by_range(low, high)
    if unit is None:
        unit = _by_wraps(stored, low, high, names[0])
    for echo, name in enumerate(names):
        span = highs[echo] - lows[echo]
        if 0 < span < 0.6 * unit.period and _has_wraps(stored[echo], span):
            raise InputError(
                f"The phase in {name} runs from {lows[echo]:.5g} to {highs[echo]:.5g}, "
                f"but in other echoes from {low:.5g} to {high:.5g}: store all echoes in the same unit."
            )
    return unit


def alternating_axes(magnitude: torch.Tensor, phase_rad: torch.Tensor) -> tuple[int, ...]:
    """The axes of a volume (X, Y, Z) along which the sign of the signal alternates from slice to slice.

    GE's reconstruction leaves out a shift in k-space across the slices, which multiplies every second one by -1.
    """
    found = []
    for axis in range(3):
        n = magnitude.shape[axis] - 1
        weight = magnitude.narrow(axis, 0, n) * magnitude.narrow(axis, 1, n)
        cosine = torch.cos(phase_rad.narrow(axis, 1, n) - phase_rad.narrow(axis, 0, n))
        if float((weight * cosine).sum()) < ALTERNATING * float(weight.sum()):
            found.append(axis)
    return tuple(found)


def undo_alternation(phase_rad: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """Phase (..., X, Y, Z) with the sign of every second slice along each of `axes` changed."""
    for axis in axes:
        shape = [1, 1, 1]
        shape[axis] = -1
        odd = torch.arange(phase_rad.shape[axis - 3], device=phase_rad.device) % 2
        phase_rad = phase_rad + pi * odd.reshape(shape)
    return wrapped(phase_rad)


def _by_range(low: float, high: float) -> PhaseUnit | None:
    if -pi * 1.002 <= low < 0 < high <= pi * 1.002 and max(-low, high) >= RADIANS_REACH * pi:
        return RADIANS
    if low >= -0.01 and FULL * 2 * pi <= high <= 2 * pi * 1.002:
        return PhaseUnit(0.0, 2 * pi, "0 to 2π")
    for bottom, top, period in _CONVENTIONS:
        inside = low >= bottom - 1 and high <= top + 1
        full = high >= FULL * top and (low <= FULL * bottom if bottom < 0 else low <= (1 - FULL) * top)
        if inside and full:
            return PhaseUnit((bottom + top) / 2, period, f"{low:g} to {high:g}")
    return None


def _by_wraps(stored: torch.Tensor, low: float, high: float, name: str) -> PhaseUnit:
    span = high - low
    text = f"{low:.5g} to {high:.5g}"
    if span > 0 and any(_has_wraps(echo, span) for echo in stored):
        whole = bool((stored == stored.round()).all())
        period = span + 1 if whole else span
        if abs(low + high) <= 0.05 * span:
            return PhaseUnit(0.0, period if whole else 2 * max(-low, high), text)
        return PhaseUnit((low + high) / 2, period, text)
    if max(-low, high) <= pi and span > 0.01:
        return RADIANS
    raise InputError(
        f"The phase in {name} runs from {text} without a wrap, so its unit cannot be told: "
        "store the wrapped phase in radians."
    )


def _has_wraps(stored: torch.Tensor, span: float) -> bool:
    """Whether neighbours with a signal differ by about `span` anywhere but in a few places."""
    jumps = pairs = 0
    for axis in range(3):
        n = stored.shape[axis] - 1
        one, other = stored.narrow(axis, 0, n), stored.narrow(axis, 1, n)
        valid = (one != 0) & (other != 0)
        jumps += int((((other - one).abs() > 0.75 * span) & valid).sum())
        pairs += int(valid.sum())
    return jumps > WRAPPED * max(pairs, 1)
