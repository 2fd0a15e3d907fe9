"""Filtered phase and flipped phase are told from real phase, and nothing is claimed of what cannot be told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from QSMReconLib.data import GreData, Grid
from QSMReconLib.io.plausibility import CoarseSignal, coarse_signal, high_pass_filtered, sign_flipped
from QSMReconLib.phantoms.closed_forms import cylinder, sphere
from QSMReconLib.physics.constants import radians_per_ppm

Filter = Callable[[torch.Tensor, Grid], torch.Tensor]


def homodyne(lines: int) -> Filter:
    """The usual filter for SWI: the phase of each slice against that of its central k-space under a Hann window."""

    def apply(signal: torch.Tensor, grid: Grid) -> torch.Tensor:
        windows = []
        for n in grid.shape[:2]:
            window = torch.zeros(n)
            inner = torch.hann_window(min(lines, n) + 2, periodic=False)[1:-1]
            start = (n - len(inner)) // 2
            window[start : start + len(inner)] = inner
            windows.append(torch.fft.ifftshift(window))
        filtered = torch.fft.fftn(signal, dim=(0, 1)) * windows[0][:, None, None] * windows[1][None, :, None]
        return torch.polar(signal.abs(), (signal * torch.fft.ifftn(filtered, dim=(0, 1)).conj()).angle())

    return apply


def gaussian(sigma_mm: float) -> Filter:
    """A filter in all directions."""

    def apply(signal: torch.Tensor, grid: Grid) -> torch.Tensor:
        spectrum = torch.fft.fftn(signal)
        for axis, (n, v) in enumerate(zip(grid.shape, grid.voxel_size_mm, strict=True)):
            shape = [1, 1, 1]
            shape[axis] = n
            k = torch.fft.fftfreq(n, d=v).reshape(shape)
            spectrum = spectrum * torch.exp(-2 * (torch.pi * k * sigma_mm) ** 2)
        return torch.polar(signal.abs(), (signal * torch.fft.ifftn(spectrum).conj()).angle())

    return apply


def coarse_of(gre: GreData, echoes: slice = slice(None), change: Filter | None = None) -> CoarseSignal:
    magnitude, phase = gre.magnitude[echoes], gre.phase_rad[echoes]
    if change is not None:
        filtered = [change(torch.polar(m, p), gre.grid) for m, p in zip(magnitude, phase, strict=True)]
        magnitude, phase = torch.stack(filtered).abs(), torch.stack(filtered).angle()
    return coarse_signal(magnitude, phase, gre.grid.voxel_size_mm)


def flipped(gre: GreData, coarse: CoarseSignal, echoes: slice = slice(None)) -> tuple[bool, bool]:
    """The verdict as it is and with the phase negated."""
    rest = (gre.echo_times_s[echoes], gre.grid.b0_direction, gre.field_strength_t)
    negated = CoarseSignal(coarse.signal.conj().resolve_conj(), coarse.voxel_size_mm)
    return sign_flipped(coarse, *rest), sign_flipped(negated, *rest)


@pytest.fixture(scope="module", params=["siemens1mm", "geswi"])
def simulated(request: pytest.FixtureRequest, examined) -> GreData:
    return examined(request.param).scan.artifacts[GreData]


@pytest.fixture(scope="module")
def in_vivo(examined) -> GreData:
    return examined("invivo7t").scan.artifacts[GreData]


def test_a_whole_head_is_judged_rightly(simulated: GreData) -> None:
    coarse = coarse_of(simulated)
    assert high_pass_filtered(coarse) == "no"
    assert flipped(simulated, coarse) == (False, True)
    alone = CoarseSignal(coarse.signal[-1:], coarse.voxel_size_mm)
    assert high_pass_filtered(alone) == "no"
    assert flipped(simulated, alone, slice(-1, None)) == (False, False)


@pytest.mark.parametrize("change", [homodyne(8), homodyne(64), gaussian(6.0)], ids=["8", "64", "gaussian"])
def test_filtered_phase_of_a_head_is_recognised(simulated: GreData, change: Filter) -> None:
    assert high_pass_filtered(coarse_of(simulated, slice(3, None), change)) == "yes"


def test_a_crop_in_vivo_passes_and_its_sign_is_left_open(in_vivo: GreData) -> None:
    for echoes in (slice(None), slice(0, 1), slice(2, 3)):
        coarse = coarse_of(in_vivo, echoes)
        assert high_pass_filtered(coarse) == "no"
        assert flipped(in_vivo, coarse, echoes) == (False, False)


@pytest.mark.parametrize("change", [homodyne(8), homodyne(16), gaussian(3.0)], ids=["8", "16", "gaussian"])
def test_a_filtered_crop_is_suspicious(in_vivo: GreData, change: Filter) -> None:
    assert high_pass_filtered(coarse_of(in_vivo, change=change)) == "perhaps"


@pytest.mark.parametrize("body", [sphere, cylinder])
@pytest.mark.parametrize(("chi_ppm", "radius_mm"), [(0.1, 10.0), (1.0, 10.0), (1.0, 6.0), (9.0, 14.0)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_bodies_in_water_without_any_background_are_never_refused(body, chi_ppm, radius_mm, sign) -> None:
    grid = Grid.centred((64, 64, 64), (1.5, 1.5, 1.5), (0.0, 0.6, 0.8))
    axis = {} if body is sphere else {"axis": (1.0, 0.0, 0.0)}
    field = body(grid, radius_mm, sign * chi_ppm, samples=1, **axis)[1]
    times = (0.005, 0.012, 0.02)
    phase = torch.stack([radians_per_ppm(3.0, time) * field for time in times])
    coarse = coarse_signal(torch.ones_like(phase), phase, grid.voxel_size_mm)
    assert high_pass_filtered(coarse) != "yes"
    assert not sign_flipped(coarse, times, grid.b0_direction, 3.0)


def test_the_small_head_of_the_other_tests_is_no_reason_for_complaint(small_head) -> None:
    gre = small_head[GreData]
    coarse = coarse_of(gre)
    assert high_pass_filtered(coarse) == "no"
    assert flipped(gre, coarse) == (False, False)


def test_averaging_is_over_whole_voxels_of_two_millimetres() -> None:
    magnitude = torch.arange(2 * 9 * 8 * 4, dtype=torch.float32).reshape(2, 9, 8, 4)
    coarse = coarse_signal(magnitude, torch.zeros_like(magnitude), (0.5, 1.0, 3.0))
    assert coarse.voxel_size_mm == (2.0, 2.0, 3.0)
    assert coarse.signal.shape == (2, 2, 4, 4)
    np.testing.assert_allclose(coarse.signal[0, 0, 0, 0].real, magnitude[0, :4, :2, 0].mean())


def test_no_signal_is_no_verdict() -> None:
    nothing = coarse_signal(torch.zeros(1, 16, 16, 16), torch.zeros(1, 16, 16, 16), (4.0, 4.0, 4.0))
    assert high_pass_filtered(nothing) == "no"
    assert not sign_flipped(nothing, (0.01,), (0.0, 0.0, 1.0), 3.0)
