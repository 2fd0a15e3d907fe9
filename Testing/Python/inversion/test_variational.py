"""RTS, HD-QSM and nonlinear total variation: what they recover, and what does not disturb them."""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import pytest
import torch

from QSMReconLib.inversion.hdqsm import hd_qsm
from QSMReconLib.inversion.nltv import fansi
from QSMReconLib.inversion.rts import rts, well_posed
from QSMReconLib.inversion.tv import tv
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.solvers.shrinkage import TotalVariation
from QSMReconLib.solvers.tgv import GeneralisedVariation

S = 5.0
Found = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def nltv(field: torch.Tensor, dipole: Dipole, weight: torch.Tensor) -> torch.Tensor:
    prior = TotalVariation.starting(dipole.spectrum.padded, dipole.spectrum.voxel_size_mm, 2e-5 / 0.02)
    return fansi(field, dipole, weight, prior, S, rho=0.02, tolerance=1e-4)


METHODS: dict[str, tuple[Callable[[torch.Tensor, Dipole, torch.Tensor], torch.Tensor], float]] = {
    "rts": (lambda field, dipole, weight: rts(field, dipole, weight, lsmr_iterations=20, iterations=60), 0.35),
    "hdqsm": (lambda field, dipole, weight: hd_qsm(field, dipole, weight, 1e-5, tolerance=1e-4), 0.08),
    "nltv": (nltv, 0.08),
}
every_method = pytest.mark.parametrize("name", METHODS)


def error(found: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    x, y, z = truth.shape
    one, other = found[:x, :y, :z][mask], truth[mask]
    one, other = one - one.mean(), other - other.mean()
    return float((one - other).norm() / other.norm())


@every_method
def test_recovers_boxes_from_a_field_known_inside(
    name: str, dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor
) -> None:
    method, bound = METHODS[name]
    assert error(method(dipole.field(chi) * mask, dipole, mask.float()), chi, mask) < bound


@every_method
def test_voxels_of_no_weight_do_not_count(name: str, dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    method, _ = METHODS[name]
    weight = mask.float()
    weight[12, 12, 10] = 0
    field = dipole.field(chi) * mask
    spoiled = field.clone()
    spoiled[12, 12, 10] = 7.0
    assert torch.equal(method(field, dipole, weight), method(spoiled, dipole, weight))


@every_method
def test_tells_how_far_it_is(name: str, dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field, seen = dipole.field(chi) * mask, list[float]()
    if name == "rts":
        rts(field, dipole, mask.float(), progress=seen.append)
    elif name == "hdqsm":
        hd_qsm(field, dipole, mask.float(), progress=seen.append)
    else:
        prior = TotalVariation.starting(dipole.spectrum.padded, dipole.spectrum.voxel_size_mm, 0.01)
        fansi(field, dipole, mask.float(), prior, S, rho=0.02, progress=seen.append)
    assert len(seen) > 5
    assert seen == sorted(seen)
    assert seen[0] > 0
    assert seen[-1] <= 1


def test_generalised_variation_recovers_boxes_too(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    spectrum = dipole.spectrum
    prior = GeneralisedVariation(spectrum.padded, spectrum.voxel_size_mm, 2e-5 / 0.02, 2.0)
    found = fansi(dipole.field(chi) * mask, dipole, mask.float(), prior, S, rho=0.02, tolerance=1e-3)
    assert error(found, chi, mask) < 0.15


def test_voxels_a_turn_off_spoil_the_linear_term_only(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field = dipole.field(chi) * mask
    field[17:20, 8:11, 6:9] += 2 * pi / S
    weight = mask.float()
    linear = error(tv(field, dipole, 2e-5, weight, tolerance=1e-4), chi, mask)
    nonlinear = error(nltv(field, dipole, weight), chi, mask)
    assert nonlinear < 0.1 * linear


def test_wild_voxels_count_less_in_hybrid(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field, weight = dipole.field(chi) * mask, mask.float()
    field[6:24:4, 8:26:4, 6:20:4] += 0.4
    once = error(tv(field, dipole, 1e-4, weight, tolerance=1e-3), chi, mask)
    hybrid = error(hd_qsm(field, dipole, weight, 1e-4, tolerance=1e-3), chi, mask)
    assert hybrid < 0.6 * once


def test_the_first_step_of_rts_is_least_squares(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field, weight = dipole.field(chi) * mask, mask.float()
    whole = dipole.spectrum.uncut
    x, y, z = mask.shape
    left = []
    for steps in (2, 8, 32):
        found = well_posed(field, weight, dipole, steps)
        rest = (whole.from_k(whole.to_k(found) * dipole.kernel)[:x, :y, :z] - field) * weight
        left.append(float(rest.norm() / field.norm()))
    assert left[0] > left[1] > left[2]
    assert left[2] < 0.02
