"""What a scanner makes of a simulated head: its field, shimmed, and gradient and spin echoes with noise.

R2 and R1 are those at 3 T at every field strength; R2′ = Dr·(χ_para + χ_dia)·B0/3 T, with Dr = 137 Hz/ppm (Shin et al.
2021, doi:10.1016/j.neuroimage.2021.118371).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from .._lazy import torch
from ..data import GreData, Grid, SpinEchoData
from ..physics.constants import radians_per_ppm
from ..physics.dipole import Dipole
from .head import Head
from .tissues import AIR

DR_HZ_PER_PPM = 137.0
"""At 3 T."""

REPETITION_TIME_S, FLIP_ANGLE_DEG = 0.05, 15.0

_PADDING_MM = 64.0


@dataclass(frozen=True)
class Fields:
    """Of the head in the view of the grid, on its fine voxels, in ppm."""

    total_ppm: torch.Tensor
    """Everything's, after the shim; it is there outside the brain too."""
    local_ppm: torch.Tensor
    """The brain's own."""


def fields(head: Head) -> Fields:
    """The field of the head, with what a second-order shim takes out of the brain, and that of the brain alone."""
    space = head.space
    grid = Grid.centred(space.shape, tuple(space.voxel_size_mm), head.grid.b0_direction)
    dipole = Dipole.of(grid, space.device, _PADDING_MM)
    tissue = head.tissue
    chi = tissue.para_ppm - tissue.dia_ppm
    local = dipole.field(chi * head.brain)[head.view].clone()
    # Air is what surrounds the head: counted from it, nothing is left outside, where the transform pads with zeros.
    around = (chi + tissue.bulk_ppm).masked_fill_(head.brain, 0.0) - AIR.bulk_ppm
    # At the Nyquist frequency the kernel of an oblique B0 jumps: there the sharp edges of air would ring through the
    # brain. Sources blurred by a voxel have nothing there, and the same field at a distance.
    background = dipole.field(_blurred(around))[head.view].clone()
    return Fields(_shimmed(background + local, head), local)


def r2prime(head: Head, field_strength_t: float, dr_hz_per_ppm: float = DR_HZ_PER_PPM) -> torch.Tensor:
    """R2′ in Hz on the fine voxels of the view."""
    tissue = head.tissue
    return dr_hz_per_ppm * field_strength_t / 3 * (tissue.para_ppm + tissue.dia_ppm)[head.view]


def gradient_echoes(
    head: Head,
    field: Fields,
    echo_times_s: Sequence[float],
    field_strength_t: float = 3.0,
    *,
    snr: float = 60.0,
    repetition_time_s: float = REPETITION_TIME_S,
    flip_angle_deg: float = FLIP_ANGLE_DEG,
    dr_hz_per_ppm: float = DR_HZ_PER_PPM,
    seed: int = 0,
) -> GreData:
    """A spoiled gradient-echo scan: magnitude in arbitrary units and wrapped phase.

    The phase starts from a smooth offset of the transmit field and turns with the field; the signal is summed over the
    parts of each voxel and dephases along the gradient inside each part. `snr` is that of the brain's median at the
    first echo.
    """
    view, tissue = head.view, head.tissue
    rng = np.random.default_rng(seed)
    generator = torch.Generator(device=field.total_ppm.device).manual_seed(int(rng.integers(2**62)))
    start = tissue.density[view] * _steady_state(tissue.r1_hz[view], repetition_time_s, flip_angle_deg)
    start = start * _receive(head, rng)
    rate = tissue.r2_hz[view] + r2prime(head, field_strength_t, dr_hz_per_ppm)
    offset = _transmit_phase(head, rng)
    slopes = [_step(field.total_ppm, axis) for axis in range(3)]

    echoes = []
    for time in echo_times_s:
        turn = radians_per_ppm(field_strength_t, time)
        size = start * torch.exp(-rate * time)
        for slope in slopes:
            size = size * torch.sinc(slope * (turn / (2 * np.pi)))
        phase = offset + turn * field.total_ppm
        echoes.append(torch.complex(head.on_grid(size * phase.cos()), head.on_grid(size * phase.sin())))
    signal = torch.stack(echoes)
    sigma = _level(signal[0].abs(), head) / snr
    noise = torch.randn((2, *signal.shape), generator=generator, device=signal.device)
    signal = signal + sigma * torch.complex(noise[0], noise[1])
    return GreData(head.grid, signal.abs(), signal.angle(), tuple(echo_times_s), field_strength_t)


