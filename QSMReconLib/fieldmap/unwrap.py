"""Spatial phase unwrapping along a maximum spanning tree.

ROMEO (Dymerska et al. 2021, doi:10.1002/mrm.28563) grows a region over the best edge next to it, which is Prim's
algorithm: its result is that of the maximum spanning tree of the voxel grid, along which the 2π steps add up.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, Any

from .._lazy import torch

if TYPE_CHECKING:
    import numpy as np

TURN = 2 * pi
FLOOR = 0.1
"""What a term of the edge weight is at least, so that no single one decides alone."""


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
    median lies between -π and π. The tree is built by scipy on the CPU.
    """
    import numpy as np

    phase = phase_rad.detach().cpu().numpy().astype(np.float64, copy=False)
    inside = mask.detach().cpu().numpy() > 0
    if not inside.any():
        return torch.zeros_like(phase_rad)
    turns = np.zeros(phase.shape, np.int32)
    turns[inside] = _turns(phase, inside, [weight.detach().cpu().numpy() for weight in weights])
    return (phase_rad + TURN * torch.from_numpy(turns).to(phase_rad)) * (mask > 0)


def _turns(phase: np.ndarray, inside: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """The whole turns to add to each voxel inside, in the order of `phase[inside]`."""
    import numpy as np
    from scipy.sparse import coo_array, csgraph, csr_array

    values = phase[inside]
    n = values.size
    number = np.full(phase.shape, -1, np.int32)
    number[inside] = np.arange(n, dtype=np.int32)
    costs = np.zeros((n, 3))
    neighbours = np.full((n, 3), -1, np.int32)
    for axis, weight in enumerate(weights):
        last = [(0, 0)] * axis + [(0, 1)] + [(0, 0)] * (2 - axis)
        neighbours[:, axis] = np.pad(number.take(range(1, phase.shape[axis]), axis), last, constant_values=-1)[inside]
        # A spanning tree of least cost; a cost of zero would be no edge at all.
        costs[:, axis] = 2.0 - np.pad(weight, last)[inside]
    there = neighbours >= 0
    starts = np.zeros(n + 1, np.int32)
    np.cumsum(there.sum(1), out=starts[1:])
    tree = csgraph.minimum_spanning_tree(csr_array((costs[there], neighbours[there], starts), shape=(n, n)), True)
    count, piece = csgraph.connected_components(tree, directed=False)
    root = 0
    if count > 1:
        # Each piece hangs from a voxel of the largest one, so that one walk reaches all.
        seeds = np.empty(count, np.int64)
        seeds[piece] = np.arange(n)
        root = int(seeds[np.argmax(np.bincount(piece))])
        others = seeds[seeds != root]
        tree = tree + coo_array((np.ones(others.size), (np.full(others.size, root), others)), shape=(n, n)).tocsr()
    order, before = csgraph.breadth_first_order(tree, root, directed=False)
    parent = before[order[1:]]
    step = -np.rint((values[order[1:]] - values[parent]) / TURN).astype(np.int32)
    turns = _sum_from_root(order, parent, step)
    if count > 1:
        turns -= _jumps_between_pieces(values + TURN * turns, inside, piece, int(piece[root]))
    return turns - int(np.rint(np.median(values + TURN * turns) / TURN))


def _sum_from_root(order: np.ndarray, parent: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The sum of the steps on the way from the root to each node, `order` being breadth-first: one level at a time."""
    import numpy as np

    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    above = place[parent]
    sums = np.zeros(order.size, np.int32)
    start, stop = 1, 1
    while stop < order.size:
        start, stop = stop, 1 + int(np.searchsorted(above, stop))
        sums[start:stop] = sums[above[start - 1 : stop - 1]] + step[start - 1 : stop - 1]
    total = np.empty_like(sums)
    total[order] = sums
    return total


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
