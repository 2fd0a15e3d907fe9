"""The review as a reader sees it: the right map in the right colour, with a scale, and again after loading a scene.

Pictures are compared with those in `pictures/`, coarsely: another graphics driver may draw letters otherwise, but not
another colour at another place. `QSMRECON_PICTURES=new pytest Testing/MRML` draws them anew; look at them before
committing.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from PIL import Image

from QSMReconUI import review
from QSMReconUI.review import CHI_VIEW, R2STAR_VIEW, Look, Maps

PICTURES = Path(__file__).parent / "pictures"
SIZE = 300
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
AFFINE[:3, 3] = (63, 63, -31)


@pytest.fixture
def maps(mrml: Any) -> Maps:
    """A grey head with iron on the reader's left, calcium on the right, and both mixed in the middle, at z = 0."""
    k, j, i = np.indices((32, 64, 64)).astype(float)
    x, y, z = -2 * i + 63, -2 * j + 63, 2 * k - 31

    def ball(cx: float, radius: float = 12) -> np.ndarray:
        return (x - cx) ** 2 + y**2 + z**2 < radius**2

    head = (x / 55) ** 2 + (y / 60) ** 2 + (z / 31) ** 2 < 1
    # Right of the patient is left on the screen.
    iron, calcium, both = ball(30), ball(-30), ball(0)
    para = 0.09 * iron + 0.06 * both + 0.01 * head
    dia = 0.09 * calcium + 0.06 * both + 0.01 * head

    def volume(name: str, voxels: np.ndarray) -> Any:
        return slicer.util.addVolumeFromArray(voxels.astype(np.float32), AFFINE, name)

    return Maps(
        base=volume("magnitude", 500 * head * (1 + 0.3 * np.sin(y / 6))),
        para=volume("para", para),
        dia=volume("dia", dia),
        chi=volume("chi", para - dia),
        r2star=volume("r2star", 15 * head + 30 * (iron | calcium)),
    )


@pytest.fixture
def views(make_view: Callable[..., Any]) -> dict[str, Any]:
    """The views of the review layout."""
    kinds = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal", CHI_VIEW: "Axial", R2STAR_VIEW: "Axial"}
    return {name: make_view(name, orientation, (SIZE, SIZE)) for name, orientation in kinds.items()}


def show(mrml: Any, views: dict[str, Any], maps: Maps, look: Look) -> dict[str, np.ndarray]:
    review.show(mrml.scene, maps, look)
    review.fit([view.logic for view in views.values()], maps.para)
    return {name: view.picture() for name, view in views.items()}


def colour_at(mrml: Any, views: dict[str, Any], pictures: dict[str, np.ndarray], name: str, ras: Any) -> np.ndarray:
    """The colour at a point of the head."""
    to_xy = slicer.vtkMRMLSliceNode.SafeDownCast(views[name].logic.GetSliceNode()).GetXYToRAS()
    matrix = np.array([[to_xy.GetElement(r, c) for c in range(4)] for r in range(4)])
    column, row, *_ = np.linalg.solve(matrix, [*ras, 1.0])
    return pictures[name][SIZE - 1 - round(row), round(column)].astype(int)


def is_warm(rgb: np.ndarray) -> bool:
    return bool(rgb[0] > rgb[2] + 60)


def is_cool(rgb: np.ndarray) -> bool:
    return bool(rgb[2] > rgb[0] + 60)


def is_grey(rgb: np.ndarray) -> bool:
    return int(np.ptp(rgb)) < 12


IRON, CALCIUM, BOTH, TISSUE = (30, 0, 0), (-30, 0, 0), (0, 0, 0), (0, 40, 0)


