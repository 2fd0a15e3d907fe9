"""Applying a network of several volumes to a scan; everything the runner of inversions knows of memory holds here."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..data import Grid
from ..errors import InputError
from ..physics.dipole import dipole_kernel
from ..physics.fourier import Spectrum
from .runner import (
    FACTOR,
    PADDING_MM,
    RUNGS,
    TILE,
    bounds_of,
    has_fast_half,
    is_memory,
    ladder_for,
    ticking,
)
from .tiling import in_tiles
from .turn import Turn
from .unrolled import whole


def apply_network(
    network: nn.Module,
    volumes: Mapping[str, torch.Tensor],
    mask: torch.Tensor,
    grid: Grid,
    *,
    physics: bool,
    settings: Mapping[str, torch.Tensor] | None = None,
    progress: Callable[[float], None] | None = None,
    rung: str | None = None,
    half: bool | None = None,
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """What the network last finds, (C, X, Y, Z), zero outside the mask, and notes on how it ran.

    `volumes` (C, X, Y, Z) or (X, Y, Z) go to the network's arguments of their names as (1, C, X, Y, Z), cut to the mask
    and turned so that B0 lies along the last axis, never backwards; so do its dipole kernel and spectrum where it has
    `physics`. `settings` go as they are. `rung` forces one of the runner's RUNGS, `half` the precision. Raises
    InputError for an empty mask.
    """
    if not bool((mask > 0).any()):
        raise InputError("The mask is empty: there is nothing for a network to look at.")
    turn, home = Turn.of(grid), mask.device
    there = turn.there(mask)
    box = bounds_of(there)
    x, y, z = (side.stop - side.start for side in box)
    small = turn.grid(grid)
    multiple = math.lcm(FACTOR, int(getattr(network, "multiple", FACTOR)))
    pad = [width for n in (z, y, x) for width in (0, -n % multiple)]
    spectrum = Spectrum.of([n + -n % multiple for n in (x, y, z)], small.voxel_size_mm, PADDING_MM)
    seen = {}
    for name, volume in volumes.items():
        channels = volume if volume.ndim == 4 else volume[None]
        cut = torch.stack([turn.there(channel * (mask > 0))[box] for channel in channels]).float()
        seen[name] = functional.pad(cut, pad)[None]

    def work(name: str) -> torch.Tensor:
        device = torch.device("cpu") if name == RUNGS[-1] else home
        used = copy.deepcopy(network).cpu() if device != home else network
        given: dict[str, Any] = {n: v.to(device) for n, v in {**seen, **(settings or {})}.items()}
        if physics:
            given |= {"kernel": dipole_kernel(spectrum, small.b0_direction, device), "spectrum": spectrum}
        tiled = name != RUNGS[0]

        def apply(part: Callable[[torch.Tensor], torch.Tensor], volume: torch.Tensor) -> torch.Tensor:
            return in_tiles(part, volume, TILE, TILE // 2) if tiled else whole(part, volume)

        fast = has_fast_half(device) if half is None else half
        with torch.autocast(device.type, torch.bfloat16, enabled=fast), ticking(used, tiled, progress) as tick:
            return used(**given, apply=apply, tick=tick)[-1][0].float().to(home)

    ladder = (rung,) if rung else ladder_for(small, home)
    for index, name in enumerate(ladder):
        try:
            found = work(name)
            break
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if index + 1 == len(ladder) or not is_memory(error):
                raise
    made = []
    for channel in found[:, :x, :y, :z]:
        placed = torch.zeros_like(there, dtype=torch.float32)
        placed[box] = channel
        made.append(turn.back(placed) * (mask > 0))
    notes = () if name == RUNGS[0] else (f"Memory is short: the network ran in {name}, overlap-blended.",)
    return torch.stack(made).contiguous(), notes
