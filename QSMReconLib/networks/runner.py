"""Applying a trained network to a scan: the only place that crops, resamples, pads, tiles and chooses the precision."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..data import Grid
from ..errors import InputError
from ..inversion.weights import data_weight
from ..memory import free_bytes
from ..physics.dipole import Dipole, dipole_kernel
from ..physics.fourier import Spectrum
from .card import Card
from .tiling import in_tiles
from .turn import Turn
from .unrolled import silent, whole

PADDING_MM = 32.0
FACTOR = 8
"""Sizes are grown to a multiple of this and of the network's own."""

RUNGS = ("the whole volume", "tiles of 64 voxels", "tiles of 64 voxels on the CPU")
"""The ladder. Tiles bound what the convolutions take; the physics, which needs the whole volume, is never tiled."""

TILE = 64

HEAVY_TAIL = 1.35
"""Where the rms of what a first map leaves of the field is this many times 1.48·MAD, some voxels are not trusted."""

BYTES_PER_VOXEL = 300
"""Of the box around the brain, at the peak: 280 measured at 160×176×144, most of it the physics on the padded box."""


@dataclass(frozen=True)
class Applied:
    """χ in ppm on the input's grid, zero outside the mask, and what a person must know about how it was made."""

    chi_ppm: torch.Tensor
    notes: tuple[str, ...]


def reconstruct(
    network: nn.Module,
    card: Card,
    field_ppm: torch.Tensor,
    mask: torch.Tensor,
    grid: Grid,
    noise_ppm: torch.Tensor | None = None,
    progress: Callable[[float], None] | None = None,
    rung: str | None = None,
    half: bool | None = None,
    distrust: float = 3.0,
) -> Applied:
    """χ of a local field (X, Y, Z) in ppm, on the device of the tensors.

    `noise_ppm` is σ of the field: voxels noisier than most weigh less. `rung` forces one of RUNGS, `half` the
    precision (None: bfloat16 where the processor has it). `distrust` is beyond how many σ of what a first map leaves of
    the field a voxel counts less, if there are more of these than noise makes; 0 trusts all. Raises InputError for an
    empty mask.
    """
    if not bool((mask > 0).any()):
        raise InputError("The mask of the local field is empty: there is nothing to reconstruct.")
    notes: list[str] = []
    turn = Turn.of(grid)
    box = bounds_of(turn.there(mask))
    small = turn.grid(grid)
    x, y, z = (side.stop - side.start for side in box)
    small = replace(small, shape=(x, y, z))
    field = turn.there(field_ppm * (mask > 0))[box].float().contiguous()
    weight = turn.there(noise_weight(mask, noise_ppm))[box].float().contiguous()
    work = small
    if card.grid_mm is not None:
        work = _nearest_grid(small, card.grid_mm)
        if work.shape != small.shape:
            edges = [work.voxel_size_mm[turn.order.index(axis)] for axis in range(3)]
            notes.append(f"The field was resampled to {_edges(edges)} mm for {card.name}, and χ back.")
            field = _resample(field, work.shape)
            weight = _resample(weight, work.shape) * (_resample((weight > 0).float(), work.shape) > 0.5)
    at: Any = getattr(network, "at", None)
    if at is not None:  # Weights that depend on the voxel size are predicted once, here.
        network = at(work.voxel_size_mm)
    rungs = (rung,) if rung else ladder_for(work, field.device)
    chi, doubted = torch.zeros_like(field), 0.0
    for index, name in enumerate(rungs):
        try:
            chi, doubted = _apply(network, field, weight, work, name, card.tile, half, progress, distrust)
            break
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if index + 1 == len(rungs) or not is_memory(error):
                raise
    if name != RUNGS[0]:
        notes.append(f"Memory is short: the network ran in {name}, overlap-blended.")
    if doubted > 0:
        notes.append(f"The field of {100 * doubted:.1f} % of the voxels fits no map (wraps, bleeds): they count less.")
    if work.shape != small.shape:
        chi = _resample(chi, small.shape)
    result = torch.zeros_like(turn.there(mask), dtype=torch.float32)
    result[box] = chi
    return Applied(turn.back(result).contiguous() * (mask > 0), tuple(notes))


