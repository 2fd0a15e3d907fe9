"""The trained separation on the small head: better than closed forms, and clear about what it takes for granted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from QSMReconLib.data import Artifact, ChiMap, LocalField, R2PrimeMap, R2StarMap, SeparatedChi
from QSMReconLib.errors import InputError
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.chisepnet import ChiSepNet
from QSMReconLib.separation.nullseparation import NullSeparation
from QSMReconLib.separation.r2primefromr2star import R2PrimeFromR2Star

Head = dict[type[Artifact], Artifact]


def noisy(head: Head) -> Head:
    """The head with the noise of a scan: 1 ppb of field and of χ, 1 Hz of R2′."""
    generator = torch.Generator().manual_seed(3)
    local, chi, decay = head[LocalField], head[ChiMap], head[R2PrimeMap]
    assert isinstance(local, LocalField)
    assert isinstance(chi, ChiMap)
    assert isinstance(decay, R2PrimeMap)

    def noise(size: float) -> torch.Tensor:
        return size * torch.randn(local.grid.shape, generator=generator) * local.mask

    return head | {
        LocalField: replace(local, field_ppm=local.field_ppm + noise(1e-3)),
        ChiMap: replace(chi, chi_ppm=chi.chi_ppm + noise(5e-3)),
        R2PrimeMap: replace(decay, r2prime_hz=(decay.r2prime_hz + noise(1.0)).clamp(min=0)),
    }


def separate(head: Head, runtime: Runtime | None = None, **options: Any) -> SeparatedChi:
    with torch.inference_mode():
        (made,) = ChiSepNet(**options).run(head, runtime or Runtime())
    assert isinstance(made, SeparatedChi)
    return made


def errors(made: SeparatedChi, head: Head) -> list[float]:
    truth = head[SeparatedChi]
    assert isinstance(truth, SeparatedChi)
    pairs = ((made.chi_para_ppm, truth.chi_para_ppm), (made.chi_dia_ppm, truth.chi_dia_ppm))
    return [float((found - true).norm() / true.norm()) for found, true in pairs]


def test_is_nearer_to_both_sources_than_the_closed_form_is(small_head: Head) -> None:
    head = noisy(small_head)
    runtime = Runtime()
    found = errors(separate(head, runtime), head)
    with torch.inference_mode():
        (closed,) = NullSeparation().run(head, Runtime())
    assert isinstance(closed, SeparatedChi)
    assert all(ours < theirs for ours, theirs in zip(found, errors(closed, head), strict=True))
    said = " ".join(runtime.notes)
    assert "measured, from spin echoes" in said
    assert "% of the local field unexplained" in said


def test_the_zero_of_the_chi_map_does_not_matter_and_is_said(small_head: Head) -> None:
    chi = small_head[ChiMap]
    assert isinstance(chi, ChiMap)
    shifted = small_head | {ChiMap: replace(chi, chi_ppm=chi.chi_ppm + 0.05 * chi.mask)}
    runtime = Runtime()
    one, other = separate(small_head), separate(shifted, runtime)
    assert torch.allclose(one.chi_para_ppm, other.chi_para_ppm, atol=2e-3)
    assert any("ppb off that of the sources" in note for note in runtime.notes)


def test_r2prime_scales_with_b0_and_the_maps_do_not(small_head: Head) -> None:
    decay = small_head[R2PrimeMap]
    assert isinstance(decay, R2PrimeMap)
    seven = small_head | {R2PrimeMap: R2PrimeMap(decay.grid, decay.r2prime_hz * 7 / 3, 7.0)}
    one, other = separate(small_head), separate(seven)
    assert torch.allclose(one.chi_para_ppm, other.chi_para_ppm, atol=1e-4)


def test_another_dr_is_said_to_be_another_scale(small_head: Head) -> None:
    runtime = Runtime()
    separate(small_head, runtime, dr_hz_per_ppm=114.0)
    assert any("trained on 137 Hz/ppm" in note and "114" in note for note in runtime.notes)


def test_without_spin_echoes_r2prime_is_guessed_at_3_tesla_only(small_head: Head) -> None:
    head = {kind: item for kind, item in small_head.items() if kind is not R2PrimeMap}
    runtime = Runtime()
    made = separate(head, runtime)
    assert any("guessed from R2*" in note for note in runtime.notes)
    assert torch.isfinite(made.chi_dia_ppm).all()
    r2star = head[R2StarMap]
    assert isinstance(r2star, R2StarMap)
    seven = head | {R2StarMap: replace(r2star, field_strength_t=7.0)}
    with pytest.raises(InputError, match=r"knows R2\* at 3 T only, and this scan is of 7 T"):
        separate(seven)
    separate(seven, any_field_strength=True)


def test_nothing_to_take_r2prime_from_is_a_sentence(small_head: Head) -> None:
    bare = {kind: small_head[kind] for kind in (LocalField, ChiMap)}
    with pytest.raises(InputError, match=r"give --r2prime or --r2star, or put r2starfit before it"):
        separate(bare)
    with pytest.raises(InputError, match="told to use R2′, and there is none"):
        separate(bare | {R2StarMap: small_head[R2StarMap]}, source="r2prime")
    with pytest.raises(InputError, match="needs a χ map beside R2"), torch.inference_mode():
        R2PrimeFromR2Star(method="network").run({R2StarMap: small_head[R2StarMap]}, Runtime())
