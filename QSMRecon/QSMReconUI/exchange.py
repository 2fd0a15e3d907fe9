"""The scene's volumes to files for the child process, and its results back into the scene."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from QSMReconLib import data
from QSMReconLib.data import Artifact, Volume
from QSMReconLib.errors import InputError
from QSMReconLib.io.sidecars import read_json, stem

from .scan import RESULT, Echo, ijk_to_ras, volumes_of

PROVENANCE = "QSMRecon.Provenance"
REPORT = "QSMRecon.Report"

SUFFIXES = {"magnitude": "part-mag_MEGRE", "phase": "part-phase_MEGRE", "real": "part-real_MEGRE"}
SUFFIXES |= {"imag": "part-imag_MEGRE", "spin_echo": "MESE"}

_UNITS = {"ppm": ("[ppm]", "parts per million"), "Hz": ("Hz", "Hertz")}


@dataclass(frozen=True)
class Loaded:
    """What has come into the scene: the maps by their BIDS name, the masks, and the folder they are in."""

    maps: dict[str, Any]
    masks: dict[str, Any]
    folder: int


def declared_volumes() -> dict[str, Volume]:
    """Every volume that the library can write, by its BIDS entities and suffix."""
    kinds = [kind for kind in vars(data).values() if isinstance(kind, type) and issubclass(kind, Artifact)]
    return {volume.bids: volume for kind in kinds for volume in kind.declared_volumes()}


def export_scan(scan: Sequence[Echo], field_strength_t: float, folder: Path, subject: str = "scan") -> Path:
    """Write the echoes as a BIDS dataset of one subject; returns its folder. Raises InputError if the disk is full."""
    anat = folder / f"sub-{subject}" / "anat"
    numbers = dict.fromkeys(SUFFIXES, 0)
    try:
        anat.mkdir(parents=True, exist_ok=True)
        description = {"Name": "From Slicer", "BIDSVersion": "1.9.0"}
        (folder / "dataset_description.json").write_text(json.dumps(description), encoding="utf-8")
        for echo in scan:
            for volume, time in zip(volumes_of(echo.source), echo.echo_times_s, strict=True):
                numbers[echo.part] += 1
                name = f"sub-{subject}_echo-{numbers[echo.part]}_{SUFFIXES[echo.part]}"
                write_nifti(anat / f"{name}.nii", slicer.util.arrayFromVolume(volume), ijk_to_ras(volume))
                sidecar = {"EchoTime": time, "MagneticFieldStrength": field_strength_t}
                (anat / f"{name}.json").write_text(json.dumps(sidecar), encoding="utf-8")
    except OSError as error:
        raise InputError(f"The scan cannot be written to {folder}: {error.strerror or error}.") from error
    return folder


def export_mask(mask: Any, like: Any, path: Path) -> Path:
    """Write a segmentation (all its segments) as a mask on the grid of `like`, a volume of the scene, an image file or
    a DICOM image.

    Raises InputError if no voxel is inside.
    """
    scene = mask.GetScene()
    borrowed = None
    if not hasattr(like, "GetID"):
        voxels, affine = read_file(like, 0)
        borrowed = slicer.util.addVolumeFromArray(np.zeros(voxels.shape, np.uint8), affine, "QSMRecon grid")
    reference = borrowed or like
    try:
        inside = np.zeros(reference.GetImageData().GetDimensions()[::-1], dtype=bool)
        segmentation = mask.GetSegmentation()
        for index in range(segmentation.GetNumberOfSegments()):
            name = segmentation.GetNthSegmentID(index)
            inside |= slicer.util.arrayFromSegmentBinaryLabelmap(mask, name, reference) > 0
        if not inside.any():
            raise InputError(f"The mask {mask.GetName()} is empty: choose another, or none for the automatic one.")
        write_nifti(path, inside.astype(np.uint8), ijk_to_ras(reference))
    finally:
        if borrowed is not None:
            scene.RemoveNode(borrowed)
    return path


def write_nifti(path: Path, voxels_kji: np.ndarray, affine: Sequence[Sequence[float]]) -> None:
    """Write a volume as Slicer holds it (K, J, I), uncompressed: it is read once and deleted."""
    import nibabel

    voxels = np.asarray(voxels_kji).transpose(2, 1, 0)
    if voxels.dtype.kind == "f":
        voxels = voxels.astype(np.float32, copy=False)
    elif voxels.dtype.itemsize > 4:
        voxels = voxels.astype(np.int32)
    elif voxels.dtype.kind == "b":
        voxels = voxels.astype(np.uint8)
    image = nibabel.Nifti1Image(voxels, np.asarray(affine))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


def read_file(source: Any, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A volume of a NIfTI file or of a DICOM image, as `read_nifti` has it. Raises InputError for damaged DICOM."""
    if isinstance(source, Path):
        return read_nifti(source, index)
    return np.ascontiguousarray(source.array([index])[..., 0].transpose(2, 1, 0)), np.asarray(source.affine)


