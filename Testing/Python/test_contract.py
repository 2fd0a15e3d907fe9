"""What every stage owes to those who run it, whatever its method."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from QSMReconLib.data import Artifact, LocalField, Mask
from QSMReconLib.errors import Cancelled, OptionError
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage, stage_from_json, stages

ALL = list(stages().values())
every_stage = pytest.mark.parametrize("kind", ALL, ids=[kind.name for kind in ALL])
Head = dict[type[Artifact], Artifact]


def tensors(artifact: Artifact) -> dict[str, torch.Tensor]:
    found = {item.name: getattr(artifact, item.name) for item in fields(artifact)}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def run(kind: type[Stage], head: Head, **options: Any) -> tuple[Artifact, ...]:
    with torch.inference_mode():
        return kind(**options).run(head, Runtime())


@every_stage
def test_makes_what_its_annotation_says_finite_and_zero_outside_the_mask(kind: type[Stage], small_head: Head) -> None:
    made = run(kind, small_head)
    assert tuple(type(artifact) for artifact in made) == kind.makes()
    brain = small_head[Mask].voxels
    assert isinstance(brain, torch.Tensor)
    for artifact in made:
        assert artifact.grid == small_head[Mask].grid
        for name, tensor in tensors(artifact).items():
            assert tensor.shape[-3:] == artifact.grid.shape
            assert tensor.dtype in (torch.float32, torch.bool), f"{name} is {tensor.dtype}"
            assert torch.isfinite(tensor).all()
            if Mask in kind.needs().values() or LocalField in kind.needs().values():
                assert not tensor[..., ~brain].any(), f"{name} is not zero outside the mask"


@every_stage
def test_leaves_its_input_untouched_and_is_deterministic(kind: type[Stage], small_head: Head) -> None:
    before = {k: {n: t.clone() for n, t in tensors(artifact).items()} for k, artifact in small_head.items()}
    first, second = run(kind, small_head), run(kind, small_head)
    for given, kept in before.items():
        for name, tensor in tensors(small_head[given]).items():
            assert torch.equal(tensor, kept[name]), f"{given.__name__}.{name} was changed"
    for one, other in zip(first, second, strict=True):
        for name, tensor in tensors(one).items():
            assert torch.equal(tensor, tensors(other)[name])


@every_stage
def test_says_what_it_is_and_where_it_comes_from(kind: type[Stage]) -> None:
    assert len(kind.summary()) > 30
    assert kind.makes()
    for declared in kind.options():
        assert declared.text, f"{declared.name} has no explanation"


@every_stage
def test_options_are_checked_and_round_trip(kind: type[Stage]) -> None:
    assert stage_from_json(kind().to_json()) == kind()
    with pytest.raises(OptionError, match="has no option"):
        kind.with_options({"no_such_option": 1})
    for declared in kind.options():
        if declared.minimum is not None:
            with pytest.raises(OptionError, match=declared.name):
                kind.with_options({declared.name: declared.minimum - 1})
        if declared.maximum is not None:
            with pytest.raises(OptionError, match=declared.name):
                kind.with_options({declared.name: declared.maximum + 1})
        if declared.choices:
            with pytest.raises(OptionError, match="choose one of"):
                kind.with_options({declared.name: "no such choice"})


@every_stage
def test_stops_when_told(kind: type[Stage], small_head: Head) -> None:
    told = []

    def stop(stage: str, fraction: float, text: str) -> bool:
        told.append(fraction)
        return False

    try:
        kind().run(small_head, Runtime(report=stop))
    except Cancelled:
        assert len(told) == 1
    else:
        assert not told, "the stage went on after it had been told to stop"


@pytest.mark.gpu
@every_stage
def test_gives_the_same_on_a_gpu(kind: type[Stage], small_head: Head) -> None:
    """To a thousandth, or to twice what a millionth more or less of every input changes: rounding does as much."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    there = {given: artifact.to("cuda") for given, artifact in small_head.items()}
    nudged = run(kind, {given: nudge(artifact) for given, artifact in small_head.items()})
    for here, beside, gone in zip(run(kind, small_head), nudged, kind().run(there, Runtime("cuda")), strict=True):
        for name, tensor in tensors(here).items():
            other = tensors(gone)[name]
            assert other.device.type == "cuda"
            rounding = float((tensor.float() - tensors(beside)[name].float()).abs().max())
            allowed = 1e-3 * float(tensor.float().abs().max()) + 2 * rounding
            assert float((tensor.float() - other.cpu().float()).abs().max()) <= allowed, name


def nudge(artifact: Artifact) -> Artifact:
    """The artifact with a millionth more or less in every number."""
    generator = torch.Generator().manual_seed(0)
    moved = {}
    for name, tensor in tensors(artifact).items():
        if tensor.is_floating_point():
            moved[name] = tensor * (1 + 1e-6 * torch.randn(tensor.shape, generator=generator))
    return replace(artifact, **moved)


@every_stage
def test_follows_the_axes(kind: type[Stage], small_head: Head) -> None:
    """Two axes swapped and one of them run backwards: the same result, stored otherwise."""

    def turn(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.transpose(-3, -2).flip(-3)

    grid = small_head[Mask].grid
    (nx, ny, nz), (bx, by, bz) = grid.shape, grid.b0_direction
    affine = np.asarray(grid.affine) @ [[0, 1, 0, 0], [-1, 0, 0, ny - 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    turned_grid = type(grid).from_affine((ny, nx, nz), affine, (-by, bx, bz))
    turned = {}
    for given, artifact in small_head.items():
        moved = {name: turn(tensor).contiguous() for name, tensor in tensors(artifact).items()}
        turned[given] = replace(artifact, grid=turned_grid, **moved)
    for here, there in zip(run(kind, small_head), run(kind, turned), strict=True):
        for name, tensor in tensors(here).items():
            expected, found = turn(tensor).float(), tensors(there)[name].float()
            scale = float(expected.abs().max()) or 1.0
            off = (expected - found).abs() > 2e-3 * scale
            assert off.float().mean() < 1e-3, f"{name} differs in {int(off.sum())} voxels"
