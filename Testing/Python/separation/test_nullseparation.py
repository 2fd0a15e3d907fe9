from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from QSMReconLib.data import Artifact, ChiMap, Grid, R2PrimeMap, R2StarMap, SeparatedChi
from QSMReconLib.errors import InputError, OptionError
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.nullseparation import NullSeparation, null_separation
from QSMReconLib.separation.r2starqsm import R2StarQsm
from QSMReconLib.separation.relaxivity import DR_HZ_PER_PPM, at_field_strength

GRID = Grid.centred((5, 6, 7))


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    para, dia = torch.rand(2, *GRID.shape, generator=generator) * 0.1
    mask = torch.rand(GRID.shape, generator=generator) > 0.3
    return para * mask, dia * mask, mask


def separate(
    para: torch.Tensor, dia: torch.Tensor, mask: torch.Tensor, dr: float, tesla: float, runtime: Runtime | None = None
) -> SeparatedChi:
    """What the null separation makes of sources whose R2′ follows from a relaxivity of `dr` at 3 T."""
    chi = ChiMap(GRID, para - dia, mask)
    decay = R2PrimeMap(GRID, dr * tesla / 3 * (para + dia), tesla)
    return NullSeparation().apply(chi, decay, runtime or Runtime())


@pytest.mark.parametrize("tesla", [1.5, 3.0, 7.0])
def test_is_exact_where_both_sources_have_the_relaxivity_at_every_field_strength(tesla: float) -> None:
    para, dia, mask = maps()
    found = separate(para, dia, mask, DR_HZ_PER_PPM, tesla)
    torch.testing.assert_close(found.chi_para_ppm, para, atol=1e-7, rtol=0)
    torch.testing.assert_close(found.chi_dia_ppm, dia, atol=1e-7, rtol=0)


def test_iron_is_paramagnetic_and_calcium_diamagnetic_and_both_are_positive() -> None:
    chi = torch.tensor([0.1, -0.1])
    para, dia = null_separation(chi, chi.abs())
    assert para.tolist() == pytest.approx([0.1, 0.0])
    assert dia.tolist() == pytest.approx([0.0, 0.1])


def test_more_susceptibility_than_decay_is_clipped_and_said() -> None:
    para, dia, mask = maps()
    runtime = Runtime()
    found = separate(para, 0 * dia, mask, 0.5 * DR_HZ_PER_PPM, 3.0, runtime)
    assert not found.chi_dia_ppm.any()
    torch.testing.assert_close(found.chi_para_ppm, 0.75 * para)
    assert any("100 %" in note for note in runtime.notes)


def test_a_wrong_relaxivity_leaves_the_difference_right() -> None:
    para, dia, mask = maps()
    found = separate(para + 0.1 * mask, dia + 0.1 * mask, mask, 1.2 * DR_HZ_PER_PPM, 3.0)
    torch.testing.assert_close(found.chi_para_ppm - found.chi_dia_ppm, para - dia, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.chi_para_ppm + found.chi_dia_ppm, 1.2 * (para + dia + 0.2 * mask))


def test_says_its_relaxivity_at_this_field_strength() -> None:
    for tesla, words in ((3.0, "Dr is 137 Hz/ppm."), (7.0, "Dr is 137 Hz/ppm at 3 T, that is 319.7 Hz/ppm at 7 T.")):
        runtime = Runtime()
        separate(*maps(), DR_HZ_PER_PPM, tesla, runtime)
        assert runtime.notes == [words]


def test_nothing_outside_the_mask_reaches_the_result() -> None:
    para, dia, mask = maps()
    clean = separate(para, dia, mask, DR_HZ_PER_PPM, 3.0)
    decay = torch.where(mask, DR_HZ_PER_PPM * (para + dia), torch.nan)
    chi = torch.where(mask, para - dia, 7.0)
    found = NullSeparation().apply(ChiMap(GRID, chi, mask), R2PrimeMap(GRID, decay, 3.0), Runtime())
    assert torch.equal(found.chi_para_ppm, clean.chi_para_ppm)
    assert torch.equal(found.chi_dia_ppm, clean.chi_dia_ppm)


def test_bad_input_gets_a_sentence(small_head: dict[type[Artifact], Artifact]) -> None:
    chi, decay = small_head[ChiMap], small_head[R2PrimeMap]
    assert isinstance(chi, ChiMap)
    assert isinstance(decay, R2PrimeMap)
    elsewhere = replace(decay, grid=Grid.centred(decay.grid.shape, (1.0, 1.0, 1.0)))
    with pytest.raises(InputError, match="R2′ map is not on the grid"):
        NullSeparation().apply(chi, elsewhere, Runtime())
    with pytest.raises(InputError, match="not numbers"):
        NullSeparation().apply(chi, replace(decay, r2prime_hz=decay.r2prime_hz / 0), Runtime())
    with pytest.raises(InputError, match="field strength"):
        NullSeparation().apply(chi, replace(decay, field_strength_t=0.0), Runtime())
    with pytest.raises(OptionError, match="dr_hz_per_ppm"):
        NullSeparation(dr_hz_per_ppm=0)


@pytest.mark.parametrize("tesla", [3.0, 7.0])
def test_r2star_qsm_is_exact_where_half_of_the_decay_is_reversible(tesla: float) -> None:
    para, dia, mask = maps()
    decay = R2StarMap(GRID, 2 * at_field_strength(DR_HZ_PER_PPM, tesla) * (para + dia), tesla)
    runtime = Runtime()
    found = R2StarQsm().apply(ChiMap(GRID, para - dia, mask), decay, runtime)
    torch.testing.assert_close(found.chi_para_ppm, para, atol=1e-7, rtol=0)
    torch.testing.assert_close(found.chi_dia_ppm, dia, atol=1e-7, rtol=0)
    assert runtime.notes[0].startswith("a is 274 Hz/ppm")
