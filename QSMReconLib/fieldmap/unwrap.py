"""Spatial phase unwrapping along a maximum spanning tree.

ROMEO (Dymerska et al. 2021, doi:10.1002/mrm.28563) grows a region over the best edge next to it, which is Prim's
algorithm: its result is that of the maximum spanning tree of the voxel grid, along which the 2π steps add up.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, Any

from .._lazy import torch
from .connected import connected

if TYPE_CHECKING:
    import numpy as np

TURN = 2 * pi
FLOOR = 0.1
"""What a term of the edge weight is at least, so that no single one decides alone."""
SURE = (0.5, 0.7, 0.85)
"""Bounds above which edges may be taken to agree, tried in turn."""


def wrap(phase_rad: torch.Tensor) -> torch.Tensor:
    """The phase between -π and π."""
    return torch.sub(phase_rad, torch.round(phase_rad * (1 / TURN)), alpha=TURN)


def edge_weights(
    phase_rad: torch.Tensor,
    magnitude: torch.Tensor,
    mask: torch.Tensor,
    second_phase_rad: torch.Tensor | None = None,
    ratio: float = 1.0,
) -> list[torch.Tensor]:
    """How far each voxel agrees with the next one along each axis, 0 to 1, and 0 where the mask is left.

    The product over the terms of ROMEO: spatial coherence, linearity along the edge, magnitude similarity and, with a
    second echo at `ratio` times the echo time, coherence of the gradients. Each has its volume's shape less one along
    its axis.
    """
    inside = mask > 0
    weights = []
    for axis in range(3):
        n = phase_rad.shape[axis]
        step = wrap(phase_rad.diff(dim=axis))
        weight = _term((step.abs() * (-1 / pi)).add_(1))
        if second_phase_rad is not None:
            apart = wrap(second_phase_rad.diff(dim=axis)).sub_(step, alpha=ratio)
            weight *= _term(apart.abs_().neg_().add_(1).clamp_(min=0))
        if n > 2:
            bend = wrap(step.diff(dim=axis)).abs_().mul_(-0.5).add_(1).clamp_(min=0)
            straight = torch.ones_like(step)
            straight.narrow(axis, 1, n - 2).mul_(bend)
            straight.narrow(axis, 0, n - 2).mul_(bend)
            weight *= _term(straight)
        here, there = _behind(magnitude, axis), _ahead(magnitude, axis)
        likeness = torch.minimum(here, there).div_(torch.maximum(here, there).clamp_(min=1e-30))
        weight *= _term(likeness.square_())
        weights.append(weight.mul_(_behind(inside, axis) & _ahead(inside, axis)))
    return weights


def quality_map(weights: list[torch.Tensor]) -> torch.Tensor:
    """The mean of the six edge weights around each voxel, 0 to 1."""
    total = torch.zeros([n + (axis == 0) for axis, n in enumerate(weights[0].shape)]).to(weights[0])
    for axis, weight in enumerate(weights):
        n = weight.shape[axis]
        total.narrow(axis, 0, n).add_(weight)
        total.narrow(axis, 1, n).add_(weight)
    return total / 6


def unwrap_along_tree(phase_rad: torch.Tensor, weights: list[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """Phase (X, Y, Z) without jumps, steps of 2π added along the maximum spanning tree of `weights`; 0 outside.

    Pieces of the mask that touch nowhere are set to the 2π that continues the largest one; the whole is such that its
    median lies between -π and π.
    """
    inside = mask > 0
    if not bool(inside.any()):
        return torch.zeros_like(phase_rad)
    steps = [torch.round(phase_rad.diff(dim=axis) * (-1 / TURN)).to(torch.int32) for axis in range(3)]
    # Between two voxels joined by edges above a bound, the spanning tree takes only such edges. Where these agree with
    # each other round every loop, the way is all the same and need not be found; this holds for nearly all of a brain.
    for bound in (*SURE, float("inf")):
        sure = [weight >= bound for weight in weights]
        turns, piece = _along_lines(steps, sure, inside)
        agreed = zip(_between(turns), steps, sure, strict=True)
        if not any(bool(((found != step) & edge).any()) for found, step, edge in agreed):
            break
    turns = _joined(phase_rad, turns, piece, steps, weights, inside)
    unwrapped = torch.add(phase_rad, turns, alpha=TURN)
    return (unwrapped - TURN * torch.round(unwrapped[inside].median() / TURN)) * inside


def _between(turns: torch.Tensor) -> list[torch.Tensor]:
    """The turns of each voxel less those of the one before it, along each axis."""
    return [turns.diff(dim=axis) for axis in range(3)]


def _along_lines(
    steps: list[torch.Tensor], sure: list[torch.Tensor], inside: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The turns of each voxel (X, Y, Z) by some way along `sure` edges, and which piece of those ways it belongs to.

    Along the last axis turns add up by themselves. So it is lines that the ways lead between, and there are some fifty
    times fewer of them than voxels.
    """
    turns = torch.zeros(inside.shape, dtype=torch.int32, device=inside.device)
    turns[..., 1:] = (steps[2] * sure[2]).cumsum(2)
    begins = inside.clone()
    begins[..., 1:] &= ~sure[2]
    line = begins.flatten().cumsum(0).sub_(1).clamp_(min=0).view(inside.shape)
    edges: list[list[torch.Tensor]] = [[], [], []]
    for axis in (0, 1):
        told = sure[axis].clone()
        # Of edges side by side between the same two lines the first tells all.
        told[..., 1:] &= (_behind(begins, axis) | _ahead(begins, axis))[..., 1:] | ~sure[axis][..., :-1]
        values = _behind(line, axis), _ahead(line, axis), steps[axis] - turns.diff(dim=axis)
        for edge, value in zip(edges, values, strict=True):
            edge.append(value[told])
    one, two, step = (torch.cat(parts) for parts in edges)
    piece, shift = connected(int(begins.sum()), one, two, step)
    return turns + shift[line], piece[line]


