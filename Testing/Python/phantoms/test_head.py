"""The simulated head: anatomy, consistency of its maps, and the signals made of it. Coarse, to be quick."""

import numpy as np
import pytest
import torch

from QSMReconLib.data import ChiMap, Grid, LocalField, Mask, R2Map, R2PrimeMap, SeparatedChi, TotalField
from QSMReconLib.errors import InputError
from QSMReconLib.labels import Label
from QSMReconLib.phantoms import scanner
from QSMReconLib.phantoms.dataset import tilted_grid
from QSMReconLib.phantoms.head import head
from QSMReconLib.phantoms.lesions import MS_KINDS
from QSMReconLib.phantoms.truth import truth
from QSMReconLib.physics.constants import radians_per_ppm
from QSMReconLib.physics.dipole import Dipole

GRID = Grid.centred((44, 52, 45), (4.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def drawn():
    return head(GRID, seed=1, resolution_mm=4.0, ms_lesions=6, bleeds=1, calcifications=1)


@pytest.fixture(scope="module")
def field(drawn):
    return scanner.fields(drawn)


@pytest.fixture(scope="module")
def true(drawn, field):
    return truth(drawn, field)


def middle_mm(labels, label, grid):
    voxels = torch.nonzero(labels == int(label)).double().mean(0).numpy()
    return (np.asarray(grid.affine) @ [*voxels, 1])[:3]


def test_a_head_has_what_a_head_has(drawn, true):
    labels = drawn.labels_on_grid(drawn.tissue.labels)
    millilitres = {label: float((labels == int(label)).sum()) * 0.064 for label in Label}
    assert 1000 < sum(millilitres.values()) < 1700
    assert 0.5 < millilitres[Label.GREY_MATTER] / millilitres[Label.WHITE_MATTER] < 2.5
    assert all(millilitres[label] > 0.5 for label in (Label.CAUDATE, Label.PUTAMEN, Label.PALLIDUM, Label.THALAMUS))
    assert float(true[Mask].voxels.float().mean()) * np.prod(GRID.shape) * 0.064 == pytest.approx(
        sum(millilitres.values())
    )


def test_anatomy_is_in_its_place(drawn):
    labels = drawn.labels_on_grid(drawn.tissue.labels)
    putamen, dentate, thalamus = (
        middle_mm(labels, label, GRID) for label in (Label.PUTAMEN, Label.DENTATE, Label.THALAMUS)
    )
    assert putamen[1] > thalamus[1] > dentate[1]
    assert thalamus[2] > dentate[2]
    sides = np.asarray(torch.nonzero(labels == int(Label.PUTAMEN)))[:, 0] * 4.0 + GRID.affine[0][3]
    assert (sides < -8).sum() > 5
    assert (sides > 8).sum() > 5


def test_chi_of_the_tissues(drawn, true):
    labels, separated = drawn.labels_on_grid(drawn.tissue.labels), true[SeparatedChi]
    means = {
        label: [float(v[labels == int(label)].mean()) for v in (separated.chi_para_ppm, separated.chi_dia_ppm)]
        for label in (Label.PALLIDUM, Label.PUTAMEN, Label.WHITE_MATTER, Label.GREY_MATTER)
    }
    assert means[Label.PALLIDUM][0] > means[Label.PUTAMEN][0] > 2 * means[Label.GREY_MATTER][0]
    assert means[Label.WHITE_MATTER][1] > means[Label.WHITE_MATTER][0]
    assert means[Label.GREY_MATTER][0] > means[Label.GREY_MATTER][1]


def test_truth_agrees_with_itself(true):
    separated, inside = true[SeparatedChi], true[Mask].voxels
    assert float(separated.chi_para_ppm.min()) >= 0
    assert float(separated.chi_dia_ppm.min()) >= 0
    assert torch.allclose(true[ChiMap].chi_ppm, separated.chi_para_ppm - separated.chi_dia_ppm, atol=1e-6)
    total_chi = separated.chi_para_ppm + separated.chi_dia_ppm
    assert torch.allclose(true[R2PrimeMap].r2prime_hz, 137 * total_chi, rtol=1e-4, atol=1e-4)
    for artifact in true.values():
        for _, volume in artifact.volumes():
            assert torch.isfinite(volume).all()
            assert not volume[~inside].any()


def test_local_field_is_the_field_of_chi(true):
    expected = Dipole.of(GRID, padding_mm=64.0).field(true[ChiMap].chi_ppm)[true[Mask].voxels]
    found = true[LocalField].field_ppm[true[Mask].voxels]
    assert float((found - expected).norm() / expected.norm()) < 0.01


def test_background_is_harmonic_shimmed_and_large(drawn, field, true):
    inside = true[Mask].voxels
    background = (true[TotalField].field_ppm - true[LocalField].field_ppm)[inside]
    local = true[LocalField].field_ppm[inside]
    assert float(background.std()) > 4 * float(local.std())
    assert float(true[TotalField].field_ppm[inside].mean()) == pytest.approx(0, abs=0.02)
    # Away from its sources the Laplacian of the background is small against that of the local field.
    whole = field.total_ppm - field.local_ppm
    erosion = torch.nn.functional.max_pool3d(1 - drawn.brain[drawn.view].float()[None], 5, 1, 2)[0] == 0

    def laplacian(volume):
        second = [torch.roll(volume, s, d) for d in range(3) for s in (1, -1)]
        return (sum(second) - 6 * volume)[erosion]

    assert float(laplacian(whole).std()) < 0.2 * float(laplacian(field.local_ppm).std())


def test_what_a_shim_takes_out_is_harmonic(drawn):
    for term in scanner._shim_fields(drawn):
        bent = torch.zeros(())
        for axis, size in enumerate(drawn.space.voxel_size_mm):
            # Second differences of the second order are exact, and the same everywhere.
            middle = term.double().movedim(axis, 0)
            bent = bent + (middle[0] - 2 * middle[1] + middle[2]).mean() / size**2
        assert abs(float(bent)) < 1e-6  # x² alone has 3e-4


def test_seeds_and_grids(drawn):
    again = head(GRID, seed=1, resolution_mm=4.0, ms_lesions=6, bleeds=1, calcifications=1)
    assert torch.equal(again.tissue.para_ppm, drawn.tissue.para_ppm)
    other = head(GRID, seed=2, resolution_mm=4.0, ms_lesions=6, bleeds=1, calcifications=1)
    assert other.brain.sum() != drawn.brain.sum()
    # Another grid of other voxels, turned, flipped and transposed, holds the same head: anatomy is in millimetres.
    affine = np.array([[0, 0, -5.0, 110.0], [-4.0, 0, 0, 102.0], [0, 3.5, 0, -98.0], [0, 0, 0, 1]])
    turned = Grid.from_affine((52, 57, 45), affine)
    same = head(turned, seed=1, resolution_mm=4.0, ms_lesions=0, bleeds=0, calcifications=0)
    first = drawn.labels_on_grid(drawn.tissue.labels)
    second = same.labels_on_grid(same.tissue.labels)
    for label in (Label.PUTAMEN, Label.THALAMUS, Label.WHITE_MATTER):
        assert np.abs(middle_mm(first, label, GRID) - middle_mm(second, label, turned)).max() < 3.0
    assert abs(float(second.bool().sum()) * 70 / (float(first.bool().sum()) * 64) - 1) < 0.05


def test_thick_slices_hold_what_thin_ones_hold():
    thin = Grid.centred((40, 48, 60), (4.0, 4.0, 3.0))
    thick = Grid.centred((40, 48, 20), (4.0, 4.0, 9.0))
    a, b = (head(grid, 4, resolution_mm=3.0, ms_lesions=0, bleeds=0, calcifications=0) for grid in (thin, thick))
    assert (a.samples, b.samples) == ((1, 1, 1), (1, 1, 3))
    # The drawn head is the same to rounding; the thick voxel is the mean of three thin ones.
    together = torch.nn.functional.avg_pool3d(a.on_grid(a.tissue.r2_hz)[None], (1, 1, 3))[0]
    ours = b.on_grid(b.tissue.r2_hz)
    assert float((ours - together).abs().mean() / together.mean()) < 0.02
    field = scanner.fields(b)
    assert field.total_ppm.shape == (40, 48, 60)
    assert b.on_grid(field.total_ppm).shape == thick.shape


def test_field_turns_with_b0():
    lying = Grid.from_affine(GRID.shape, GRID.affine, (0.0, 1.0, 0.0))
    there = head(lying, seed=1, resolution_mm=4.0, ms_lesions=0, bleeds=0, calcifications=0)
    chi = (there.tissue.para_ppm - there.tissue.dia_ppm) * there.brain
    expected = Dipole.of(lying, padding_mm=64.0).field(there.on_grid(chi))
    inside = there.on_grid(there.brain.float()) > 0.5
    found = there.on_grid(scanner.fields(there).local_ppm)
    assert float((found - expected)[inside].norm() / expected[inside].norm()) < 0.01


def test_gradient_echoes_follow_field_and_decay(drawn, field, true):
    times = (0.002, 0.004, 0.006)
    gre = scanner.gradient_echoes(drawn, field, times, 3.0, snr=1e6, seed=3)
    inside = true[Mask].voxels & (true[TotalField].field_ppm.abs() < 0.3)
    signal = torch.polar(gre.magnitude, gre.phase_rad)
    turned = (signal[1] / signal[0]).angle()[inside]
    expected = true[TotalField].field_ppm[inside] * radians_per_ppm(3.0, 0.002)
    off = torch.remainder(turned - expected + torch.pi, 2 * torch.pi) - torch.pi
    assert float(off.abs().median()) < 1e-3
    # Where the field is flat, the magnitude decays with R2* = R2 + R2′.
    flat = inside.clone()
    for axis in range(3):
        flat &= torch.gradient(field.total_ppm, dim=axis)[0].abs() < 0.02
    rate = (gre.magnitude[0] / gre.magnitude[1]).log()[flat] / 0.002
    r2star = (true[R2Map].r2_hz + true[R2PrimeMap].r2prime_hz)[flat]
    assert float((rate - r2star).abs().median()) < 0.2
    # Where it is steep, spins within a voxel fall out of step, and more is lost.
    steep = inside & torch.stack([torch.gradient(field.total_ppm, dim=d)[0].abs() > 0.15 for d in range(3)]).any(0)
    left = gre.magnitude[2] / gre.magnitude[0] / torch.exp(-0.004 * (true[R2Map].r2_hz + true[R2PrimeMap].r2prime_hz))
    assert float(left[flat].median()) == pytest.approx(1, abs=2e-3)
    assert float(left[steep].median()) < 0.98


def test_field_strength_scales_phase_and_r2prime(drawn, field):
    slow, fast = (scanner.r2prime(drawn, t) for t in (1.5, 7.0))
    assert torch.allclose(fast, slow * 7 / 1.5, rtol=1e-4)
    assert torch.allclose(scanner.r2prime(drawn, 3.0, 114.0), slow * 2 * 114 / 137, rtol=1e-4)


def test_noise_has_the_size_that_was_asked_for(drawn, field, true):
    clean, noisy, other = (
        scanner.gradient_echoes(drawn, field, (0.005,), 3.0, snr=snr, seed=seed)
        for snr, seed in ((1e6, 1), (20.0, 1), (20.0, 2))
    )
    inside = true[Mask].voxels
    difference = (torch.polar(noisy.magnitude, noisy.phase_rad) - torch.polar(clean.magnitude, clean.phase_rad))[0]
    level = float(clean.magnitude[0][inside].median()) / 20
    assert float(difference.real.std()) == pytest.approx(level, rel=0.03)
    assert float(difference.imag.std()) == pytest.approx(level, rel=0.03)
    assert not torch.equal(noisy.magnitude, other.magnitude)


def test_spin_echoes_decay_with_r2(drawn, true):
    spin = scanner.spin_echoes(drawn, (0.01, 0.05), snr=1e6)
    inside = true[Mask].voxels & (true[R2Map].r2_hz > 8)
    rate = (spin.magnitude[0] / spin.magnitude[1]).log()[inside] / 0.04
    assert float((rate - true[R2Map].r2_hz[inside]).abs().median()) < 0.01


def test_lesions_are_what_they_say():
    grid = Grid.centred((68, 76, 68), (2.4, 2.4, 2.4))
    ill, well = (head(grid, 3, resolution_mm=2.4, ms_lesions=6 * i, bleeds=2 * i, calcifications=2 * i) for i in (1, 0))
    assert [lesion.kind for lesion in ill.lesions] == ["ms"] * 6 + ["bleed"] * 2 + ["calc"] * 2
    kinds = {(lesion.para, lesion.dia) for lesion in ill.lesions if lesion.kind == "ms"}
    assert kinds == set(MS_KINDS)
    for lesion in ill.lesions:
        where = ill.lesion_numbers == lesion.number
        place = (np.linalg.inv(ill.space.affine) @ [*lesion.centre_mm, 1])[:3]
        assert np.linalg.norm((torch.nonzero(where).double().mean(0).numpy() - place) * 2.4) < 3.0
        volume = 4 / 3 * np.pi * np.prod(lesion.radii_mm)
        if lesion.kind != "ms":
            near = torch.nn.functional.max_pool3d(where.float()[None], 5, 1, 2)[0] > 0
            para, dia = (getattr(ill.tissue, n) - getattr(well.tissue, n) for n in ("para_ppm", "dia_ppm"))
            moment = float((para - dia)[near].sum()) * 2.4**3
            # Within what its rough surface adds or takes.
            assert moment == pytest.approx(lesion.chi_ppm * volume, rel=0.2)
            continue
        assert float(where.sum()) * 2.4**3 == pytest.approx(volume, rel=0.35)
        more_para = float((ill.tissue.para_ppm - well.tissue.para_ppm)[where].mean())
        kept_dia = float(ill.tissue.dia_ppm[where].mean() / well.tissue.dia_ppm[where].mean())
        assert {"hyper": more_para > 0.01, "hyper_rim": more_para > 0.008, "hypo": more_para < -0.004}.get(
            lesion.para, more_para == 0
        )
        assert kept_dia < 0.8 if lesion.dia == "hypo" else kept_dia == 1
    elsewhere = ill.lesion_numbers == 0
    far = torch.nn.functional.max_pool3d((~elsewhere).float()[None], 7, 1, 3)[0] == 0
    assert torch.equal(ill.tissue.para_ppm[far], well.tissue.para_ppm[far])


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(InputError, match="no room"):
        head(GRID, resolution_mm=4.0, ms_lesions=2000)
    sheared = np.diag([4.0, 4.0, 4.0, 1.0])
    sheared[0, 1] = 1.0
    with pytest.raises(InputError, match="right angles"):
        head(Grid.from_affine((32, 32, 32), sheared))


def test_tilted_grids_have_their_b0():
    grid = tilted_grid((20, 20, 20), (1.0, 1.0, 2.0), 15.0)
    assert grid.b0_direction == pytest.approx((0.0, np.sin(np.deg2rad(15)), np.cos(np.deg2rad(15))))
    assert (np.asarray(grid.affine) @ [9.5, 9.5, 9.5, 1])[:3] == pytest.approx([0, 0, 0], abs=1e-9)