def noise_weight(mask: torch.Tensor, noise_ppm: torch.Tensor | None) -> torch.Tensor:
    """w in 0.02 to 1 inside the mask, 0 outside, of which `data_weight` is the square: as every inversion has it.

    A network of weights 1/σ, as it was trained with, took voxels beside bleeds for hardly measured; these are milder.
    """
    known = None if noise_ppm is None else torch.nan_to_num(noise_ppm, nan=math.inf, posinf=math.inf)
    return data_weight(mask, known).sqrt().clamp(min=0.02) * (mask > 0)


def data_step(
    chi: torch.Tensor, field_ppm: torch.Tensor, weight: torch.Tensor, dipole: Dipole, mu: float, steps: int = 1
) -> torch.Tensor:
    """χ moved towards the measured field: χ + F⁻¹[D/(D² + μ)·F(W²(f - D∗χ))], (X, Y, Z), ppm, inside the mask.

    Where everything is measured (W = 1) one step is F⁻¹[(D·F(f) + μ·F(χ))/(D² + μ)]; where the field ends with the
    brain, more `steps` are needed to get as close to it.
    """
    kernel, spectrum = dipole.kernel, dipole.spectrum
    gain = kernel / (kernel * kernel + mu)
    for _ in range(steps):
        missing = weight * weight * (field_ppm - dipole.field(chi))
        chi = chi + (weight > 0) * spectrum.from_k(gain * spectrum.to_k(missing))
    return chi


def relative_residual(chi: torch.Tensor, field_ppm: torch.Tensor, mask: torch.Tensor, dipole: Dipole) -> float:
    """‖m(D∗χ - f)‖/‖m·f‖: how much of the measured field the map does not explain."""
    inside = mask > 0
    return float(((dipole.field(chi) - field_ppm) * inside).norm() / (field_ppm * inside).norm().clamp(min=1e-12))


def has_fast_half(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on this device."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":
        return False
    known: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known()) if known is not None else False