def test_iron_is_warm_and_calcium_cool_at_the_same_time(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    pictures = show(mrml, views, maps, Look())
    at = [colour_at(mrml, views, pictures, "Red", point) for point in (IRON, CALCIUM, TISSUE)]
    assert is_warm(at[0])
    assert is_cool(at[1])
    assert is_grey(at[2])
    # Iron lies on the patient's right, which is on the reader's left.
    warm = np.argwhere(pictures["Red"][100:, :, 0].astype(int) > pictures["Red"][100:, :, 2].astype(int) + 60)[:, 1]
    assert np.median(warm) < SIZE / 2


def test_below_the_threshold_nothing_is_coloured(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    pictures = show(mrml, views, maps, Look(para_threshold_ppb=110))
    assert is_grey(colour_at(mrml, views, pictures, "Red", IRON))
    assert is_cool(colour_at(mrml, views, pictures, "Red", CALCIUM))
    pictures = show(mrml, views, maps, Look(para_threshold_ppb=5, dia_threshold_ppb=110))
    assert is_warm(colour_at(mrml, views, pictures, "Red", TISSUE))
    assert not is_cool(colour_at(mrml, views, pictures, "Red", CALCIUM))


@pytest.mark.parametrize(("fade", "warm", "cool"), [(-1.0, True, False), (0.0, True, True), (1.0, False, True)])
def test_the_fader_goes_from_one_map_to_the_other(
    mrml: Any, views: dict[str, Any], maps: Maps, fade: float, warm: bool, cool: bool
) -> None:
    pictures = show(mrml, views, maps, Look(fade=fade))
    assert is_warm(colour_at(mrml, views, pictures, "Red", IRON)) is warm
    assert is_cool(colour_at(mrml, views, pictures, "Red", CALCIUM)) is cool


def test_the_fader_is_smooth() -> None:
    assert Look(para_opacity=0.8, dia_opacity=0.6, fade=-0.5).opacities == pytest.approx((0.8, 0.3))
    assert Look(para_opacity=0.4, dia_opacity=0.6, fade=0.25).opacities == pytest.approx((0.3, 0.6))


def test_where_both_are_both_are_seen(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    both = colour_at(mrml, views, show(mrml, views, maps, Look()), "Red", BOTH)
    cool = colour_at(mrml, views, show(mrml, views, maps, Look(fade=1)), "Red", BOTH)
    warm = colour_at(mrml, views, show(mrml, views, maps, Look(fade=-1)), "Red", BOTH)
    assert np.abs(both - cool).max() > 40
    assert np.abs(both - warm).max() > 40


def test_opacity_lets_the_anatomy_through(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    strong = colour_at(mrml, views, show(mrml, views, maps, Look(para_opacity=1.0)), "Red", IRON)
    weak = colour_at(mrml, views, show(mrml, views, maps, Look(para_opacity=0.3)), "Red", IRON)
    assert np.ptp(weak) < 0.6 * np.ptp(strong)


def test_the_other_planes_show_the_same(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    pictures = show(mrml, views, maps, Look())
    assert is_warm(colour_at(mrml, views, pictures, "Green", IRON))
    assert is_cool(colour_at(mrml, views, pictures, "Green", CALCIUM))


def test_chi_and_r2star_stand_beside_it_in_grey(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    pictures = show(mrml, views, maps, Look())
    for name in (CHI_VIEW, R2STAR_VIEW):
        for point in (IRON, CALCIUM, TISSUE):
            assert is_grey(colour_at(mrml, views, pictures, name, point))
    bright, dark, middle = (int(colour_at(mrml, views, pictures, CHI_VIEW, p)[0]) for p in (IRON, CALCIUM, TISSUE))
    assert bright > 230
    assert dark < 25
    assert abs(middle - 128) < 10


def test_every_view_that_shows_numbers_has_a_scale(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    with_scales = show(mrml, views, maps, Look())
    without = show(mrml, views, maps, Look(legends=False))
    for name, number in (("Red", 2), (CHI_VIEW, 1), (R2STAR_VIEW, 1), ("Green", 0)):
        changed = (with_scales[name].astype(int) - without[name]).any(axis=2)
        halves = [changed[:, : SIZE // 2].sum() > 200, changed[:, SIZE // 2 :].sum() > 200]
        assert sum(halves) == number, name


def legends(mrml: Any) -> dict[str, Any]:
    kind = "vtkMRMLColorLegendDisplayNode"
    found = [mrml.scene.GetNthNodeByClass(i, kind) for i in range(mrml.scene.GetNumberOfNodesByClass(kind))]
    return {legend.GetTitleText(): legend for legend in found}


def test_scales_are_in_ppb_and_follow_the_window(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    for window in (100.0, 250.0):
        show(mrml, views, maps, Look(window_ppb=window))
        spans = {title: legend.GetPrimaryDisplayNode().GetScalarRange() for title, legend in legends(mrml).items()}
        assert spans == {
            "chi_para [ppb]": (0, window),
            "chi_dia [ppb]": (0, window),
            "chi [ppb]": (-window, window),
            "R2* [Hz]": (0, 50),
        }
        display = maps.para.GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel()) == pytest.approx((window / 1000, window / 2000))


def test_a_map_that_is_faded_out_has_no_scale(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    show(mrml, views, maps, Look(fade=1))
    assert "chi_para [ppb]" not in legends(mrml)
    assert "chi_dia [ppb]" in legends(mrml)


def test_scales_are_neither_saved_nor_left_behind(mrml: Any, views: dict[str, Any], maps: Maps, tmp_path: Path) -> None:
    for _ in range(3):
        show(mrml, views, maps, Look())
    assert len(legends(mrml)) == 4
    review.remove_legends(mrml.scene)
    assert legends(mrml) == {}
    assert not [
        mrml.scene.GetNthNodeByClass(i, "vtkMRMLModelNode").GetName()
        for i in range(mrml.scene.GetNumberOfNodesByClass("vtkMRMLModelNode"))
        if mrml.scene.GetNthNodeByClass(i, "vtkMRMLModelNode").GetAttribute("QSMRecon.Legend")
    ]


@pytest.mark.parametrize("missing", ["base", "para", "dia", "chi", "r2star"])
def test_any_map_may_be_missing(mrml: Any, views: dict[str, Any], maps: Maps, missing: str) -> None:
    pictures = show(mrml, views, replace(maps, **{missing: None}), Look())
    if missing != "para":
        assert is_warm(colour_at(mrml, views, pictures, "Red", IRON))
    if missing != "dia":
        assert is_cool(colour_at(mrml, views, pictures, "Red", CALCIUM))
    assert pictures[CHI_VIEW].max() > 0
    assert pictures[R2STAR_VIEW].max() > 0


def test_nothing_at_all_does_no_harm(mrml: Any, views: dict[str, Any]) -> None:
    show(mrml, views, Maps(), Look())


def test_views_are_linked(mrml: Any, views: dict[str, Any], maps: Maps) -> None:
    show(mrml, views, maps, Look())
    assert all(review.composite_node(mrml.scene, name).GetLinkedControl() for name in views)


def test_what_slicer_does_not_save_is_set_again(mrml: Any, views: dict[str, Any], maps: Maps, tmp_path: Path) -> None:
    look = Look(dia_opacity=0.625)
    before = show(mrml, views, maps, look)["Red"]
    mrml.save(tmp_path / "scene.mrb")
    with zipfile.ZipFile(tmp_path / "scene.mrb") as archive:
        (scene_file,) = (name for name in archive.namelist() if name.endswith(".mrml"))
        assert "0.625" not in archive.read(scene_file).decode(), "Slicer saves the layer now: we need not set it again"
    mrml.scene.Clear(False)
    # A fresh application has neither the layer nor its opacity.
    review.composite_node(mrml.scene, "Red").SetNthLayerVolumeID(review.DIA_LAYER, None)
    review.composite_node(mrml.scene, "Red").SetNthLayerOpacity(review.DIA_LAYER, 1.0)
    mrml.load(tmp_path / "scene.mrb", tmp_path / "cache")
    assert legends(mrml) == {}
    again = Maps(*(mrml.scene.GetFirstNodeByName(name) for name in ("magnitude", "para", "dia", "chi", "r2star")))
    assert again.para.GetDisplayNode().GetColorNode().GetName() == review.WARM_NAME
    assert np.abs(views["Red"].picture().astype(int) - before).max() > 100
    after = show(mrml, views, again, look)["Red"]
    assert np.abs(after.astype(int) - before).max() < 8
    kind = "vtkMRMLColorTableNode"
    tables = [mrml.scene.GetNthNodeByClass(i, kind).GetName() for i in range(mrml.scene.GetNumberOfNodesByClass(kind))]
    assert tables.count(review.WARM_NAME) == tables.count(review.COOL_NAME) == 1


def test_the_newest_results_are_found(mrml: Any, maps: Maps) -> None:
    for node, bids in ((maps.para, "desc-para_Chimap"), (maps.chi, "Chimap"), (maps.r2star, "Chimap")):
        node.SetAttribute("QSMRecon.Map", bids)
    assert review.newest_maps(mrml.scene) == Maps(None, maps.para, None, maps.r2star, None)


def test_the_layout_is_one_that_slicer_understands(mrml: Any) -> None:
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLApplicationLogic(mrml.application)
    logic.SetMRMLScene(mrml.scene)
    node = logic.GetLayoutNode()
    assert node.AddLayoutDescription(review.LAYOUT, review.LAYOUT_XML)
    node.SetViewArrangement(review.LAYOUT)
    planes = {name: review.slice_node(mrml.scene, name) for name in (*review.OVERLAY_VIEWS, CHI_VIEW, R2STAR_VIEW)}
    assert [plane.GetOrientation() for plane in planes.values()] == ["Axial", "Coronal", "Sagittal", "Axial", "Axial"]
    assert planes[CHI_VIEW].GetLayoutLabel() == "χ"


@pytest.mark.parametrize("name", ["Red", "Green", CHI_VIEW, R2STAR_VIEW])
def test_pictures_are_what_they_were(mrml: Any, views: dict[str, Any], maps: Maps, name: str) -> None:
    picture = show(mrml, views, maps, Look())[name]
    file = PICTURES / f"{name}.png"
    if os.environ.get("QSMRECON_PICTURES") == "new":
        PICTURES.mkdir(exist_ok=True)
        Image.fromarray(picture).save(file, optimize=True)
    stored = np.asarray(Image.open(file).convert("RGB"))

    def coarse(image: np.ndarray) -> np.ndarray:
        return image.reshape(SIZE // 10, 10, SIZE // 10, 10, 3).mean(axis=(1, 3))

    assert np.abs(coarse(picture) - coarse(stored)).max() < 24
