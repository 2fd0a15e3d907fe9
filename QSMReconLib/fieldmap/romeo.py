"""Unwrapping in space and from echo to echo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .._lazy import torch
from ..data import Artifact, GreData, Mask, PhaseQuality, UnwrappedPhase
from ..errors import InputError
from ..physics.box import Box
from ..runtime import Runtime
from ..stage import Stage, option
from .unwrap import TURN, edge_weights, quality_map, unwrap_along_tree, wrap


def romeo(
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    echo_times_s: Sequence[float],
    mask: torch.Tensor,
    template: int = 1,
    progress: Callable[[float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Phase (echo, X, Y, Z) without 2π jumps and the phase quality (X, Y, Z), both 0 outside the mask.

    The template echo (counted from 1) is unwrapped in space; each other one is brought within half a turn of what the
    echoes unwrapped so far predict, for a phase that starts at zero and grows with the echo time (Dymerska et al. 2021,
    doi:10.1002/mrm.28563).
    """
    echoes = len(echo_times_s)
    first = template - 1
    second = (first + 1 if first + 1 < echoes else first - 1) if echoes > 1 else None
    weights = edge_weights(
        phase_rad[first],
        magnitude[first],
        mask,
        None if second is None else phase_rad[second],
        1.0 if second is None else echo_times_s[second] / echo_times_s[first],
    )
    quality = quality_map(weights)
    if progress:
        progress(0.2)
    inside = mask > 0
    grown = unwrap_along_tree(phase_rad[first], weights, mask)[inside]
    if progress:
        progress(0.8)
    wrapped, strength = phase_rad[:, inside], magnitude[:, inside]
    if second is not None:
        ratio = echo_times_s[second] / echo_times_s[first]
        grown += _missing_turns(grown, wrapped[second], strength[second], ratio)
    weight = strength[first].square().mul_(echo_times_s[first])
    rate_sum, weight_sum = weight * grown, weight * echo_times_s[first]
    unwrapped = torch.zeros_like(phase_rad)
    unwrapped[first, inside] = grown
    for echo in sorted(range(echoes), key=lambda e: abs(e - first))[1:]:
        time = echo_times_s[echo]
        predicted = (rate_sum / weight_sum.clamp(min=1e-30)).mul_(time)
        grown = wrap(wrapped[echo] - predicted).add_(predicted)
        unwrapped[echo, inside] = grown
        weight = strength[echo].square().mul_(time)
        rate_sum += weight * grown
        weight_sum += weight.mul_(time)
    return unwrapped, quality


def _missing_turns(phase_rad: torch.Tensor, other_rad: torch.Tensor, magnitude: torch.Tensor, ratio: float) -> float:
    """The multiple of 2π that the whole template lacks: the one for which another echo agrees best."""
    # Every few voxels say it as well as all.
    phase, other, weight = phase_rad[::8], other_rad[::8], magnitude[::8]
    weight = weight / weight.sum().clamp(min=1e-30)
    best, least = 0, float("inf")
    for turns in (0, -1, 1, -2, 2):
        misfit = float((weight * wrap(other - ratio * (phase + TURN * turns)).abs()).sum())
        # Where the ratio of the echo times is whole, every answer fits: the smallest stands.
        if misfit < least - 0.05:
            best, least = turns, misfit
    return best * TURN


class Romeo(Stage):
    """Unwrapping in space and time along the best edges (ROMEO; Dymerska et al. 2021, doi:10.1002/mrm.28563).

    Expects the transmit phase removed (mcpc3ds) where there are several echoes.
    """

    template: int = option(1, "Echo that is unwrapped in space; the others follow in time", ge=1, le=64)

    def check(self, given: Mapping[type[Artifact], Artifact]) -> None:
        if isinstance(gre := given.get(GreData), GreData) and self.template > len(gre.echo_times_s):
            raise InputError(
                f"romeo.template is {self.template}, but the scan has {len(gre.echo_times_s)} echoes; "
                "choose one of them."
            )

    def apply(self, gre: GreData, mask: Mask, runtime: Runtime) -> tuple[UnwrappedPhase, PhaseQuality]:
        self.check({GreData: gre})
        box = Box.around(mask.voxels)
        phase, quality = romeo(
            box.cut(gre.phase_rad),
            box.cut(gre.magnitude),
            gre.echo_times_s,
            box.cut(mask.voxels),
            self.template,
            runtime.progress,
        )
        return (
            UnwrappedPhase(gre.grid, box.paste(phase), gre.echo_times_s, gre.field_strength_t),
            PhaseQuality(gre.grid, box.paste(quality)),
        )
