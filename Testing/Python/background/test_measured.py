from types import SimpleNamespace

import torch

from QSMReconLib.background.measured import Measured, no_sphere
from QSMReconLib.data import FieldNoise, Mask, TotalField
from QSMReconLib.runtime import Runtime


def test_says_what_was_lost_and_what_may_be_left(head: SimpleNamespace) -> None:
    noise = FieldNoise(head.grid, 0.001 * head.mask)
    field = Measured.of(TotalField(head.grid, head.total), Mask(head.grid, head.mask), noise)
    assert field.grid.shape == field.field_ppm.shape
    runtime = Runtime()
    whole = field.local_field(field.field_ppm, field.known.mask, runtime)
    assert runtime.notes == []
    assert torch.equal(whole.field_ppm, head.total)
    half = field.known.mask.clone()
    half[: half.shape[0] // 2] = False
    part = field.local_field(field.field_ppm, half, runtime, no_sphere(3.0))
    lost, had = int(head.mask.sum() - half.sum()), int(head.mask.sum())
    assert runtime.notes == [
        f"The mask lost {lost} of {had} voxels ({100 * lost / had:.1f} %): a sphere of 3 mm does not fit there, or the "
        "field cannot be trusted."
    ]
    assert not part.field_ppm[~part.mask].any()
    assert whole.harmonic_ppm is not None
    local = field.local_field(field.box.cut(head.local), field.known.mask, runtime)
    assert local.harmonic_ppm is not None
    assert local.harmonic_ppm < 0.1 * whole.harmonic_ppm