def _joined(
    phase_rad: torch.Tensor,
    turns: torch.Tensor,
    piece: torch.Tensor,
    steps: list[torch.Tensor],
    weights: list[torch.Tensor],
    inside: torch.Tensor,
) -> torch.Tensor:
    """The turns (X, Y, Z) after pieces that touch were joined by their strongest edges, and others set beside them."""
    import numpy as np

    count = int(piece.max()) + 1
    if count == 1:
        return turns
    edges: list[list[torch.Tensor]] = [[], [], [], []]
    for axis, (weight, step, found) in enumerate(zip(weights, steps, _between(turns), strict=True)):
        one, two = _behind(piece, axis), _ahead(piece, axis)
        open_ = (weight > 0) & (one != two)
        for edge, value in zip(edges, (one, two, step - found, weight), strict=True):
            edge.append(value[open_])
    whole, shift = connected(count, *(torch.cat(parts) for parts in edges))
    turns = turns + shift[piece]
    if int(whole.max()) == 0:
        return turns
    group = whole[piece[inside]].cpu().numpy()
    main = int(np.argmax(np.bincount(group)))
    values = torch.add(phase_rad, turns, alpha=TURN)[inside].cpu().numpy()
    turns[inside] -= torch.from_numpy(_jumps_between_pieces(values, inside.cpu().numpy(), group, main)).to(turns)
    return turns


def _jumps_between_pieces(values: np.ndarray, inside: np.ndarray, piece: np.ndarray, main: int) -> np.ndarray:
    """The whole turns by which each piece of the mask stands off the main one, judged where they are closest."""
    import numpy as np
    from scipy import ndimage

    volume = np.zeros(inside.shape)
    volume[inside] = values
    is_main = np.zeros(inside.shape, bool)
    is_main[inside] = piece == main
    distance, nearest = ndimage.distance_transform_edt(~is_main, return_indices=True)
    apart = (volume - volume[tuple(nearest)])[inside]
    gap = distance[inside]
    count = int(piece.max()) + 1
    closest = np.full(count, np.inf)
    np.minimum.at(closest, piece, gap)
    close = gap <= closest[piece] + 2
    groups: Any = np.arange(count)
    median = ndimage.median(apart[close], piece[close], groups)
    return np.rint(np.asarray(median) / TURN).astype(np.int32)[piece]


def _ahead(volume: torch.Tensor, axis: int) -> torch.Tensor:
    return volume.narrow(axis, 1, volume.shape[axis] - 1)


def _behind(volume: torch.Tensor, axis: int) -> torch.Tensor:
    return volume.narrow(axis, 0, volume.shape[axis] - 1)


def _term(weight: torch.Tensor) -> torch.Tensor:
    return weight.mul_(1 - FLOOR).add_(FLOOR)