def _apply(
    network: nn.Module,
    field: torch.Tensor,
    weight: torch.Tensor,
    grid: Grid,
    rung: str,
    tile: int,
    half: bool | None,
    progress: Callable[[float], None] | None,
    distrust: float,
) -> tuple[torch.Tensor, float]:
    """χ on the device of the field, and the share of the voxels that were distrusted.

    One pass over the volume, grown to sizes the network likes.
    """
    home = field.device
    if rung == RUNGS[-1] and home.type != "cpu":
        network = copy.deepcopy(network).cpu()
        field, weight = field.cpu(), weight.cpu()
    multiple = math.lcm(FACTOR, int(getattr(network, "multiple", FACTOR)))
    grow = [-n % multiple for n in field.shape]
    pad = [0, grow[2], 0, grow[1], 0, grow[0]]
    f, w = functional.pad(field, pad)[None, None], functional.pad(weight, pad)[None, None]
    spectrum = Spectrum.of(f.shape[-3:], grid.voxel_size_mm, PADDING_MM)
    kernel = dipole_kernel(spectrum, grid.b0_direction, field.device)
    if rung != RUNGS[0]:
        tile = TILE

    def apply(part: Callable[[torch.Tensor], torch.Tensor], volume: torch.Tensor) -> torch.Tensor:
        return in_tiles(part, volume, tile, tile // 2) if tile else whole(part, volume)

    half = has_fast_half(field.device) if half is None else half
    listening = ticking(network, tile > 0, progress)
    with torch.autocast(field.device.type, torch.bfloat16, enabled=half), listening as tick:
        start, doubted = None, 0.0
        begin: Any = getattr(network, "start", None)
        if begin is not None:
            start = begin(f, w, kernel, spectrum, tick)
            believed = _believed(f, w, start, kernel, spectrum, distrust)
            doubted = float(((believed < 0.99 * w).sum() / (w > 0).sum()).item())
            if doubted > 0:
                w, start = believed, begin(f, believed, kernel, spectrum, tick)
        chi = network(f, w, kernel, spectrum, apply, start, tick)[-1][0, 0]
    x, y, z = field.shape
    return chi[:x, :y, :z].float().to(home), doubted


def _believed(
    field: torch.Tensor,
    weight: torch.Tensor,
    chi: torch.Tensor,
    kernel: torch.Tensor,
    spectrum: Spectrum,
    distrust: float,
) -> torch.Tensor:
    """The weight, less where what `chi` leaves of the field is too large for the rest of it.

    After the model error reduction of MEDI (Liu et al. 2013, doi:10.1002/mrm.24272).
    """
    left = weight * (field - spectrum.from_k(kernel * spectrum.to_k(chi)))
    inside = left[weight > 0]
    usual = 1.4826 * inside.abs().median()
    if distrust <= 0 or not bool(inside.square().mean().sqrt() > HEAVY_TAIL * usual):
        return weight
    return weight * (distrust * usual / left.abs().clamp(min=1e-12)).clamp(0.02, 1.0)


@contextlib.contextmanager
def ticking(network: nn.Module, tiled: bool, progress: Callable[[float], None] | None) -> Iterator[Callable[[], None]]:
    """Gives what the network is to call after every piece of physics; every convolution calls it by itself.

    That is often enough to cancel, whatever the network.
    """
    if progress is None:
        yield silent
        return
    parts = [part for part in network.modules() if isinstance(part, nn.Conv3d | nn.ConvTranspose3d)]
    config = getattr(network, "config", None)
    steps = int(getattr(config, "steps", 1))
    expected = (len(parts) + 2) * steps + int(getattr(config, "start_steps", 0))
    done = 0

    def tick(*_: Any) -> None:
        nonlocal done
        done += 1
        progress(1 - math.exp(-done / (8 * expected)) if tiled else min(done / expected, 1.0))

    hooks = [part.register_forward_hook(tick) for part in parts]
    try:
        yield tick
    finally:
        for hook in hooks:
            hook.remove()


def bounds_of(mask: torch.Tensor) -> tuple[slice, slice, slice]:
    """The box around the mask."""
    inside = mask > 0
    box = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        there = torch.nonzero(inside.amax(others)).flatten()
        box.append(slice(int(there[0]), int(there[-1]) + 1))
    return box[0], box[1], box[2]


def _nearest_grid(grid: Grid, spans: Sequence[tuple[float, float]]) -> Grid:
    """The grid over the same space with the nearest voxels whose edges are in `spans`, to 2 %."""
    shape = list(grid.shape)
    for axis, (v, (low, high)) in enumerate(zip(grid.voxel_size_mm, spans, strict=True)):
        if not 0.98 * low <= v <= 1.02 * high:
            shape[axis] = max(1, round(shape[axis] * v / min(max(v, low), high)))
    voxel = [n * v / s for n, v, s in zip(grid.shape, grid.voxel_size_mm, shape, strict=True)]
    return replace(grid, shape=(shape[0], shape[1], shape[2]), voxel_size_mm=(voxel[0], voxel[1], voxel[2]))


def _edges(voxel_size_mm: Sequence[float]) -> str:
    """A voxel's size in words; the volume's length seldom is a whole number of voxels."""
    rounded = [f"{edge:.2g}" for edge in voxel_size_mm]
    return rounded[0] if len(set(rounded)) == 1 else " × ".join(rounded)


def _resample(volume: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    return functional.interpolate(volume[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]


def ladder_for(grid: Grid, device: torch.device) -> tuple[str, ...]:
    """The ladder from where the free memory is predicted to hold it; the CPU is a rung only for those above it."""
    ladder = RUNGS if device.type != "cpu" else RUNGS[:2]
    free = _free_memory(device)
    needed = BYTES_PER_VOXEL * math.prod(n + FACTOR for n in grid.shape)
    return ladder if free is None or needed < free else ladder[1:]


def _free_memory(device: torch.device) -> float | None:
    """Bytes that can still be had, or None where nobody knows."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return free_bytes()


def is_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "alloc" in str(error).lower() or "memory" in str(error).lower()