def spin_echoes(
    head: Head,
    echo_times_s: Sequence[float],
    *,
    snr: float = 80.0,
    repetition_time_s: float = 3.0,
    seed: int = 0,
) -> SpinEchoData:
    """A multi-echo spin-echo scan: magnitudes that decay with R2 onto a floor of noise."""
    view, tissue = head.view, head.tissue
    rng = np.random.default_rng(seed + 1)
    generator = torch.Generator(device=tissue.density.device).manual_seed(int(rng.integers(2**62)))
    start = tissue.density[view] * (1 - torch.exp(-repetition_time_s * tissue.r1_hz[view])) * _receive(head, rng)
    echoes = torch.stack([head.on_grid(start * torch.exp(-tissue.r2_hz[view] * time)) for time in echo_times_s])
    sigma = _level(echoes[0], head) / snr
    noise = sigma * torch.randn((2, *echoes.shape), generator=generator, device=echoes.device)
    return SpinEchoData(head.grid, torch.hypot(echoes + noise[0], noise[1]), tuple(echo_times_s))


def _steady_state(r1_hz: torch.Tensor, repetition_time_s: float, flip_angle_deg: float) -> torch.Tensor:
    """The signal of a spoiled gradient echo at its start (Ernst)."""
    recovered, flip = torch.exp(-repetition_time_s * r1_hz), np.deg2rad(flip_angle_deg)
    return np.sin(flip) * (1 - recovered) / (1 - np.cos(flip) * recovered)


def _shimmed(field: torch.Tensor, head: Head) -> torch.Tensor:
    """Without what the coils of a second-order shim can take out of the brain: fields are harmonic, theirs too."""
    brain = head.brain[head.view]
    if not brain.any():
        return field - field.mean()
    terms = torch.stack([term[brain] for term in _shim_fields(head)], dim=1).double()
    # A tenth of the voxels says as much as all about nine numbers.
    few = slice(None, None, max(1, terms.shape[0] // 100_000))
    weights = torch.linalg.lstsq(terms[few], field[brain][few].double()[:, None]).solution[:, 0]
    for weight, term in zip(weights.tolist(), _shim_fields(head), strict=True):
        field = field - weight * term
    return field


def _shim_fields(head: Head) -> list[torch.Tensor]:
    """The nine solid harmonics up to second order on the view: of the squares, only their differences are fields."""
    *lower, xx, xy, xz, yy, yz, zz = _polynomial(head)
    return [*lower, xy, xz, yz, xx - yy, 2 * zz - xx - yy]


def _polynomial(head: Head) -> list[torch.Tensor]:
    """1, x, y, z and their ten products on the view, in units of about half a head."""
    shape = head.brain[head.view].shape
    axes = []
    for axis, (n, voxel) in enumerate(zip(shape, head.space.voxel_size_mm, strict=True)):
        along = (torch.arange(n, device=head.brain.device) - (n - 1) / 2) * (float(voxel) / 80.0)
        axes.append(along.reshape([-1 if i == axis else 1 for i in range(3)]))
    products = [a * b for a, b in combinations_with_replacement(axes, 2)]
    return [term.expand(shape) for term in (torch.ones_like(axes[0]), *axes, *products)]


def _transmit_phase(head: Head, rng: np.random.Generator) -> torch.Tensor:
    """Radians, a polynomial of second order over the head."""
    scale = np.array([1.5, *[0.6] * 3, *[1.2] * 6])
    terms = zip((scale * rng.normal(size=10)).tolist(), _polynomial(head), strict=True)
    return sum((weight * term for weight, term in terms), start=torch.zeros((), device=head.brain.device))


def _receive(head: Head, rng: np.random.Generator) -> torch.Tensor:
    """The receive coils' sensitivity: brighter near them."""
    _, x, y, z, *products = _polynomial(head)
    tilt = rng.normal(0, 0.08, 3)
    bright = 1 + 0.12 * (products[0] + products[3] + products[5])
    return (bright + tilt[0] * x + tilt[1] * y + tilt[2] * z).clamp(min=0.4)


def _blurred(volume: torch.Tensor) -> torch.Tensor:
    """Weighted 1-2-1 along each axis."""
    for axis in range(3):
        ends = [volume.narrow(axis, 0, 1), volume, volume.narrow(axis, -1, 1)]
        wide = torch.cat(ends, dim=axis)
        n = volume.shape[axis]
        volume = 0.25 * (wide.narrow(axis, 0, n) + wide.narrow(axis, 2, n)) + 0.5 * volume
    return volume


def _step(volume: torch.Tensor, axis: int) -> torch.Tensor:
    """How much a volume changes across each voxel."""
    return torch.gradient(volume, dim=axis)[0] if volume.shape[axis] > 1 else torch.zeros_like(volume)


def _level(magnitude: torch.Tensor, head: Head) -> float:
    inside = head.on_grid(head.brain.float()) > 0.5
    return float(magnitude[inside].median()) if inside.any() else float(magnitude.mean())
