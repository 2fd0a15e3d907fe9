"""The two colour tables of the review: warm for paramagnetic, cool for diamagnetic.

Both begin dark and saturated, so that the weakest voxel above the threshold still stands out from a grey image; both
grow lighter with the value, so that they stay ordered for readers who do not see red or blue as others do; and neither
ends in white, where a bleed and a calcification would look the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

Anchors = tuple[tuple[float, float, float, float], ...]

WARM: Anchors = (
    (0.0, 0.42, 0.0, 0.02),
    (0.35, 0.87, 0.16, 0.02),
    (0.7, 1.0, 0.66, 0.05),
    (1.0, 1.0, 0.96, 0.25),
)
"""Position, red, green, blue."""

COOL: Anchors = (
    (0.0, 0.04, 0.06, 0.48),
    (0.35, 0.02, 0.36, 0.92),
    (0.7, 0.1, 0.78, 1.0),
    (1.0, 0.4, 0.98, 1.0),
)

TABLES = {"QSM warm (paramagnetic)": WARM, "QSM cool (diamagnetic)": COOL}
WARM_NAME, COOL_NAME = TABLES


def colour_table(scene: Any, name: str) -> Any:
    """The colour table called `name`, made if the scene does not have it. It is saved with the scene, so that the
    scene looks the same where this module is not installed."""
    existing = scene.GetFirstNodeByName(name)
    if existing is not None and existing.IsA("vtkMRMLColorTableNode"):
        return existing
    anchors = np.array(TABLES[name])
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetName(name)
    table.SetHideFromEditors(False)
    table.SetNumberOfColors(256)
    for index, position in enumerate(np.linspace(0, 1, 256)):
        red, green, blue = (float(np.interp(position, anchors[:, 0], anchors[:, column])) for column in (1, 2, 3))
        table.SetColor(index, f"{position:.0%}", red, green, blue, 1.0)
    return scene.AddNode(table)
