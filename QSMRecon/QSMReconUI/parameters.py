"""Everything a person can choose, saved with the scene."""

from enum import Enum
from typing import Annotated, Union

import slicer
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper


class Source(Enum):
    """Where the scan is."""

    SCENE = "volumes in the scene"
    FOLDER = "a folder"

    def label(self) -> str:
        """What the drop-down says."""
        return self.value


LESION_FILTERS = ["all", "not read", "undecided", "rims", "focal", "to be doubted", "you differ"]
"""Which lesions the table shows."""


@parameterNodeWrapper
class QSMReconParameterNode:
    """Names with a unit hold that unit. `corrections` (of files) and `recipe` (of a pipeline) are JSON: what their
    panels need, and nobody else."""

    source: Source = Source.SCENE
    folder: str = ""
    scan: str = ""
    corrections: str = ""
    fieldStrength: Annotated[float, WithinRange(0, 25)] = 0.0
    phaseSign: Annotated[str, Choice(["auto", "keep", "flip"])] = "auto"
    mask: slicer.vtkMRMLSegmentationNode

    pipeline: str = ""
    recipe: str = ""
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    output: str = ""
    overwrite: bool = False

    reviewing: bool = False
    base: slicer.vtkMRMLScalarVolumeNode
    para: slicer.vtkMRMLScalarVolumeNode
    dia: slicer.vtkMRMLScalarVolumeNode
    chi: slicer.vtkMRMLScalarVolumeNode
    r2star: slicer.vtkMRMLScalarVolumeNode
    windowPpb: Annotated[float, WithinRange(10, 500)] = 100.0
    paraThresholdPpb: Annotated[float, WithinRange(0, 200)] = 40.0
    diaThresholdPpb: Annotated[float, WithinRange(0, 200)] = 25.0
    paraOpacity: Annotated[float, WithinRange(0, 1)] = 0.8
    diaOpacity: Annotated[float, WithinRange(0, 1)] = 0.55
    fade: Annotated[float, WithinRange(-1, 1)] = 0.0
    legends: bool = True

    # Slicer knows no other spelling of a choice of classes.
    lesions: Union[  # noqa: UP007
        slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLLabelMapVolumeNode, slicer.vtkMRMLMarkupsFiducialNode, None
    ]
    lesionTable: slicer.vtkMRMLTableNode
    lesionFilter: Annotated[str, Choice(LESION_FILTERS)] = "all"
    activeLesion: int = 0
    blinded: bool = False