def read_nifti(path: Path, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A volume as Slicer holds it (K, J, I), and its affine; of a 4D file the volume `index`."""
    import nibabel

    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj[..., index] if len(image.shape) > 3 else image.dataobj)
    kind = np.uint8 if stem(path).endswith("_mask") else np.float32
    return np.ascontiguousarray(voxels.transpose(2, 1, 0).astype(kind, copy=False)), image.affine


def load_results(
    scene: Any, outputs: Sequence[Path], title: str, like: Any = None, pipeline: str = "", report: Path | None = None
) -> Loaded:
    """Bring the maps of one scan into the scene, in a folder of the subject hierarchy named after it.

    Maps on the grid of the volume `like` take over its place to the last digit. Every node carries the JSON that the
    library wrote beside its file.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parent = hierarchy.GetSceneItemID()
    beside = hierarchy.GetItemByDataNode(like) if like is not None else 0
    if beside:
        parent = hierarchy.GetItemParent(beside)
    name = f"{title} QSM ({pipeline})" if pipeline else f"{title} QSM"
    folder = hierarchy.CreateFolderItem(parent, hierarchy.GenerateUniqueItemName(name))
    if report is not None:
        hierarchy.SetItemAttribute(folder, REPORT, str(report))
    maps, masks = {}, {}
    for bids, path, volume in _recognised(outputs):
        voxels, affine = read_nifti(path)
        provenance = path.with_name(f"{stem(path)}.json")
        if bids.endswith("_mask"):
            node = masks[bids] = _segmentation(scene, f"{title} {volume.title.lower()}", voxels, affine, like)
        else:
            unit = f" [{volume.unit}]" if volume.unit not in ("", "1") else ""
            node = maps[bids] = _volume(scene, f"{title} {volume.title}{unit}", voxels, affine, like)
            _show_as(node, volume)
        node.SetAttribute(RESULT, bids)
        if provenance.is_file():
            node.SetAttribute(PROVENANCE, json.dumps(read_json(provenance), ensure_ascii=False))
        hierarchy.CreateItem(folder, node)
    return Loaded(maps, masks, folder)


def _recognised(outputs: Sequence[Path]) -> Iterator[tuple[str, Path, Volume]]:
    known = declared_volumes()
    for path in outputs:
        name = stem(path)
        fitting = [bids for bids in known if name.endswith(f"_{bids}")]
        if fitting:
            # "_Chimap" also ends "_desc-para_Chimap": the longest says most.
            bids = max(fitting, key=len)
            yield bids, path, known[bids]


def _volume(scene: Any, name: str, voxels: np.ndarray, affine: np.ndarray, like: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    slicer.util.updateVolumeFromArray(node, voxels)
    node.SetIJKToRASMatrix(_place(affine, voxels, like))
    node.CreateDefaultDisplayNodes()
    return node


def _place(affine: np.ndarray, voxels: np.ndarray, like: Any) -> vtk.vtkMatrix4x4:
    """The affine of the file, or that of `like`, of which the file holds a copy rounded to single precision."""
    if like is not None and volumes_of(like):
        original = volumes_of(like)[0]
        same_shape = original.GetImageData() and original.GetImageData().GetDimensions() == voxels.shape[::-1]
        if same_shape and np.abs(np.array(ijk_to_ras(original)) - affine).max() < 1e-3:
            affine = np.array(ijk_to_ras(original))
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(affine[row][column]))
    return matrix


def _segmentation(scene: Any, name: str, voxels: np.ndarray, affine: np.ndarray, like: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*voxels.shape[::-1])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = voxels.reshape(-1) > 0
    image.SetImageToWorldMatrix(_place(affine, voxels, like))
    node.AddSegmentFromBinaryLabelmapRepresentation(image, name)
    node.GetDisplayNode().SetVisibility(False)
    node.GetDisplayNode().SetOpacity2DFill(0.0)
    return node


def _show_as(node: Any, volume: Volume) -> None:
    """The volume's own unit and window, grey, until the review gives it colours."""
    if volume.unit in _UNITS:
        code, meaning = _UNITS[volume.unit]
        unit = slicer.vtkCodedEntry()
        unit.SetValueSchemeMeaning(code, "UCUM", meaning)
        node.SetVoxelValueUnits(unit)
    display = node.GetDisplayNode()
    if volume.window is not None:
        low, high = volume.window
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(high - low, (high + low) / 2)
