import pytest
import torch

from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.contrast import change_contrast, draw_solids
from QSMReconLib.training.shapes import Dice, draw_blob
from QSMReconLib.training.simulator import Simulator
from QSMReconLib.training.simulatorconfig import SimulatorConfig


@pytest.mark.parametrize("seed", range(12))
def test_a_contrast_change_rises_and_keeps_zero_and_the_order_of_size(seed: int) -> None:
    chi = torch.linspace(0, 0.4, 200).reshape(10, 5, 4)
    changed = change_contrast(Dice(seed), chi).flatten()
    assert float(changed[0]) == pytest.approx(0, abs=1e-6)
    assert bool((changed.diff() > 0).all())
    assert 0.19 < float(changed[-1]) < 0.61
    assert not torch.allclose(changed, chi.flatten(), rtol=1e-3)


def test_in_a_solid_one_source_is_all_there_is() -> None:
    shape, voxel = (40, 40, 20), (0.7, 0.7, 2.0)
    para, dia = torch.full(shape, 0.02), torch.full(shape, 0.03)
    draw_solids(Dice(1), para, dia, shape, voxel, 2.0)
    strong = (para > 0.2) | (dia > 0.2)
    assert bool(strong.any())
    assert float(torch.minimum(para, dia)[strong].median()) < 0.01
    assert float(para.max()) <= 2.0
    assert float(dia.max()) <= 2.0
    assert float(para.min()) >= 0


def test_a_sphere_is_round_in_mm() -> None:
    blob = draw_blob(Dice(3), (80, 80, 80), (0.5, 1.0, 2.0), 6.0, 0.5, "sphere")
    assert float(blob.cover.sum()) == pytest.approx(4 / 3 * torch.pi * 6**3, rel=0.05)


def test_what_is_never_drawn_changes_no_sample_and_what_is_drawn_does(ball_anatomy: Anatomy) -> None:
    plain = SimulatorConfig(sizes=(32,), thick_slices=0.0, geometric=0.0)
    one = Simulator(ball_anatomy, plain, 5).sample(2)
    for option in ({"solids": 1.0}, {"contrast": 1.0}):
        config = SimulatorConfig(sizes=(32,), thick_slices=0.0, geometric=0.0, **option)  # type: ignore[arg-type]
        other = Simulator(ball_anatomy, config, 5).sample(2)
        assert not torch.equal(other.chi_ppm, one.chi_ppm)
        assert torch.isfinite(other.field_ppm).all()
