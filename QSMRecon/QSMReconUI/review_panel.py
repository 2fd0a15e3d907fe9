"""The panel that shows: which maps, the review layout, thresholds, opacities and the fader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import slicer

from .panel import Panel, Shared, guarded
from .review import LAYOUT, LAYOUT_XML, Look, Maps, add_rulers, fit, newest_maps, remove_legends, restyle, show

ROLES = ("base", "para", "dia", "chi", "r2star")


class ReviewPanel(Panel):
    """The review's selectors and sliders are bound to the parameter node; this puts what they say on screen."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._shown: tuple[Maps, Look] | None = None
        self.ui.reviewButton.clicked.connect(self.start)
        self.ui.newestButton.clicked.connect(self._take_newest)

    def maps(self) -> Maps:
        """The volumes chosen."""
        return Maps(*(getattr(self.parameters, role) for role in ROLES))

    def look(self) -> Look:
        """How to show them."""
        p = self.parameters
        return Look(
            window_ppb=p.windowPpb,
            para_threshold_ppb=p.paraThresholdPpb,
            dia_threshold_ppb=p.diaThresholdPpb,
            para_opacity=p.paraOpacity,
            dia_opacity=p.diaOpacity,
            fade=p.fade,
            legends=p.legends,
        )

    @guarded
    def refresh(self) -> None:
        """Follow the selectors and the sliders while the review is on."""
        maps = self.maps()
        self.ui.reviewButton.setEnabled(maps != Maps())
        if not self.parameters.reviewing or maps == Maps():
            return
        look, before = self.look(), self._shown
        if before == (maps, look):
            return
        self._shown = (maps, look)
        if before is not None and _same_layers_and_scales(before, (maps, look)):
            restyle(slicer.mrmlScene, maps, look)
        else:
            show(slicer.mrmlScene, maps, look)

    def take(self, maps: Maps) -> None:
        """Choose these maps, and show them if a review is on."""
        with slicer.util.NodeModify(self.parameters):
            for role in ROLES:
                setattr(self.parameters, role, getattr(maps, role))

    @guarded
    def start(self, *_: Any) -> None:
        """Switch to the review layout and show the maps in it."""
        manager = slicer.app.layoutManager()
        if manager is None:
            return  # Slicer runs without its main window.
        layouts = manager.layoutLogic().GetLayoutNode()
        if not layouts.IsLayoutDescription(LAYOUT):
            layouts.AddLayoutDescription(LAYOUT, LAYOUT_XML)
        manager.setLayout(LAYOUT)
        add_rulers(slicer.mrmlScene)
        maps, look = self.maps(), self.look()
        self._shown = (maps, look)
        self.parameters.reviewing = True
        show(slicer.mrmlScene, maps, look)
        logics = manager.mrmlSliceLogics()
        fit([logics.GetItemAsObject(i) for i in range(logics.GetNumberOfItems())], maps.para or maps.chi or maps.r2star)

    @guarded
    def scene_loaded(self) -> None:
        """Slicer has not saved the layer of χ_dia: set everything again."""
        self._shown = None
        if self.parameters is not None and self.parameters.reviewing and self.maps() != Maps():
            self.start()

    def scene_closes(self) -> None:
        """Nothing of the old scene is shown any more."""
        self._shown = None

    def cleanup(self) -> None:
        """The window goes away; the layers may stay, the legends' hidden models should not."""
        remove_legends(slicer.mrmlScene)

    @guarded
    def _take_newest(self, *_: Any) -> None:
        self.take(replace(newest_maps(slicer.mrmlScene), base=self.parameters.base))


def _same_layers_and_scales(before: tuple[Maps, Look], after: tuple[Maps, Look]) -> bool:
    """Whether thresholds and opacities are all that differs, and no map appears or vanishes with its scale."""

    def scales(look: Look) -> tuple[Any, ...]:
        return look.window_ppb, look.legends, *(opacity > 0 for opacity in look.opacities)

    return before[0] == after[0] and scales(before[1]) == scales(after[1])
