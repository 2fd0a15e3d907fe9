"""The zero of χ, by every region."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from QSMReconLib.data import Artifact, ChiMap, CsfMask, LabelMap
from QSMReconLib.errors import InputError
from QSMReconLib.referencing.reference import Reference
from QSMReconLib.runtime import Runtime

Head = dict[type[Artifact], Artifact]


def given(head: Head) -> tuple[ChiMap, CsfMask, LabelMap]:
    chi, csf, labels = (head[kind] for kind in (ChiMap, CsfMask, LabelMap))
    assert isinstance(chi, ChiMap)
    assert isinstance(csf, CsfMask)
    assert isinstance(labels, LabelMap)
    return chi, csf, labels


@pytest.mark.parametrize("region", ["brain", "csf", "label"])
def test_the_region_has_mean_zero_and_contrasts_stay(small_head: Head, region: str) -> None:
    chi, csf, labels = given(small_head)
    shifted = replace(chi, chi_ppm=chi.chi_ppm + 0.03 * chi.mask)
    made = Reference(region=region, label=2).apply(shifted, Runtime(), csf, labels)
    where = {"brain": chi.mask, "csf": csf.voxels, "label": labels.numbers == 2}[region] & chi.mask
    assert made.chi_ppm[where].mean().abs() < 1e-7
    assert not made.chi_ppm[~chi.mask].any()
    difference = (shifted.chi_ppm - made.chi_ppm)[chi.mask]
    assert float(difference.std()) < 1e-7
    assert f"{1e3 * float(difference.mean()):.2f} ppb" in made.reference


def test_a_region_that_cannot_be_had_is_refused_or_said(small_head: Head) -> None:
    chi, csf, labels = given(small_head)
    with pytest.raises(InputError, match="findcsf"):
        Reference(region="csf").apply(chi, Runtime())
    with pytest.raises(InputError, match="--labels"):
        Reference(region="label").apply(chi, Runtime())
    with pytest.raises(InputError, match="no voxel"):
        Reference(region="label", label=77).apply(chi, Runtime(), labels=labels)
    runtime = Runtime()
    empty = replace(csf, voxels=torch.zeros_like(csf.voxels))
    made = Reference(region="csf").apply(chi, runtime, empty)
    assert made.reference.startswith("the whole brain")
    assert "whole brain" in runtime.notes[0]
