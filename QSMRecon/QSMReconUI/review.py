"""The review: magnitude with χ_para in warm and χ_dia in cool colours over it, χ and R2* beside it.

χ_dia stands in the first layer above the label layer, which Slicer leaves out of saved scenes, and Slicer's own colour
legends neither know that layer nor any unit but the voxels'. So the layers are set again after a scene was loaded, and
each legend belongs to an empty, hidden model whose scalars run from 0 to the window in ppb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from .colours import COOL_NAME, WARM_NAME, colour_table
from .exchange import declared_volumes
from .scan import RESULT

PARA, DIA, CHI, R2STAR = "desc-para_Chimap", "desc-dia_Chimap", "Chimap", "R2starmap"

OVERLAY_VIEWS = ("Red", "Green", "Yellow")
CHI_VIEW, R2STAR_VIEW = "QSMReconChi", "QSMReconR2star"
DIA_LAYER = 3
"""The first layer above background, foreground and label."""

LAYOUT = 7201
"""Any number that no other layout has."""

PPB = 1000.0

GREY = "vtkMRMLColorTableNodeGrey"
LEFT, RIGHT, SMALL = (0.02, 0.88, 0.16, 0.24), (0.98, 0.88, 0.16, 0.24), (0.98, 0.8, 0.2, 0.4)
"""Where a legend stands in its view (left, bottom) and its size (width, height), as fractions of the view."""

_LEGEND = "QSMRecon.Legend"


def _view(tag: str, orientation: str, label: str, colour: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{colour}</property></view></item>'
    )


LAYOUT_XML = (
    '<layout type="horizontal" split="true">'
    + _view("Red", "Axial", "R", "#F34A33")
    + '<item><layout type="vertical" split="true"><item><layout type="horizontal" split="true">'
    + _view("Green", "Coronal", "G", "#6EB04B")
    + _view("Yellow", "Sagittal", "Y", "#EDD54C")
    + '</layout></item><item><layout type="horizontal" split="true">'
    + _view(CHI_VIEW, "Axial", "χ", "#8C8C8C")
    + _view(R2STAR_VIEW, "Axial", "R2*", "#8C8C8C")
    + "</layout></item></layout></item></layout>"
)


@dataclass(frozen=True)
class Maps:
    """The volumes under review; any may be None."""

    base: Any = None
    para: Any = None
    dia: Any = None
    chi: Any = None
    r2star: Any = None


@dataclass(frozen=True)
class Look:
    """How they are shown. `fade` runs from -1 (χ_para alone) over 0 (both) to 1 (χ_dia alone).

    χ_dia lies on top: it lets through what is below, or a voxel that holds both would show it alone. Normal cortex
    holds about 25 to 40 ppb of χ_para: coloured, it would cover half of the picture.
    """

    window_ppb: float = 100.0
    para_threshold_ppb: float = 40.0
    dia_threshold_ppb: float = 25.0
    para_opacity: float = 0.8
    dia_opacity: float = 0.55
    fade: float = 0.0
    legends: bool = True

    @property
    def opacities(self) -> tuple[float, float]:
        """The opacities of χ_para and χ_dia after the fader."""
        return self.para_opacity * min(1.0, 1.0 - self.fade), self.dia_opacity * min(1.0, 1.0 + self.fade)


def newest_maps(scene: Any) -> Maps:
    """The maps that were loaded last; the base is for the caller to choose."""
    found: dict[str, Any] = {}
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode")
        bids = node.GetAttribute(RESULT)
        if bids is not None:
            found[bids] = node
    return Maps(None, found.get(PARA), found.get(DIA), found.get(CHI), found.get(R2STAR))


def show(scene: Any, maps: Maps, look: Look) -> None:
    """Put the maps into the views of the review layout, as `look` says. Views that are not there are passed over."""
    _colour_maps(scene, maps, look)
    if maps.chi is not None:
        _window(maps.chi, -look.window_ppb / PPB, look.window_ppb / PPB)
    base = maps.base or maps.chi or maps.r2star
    # What a reader has set by hand stays.
    if maps.base is not None and maps.base.GetDisplayNode().GetAutoWindowLevel():
        _contrast(maps.base)
    for name in OVERLAY_VIEWS:
        _layers(scene, name, base, (maps.para, maps.dia), look.opacities)
    _layers(scene, CHI_VIEW, maps.chi or base)
    _layers(scene, R2STAR_VIEW, maps.r2star or base)
    remove_legends(scene)
    if look.legends:
        _legends(scene, maps, look)


def restyle(scene: Any, maps: Maps, look: Look) -> None:
    """Only thresholds and opacities, for a slider that moves: the quick part of `show`."""
    _colour_maps(scene, maps, look)
    for name in OVERLAY_VIEWS:
        composite = composite_node(scene, name)
        if composite is not None:
            _set_opacities(composite, maps.para is not None, maps.dia is not None, look.opacities)


def fit(slice_logics: Sequence[Any], focus: Any) -> None:
    """Centre the slices on what `focus` shows (its non-zero voxels) and fit them to the view."""
    centre = None if focus is None else _middle(focus)
    for logic in slice_logics:
        logic.FitSliceToBackground()
        node = logic.GetSliceNode()
        if centre is not None:
            node.JumpSliceByOffsetting(*centre)


def add_rulers(scene: Any) -> None:
    """A ruler and the body's axes in every view of the layout; who turns them off keeps it so until the layout is asked
    for again."""
    for name in (*OVERLAY_VIEWS, CHI_VIEW, R2STAR_VIEW):
        view = slice_node(scene, name)
        if view is not None:
            view.SetRulerType(view.RulerTypeThin)
            # White is lost on skin and on the grey of χ.
            view.SetRulerColor(view.RulerColorYellow)
            view.SetOrientationMarkerType(view.OrientationMarkerTypeAxes)
            view.SetOrientationMarkerSize(view.OrientationMarkerSizeSmall)


def slice_node(scene: Any, name: str) -> Any:
    """The slice view called `name`, or None."""
    return scene.GetSingletonNode(name, "vtkMRMLSliceNode")


def composite_node(scene: Any, name: str) -> Any:
    """What the slice view called `name` shows, or None."""
    return scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")


def remove_legends(scene: Any) -> None:
    """Take the legends out of the scene."""
    models = [
        scene.GetNthNodeByClass(i, "vtkMRMLModelNode") for i in range(scene.GetNumberOfNodesByClass("vtkMRMLModelNode"))
    ]
    for model in models:
        if model.GetAttribute(_LEGEND) is not None:
            for index in reversed(range(model.GetNumberOfDisplayNodes())):
                scene.RemoveNode(model.GetNthDisplayNode(index))
            scene.RemoveNode(model)


def _layers(
    scene: Any, name: str, base: Any, overlays: Sequence[Any] = (None, None), opacities: Sequence[float] = (0, 0)
) -> None:
    composite = composite_node(scene, name)
    if composite is None:
        return
    para, dia = overlays
    composite.SetBackgroundVolumeID(_id(base))
    composite.SetForegroundVolumeID(_id(para))
    composite.SetNthLayerVolumeID(DIA_LAYER, _id(dia))
    _set_opacities(composite, para is not None, dia is not None, opacities)
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)


def _set_opacities(composite: Any, para: bool, dia: bool, opacities: Sequence[float]) -> None:
    composite.SetForegroundOpacity(opacities[0] if para else 0.0)
    composite.SetNthLayerOpacity(DIA_LAYER, opacities[1] if dia else 0.0)


def _id(node: Any) -> str | None:
    return None if node is None else node.GetID()


def _colour_maps(scene: Any, maps: Maps, look: Look) -> None:
    if maps.para is not None:
        _colour(maps.para, colour_table(scene, WARM_NAME), look.window_ppb, look.para_threshold_ppb)
    if maps.dia is not None:
        _colour(maps.dia, colour_table(scene, COOL_NAME), look.window_ppb, look.dia_threshold_ppb)


def _colour(node: Any, table: Any, window_ppb: float, threshold_ppb: float) -> None:
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(table.GetID())
    _window(node, 0.0, window_ppb / PPB)
    # The upper end follows the data: a made-up huge one would stretch the sliders of the Volumes module.
    upper = max(float(node.GetImageData().GetScalarRange()[1]), threshold_ppb / PPB)
    display.SetThreshold(threshold_ppb / PPB, upper)
    display.SetApplyThreshold(True)


def _window(node: Any, low: float, high: float) -> None:
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(high - low, (high + low) / 2)


def _contrast(node: Any) -> None:
    """A window from the voxels that hold signal: skin and fat are far brighter than the brain."""
    voxels = slicer.util.arrayFromVolume(node)[::2, ::2, ::2]
    signal = voxels[voxels > 0.1 * np.percentile(voxels, 99)]
    if signal.size:
        _window(node, 0.0, float(np.percentile(signal, 90)) * 1.3)


def _middle(node: Any) -> tuple[float, float, float] | None:
    """The middle of the voxels that are not zero, RAS mm."""
    inside = np.argwhere(slicer.util.arrayFromVolume(node)[::2, ::2, ::2] != 0)
    if not inside.size:
        return None
    k, j, i = 2 * (inside.min(axis=0) + inside.max(axis=0)) / 2
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    x, y, z, _ = matrix.MultiplyPoint((i, j, k, 1.0))
    return x, y, z


def _legends(scene: Any, maps: Maps, look: Look) -> None:
    full = look.window_ppb
    para, dia = look.opacities
    red, chi_view, r2star_view = (slice_node(scene, name) for name in (OVERLAY_VIEWS[0], CHI_VIEW, R2STAR_VIEW))
    # Slicer's fonts have no χ.
    if maps.para is not None and para > 0:
        _legend(scene, red, "chi_para [ppb]", colour_table(scene, WARM_NAME).GetID(), (0, full), LEFT)
    if maps.dia is not None and dia > 0:
        _legend(scene, red, "chi_dia [ppb]", colour_table(scene, COOL_NAME).GetID(), (0, full), RIGHT)
    if maps.chi is not None:
        _legend(scene, chi_view, "chi [ppb]", GREY, (-full, full), SMALL)
    if maps.r2star is not None:
        _legend(scene, r2star_view, "R2* [Hz]", GREY, declared_volumes()[R2STAR].window, SMALL, labels=6)


def _legend(
    scene: Any, view: Any, title: str, colours: str, span: Sequence[float], place: Sequence[float], labels: int = 5
) -> None:
    if view is None:
        return
    model = slicer.vtkMRMLModelNode()
    model.SetName(title)
    model.SetAttribute(_LEGEND, title)
    model.SetHideFromEditors(True)
    model.SetSaveWithScene(False)
    model = scene.AddNode(model)
    model.SetAndObservePolyData(vtk.vtkPolyData())
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetAndObserveColorNodeID(colours)
    display.SetScalarVisibility(True)
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    display.SetScalarRange(*span)
    display.SetVisibility2D(True)
    display.AddViewNodeID(view.GetID())
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(display)
    legend.SetSaveWithScene(False)
    legend.SetTitleText(title)
    legend.SetLabelFormat("%.0f")
    legend.SetNumberOfLabels(labels)
    legend.SetPosition(*place[:2])
    legend.SetSize(*place[2:])
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontSize(12)
        text.SetFontFamilyToArial()
    legend.AddViewNodeID(view.GetID())
