"""What a scanner exports: small DICOM files of a complex image, one slice a file or many frames in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"

WORDS = {"magnitude": "M", "phase": "P", "real": "R", "imag": "I"}
COMPONENTS = {"magnitude": "MAGNITUDE", "phase": "PHASE", "real": "REAL", "imag": "IMAGINARY"}

STUDY = generate_uid()


def stored(part: str, signal: np.ndarray, full: float = 4096.0) -> tuple[np.ndarray, float, float]:
    """12-bit integers, slope and intercept; for phase ±full stands for ±π, as Siemens has it with 4096."""
    if part == "phase":
        return np.round((np.angle(signal) / np.pi + 1) * 2047.5).astype(np.uint16), full / 2047.5, -full
    values = {"magnitude": np.abs, "real": np.real, "imag": np.imag}[part](signal)
    return (
        np.round(values * 1500 + 2048 * (part != "magnitude")).astype(np.uint16),
        1.0,
        -2048.0 * (part != "magnitude"),
    )


def export(
    folder: Path,
    signal: np.ndarray,
    affine: np.ndarray,
    echo_times_s: Sequence[float],
    parts: Sequence[str] = ("magnitude", "phase"),
    first_series: int = 5,
    phase_full: float = 4096.0,
    same_series: bool = False,
    **tags: Any,
) -> list[Path]:
    """Classic files: a slice each, a series for each part (or one for all, as Philips and GE have it)."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, part in enumerate(parts):
        series = first_series if same_series else first_series + number
        uid = generate_uid(entropy_srcs=[str(folder), str(series)])
        for echo, time in enumerate(echo_times_s):
            values, slope, intercept = stored(part, signal[echo], phase_full)
            # As exported files often are: neither names nor instance numbers in the order of the slices.
            for k in np.random.default_rng(0).permutation(values.shape[2]):
                file = _file(MR)
                file.SeriesInstanceUID, file.SeriesNumber, file.SeriesDescription = uid, series, "qsm gre"
                file.ImageType = ["ORIGINAL", "PRIMARY", WORDS[part], "ND"]
                file.EchoTime, file.EchoNumbers = f"{1e3 * time:.6g}", echo + 1
                file.ScanningSequence, file.MagneticFieldStrength = "GR", 3.0
                _place(file, file, file, affine, k)
                file.RescaleSlope, file.RescaleIntercept = f"{slope:.10g}", f"{intercept:g}"
                for name, value in tags.items():
                    setattr(file, name, value)
                _pixels(file, values[:, :, k].T)
                written.append(folder / f"IM{len(written):05d}")
                file.save_as(written[-1], enforce_file_format=True)
    return written


def export_enhanced(folder: Path, signal: np.ndarray, affine: np.ndarray, echo_times_s: Sequence[float]) -> Path:
    """One enhanced file with magnitude and phase of all echoes, its frames in a hard order."""
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(ENHANCED_MR)
    file.SeriesInstanceUID, file.SeriesNumber, file.SeriesDescription = generate_uid(), 7, "enhanced gre"
    file.MagneticFieldStrength, file.EchoPulseSequence = 3.0, "GRADIENT"
    shared = Dataset()
    _place(Dataset(), _inside(shared, "PlaneOrientationSequence"), _inside(shared, "PixelMeasuresSequence"), affine, 0)
    file.SharedFunctionalGroupsSequence = [shared]
    frames, pixels = [], []
    for k in reversed(range(signal.shape[3])):
        for echo, time in enumerate(echo_times_s):
            for part in ("phase", "magnitude"):
                values, slope, intercept = stored(part, signal[echo])
                frame = Dataset()
                kind = _inside(frame, "MRImageFrameTypeSequence")
                kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
                kind.ComplexImageComponent = COMPONENTS[part]
                _inside(frame, "MREchoSequence").EffectiveEchoTime = 1e3 * time
                scale = _inside(frame, "PixelValueTransformationSequence")
                scale.RescaleSlope, scale.RescaleIntercept = f"{slope:.10g}", f"{intercept:g}"
                _place(_inside(frame, "PlanePositionSequence"), Dataset(), Dataset(), affine, k)
                frames.append(frame)
                pixels.append(values[:, :, k].T)
    file.PerFrameFunctionalGroupsSequence = frames
    file.NumberOfFrames = len(frames)
    _pixels(file, np.stack(pixels))
    path = folder / "enhanced.dcm"
    file.save_as(path, enforce_file_format=True)
    return path


def _file(kind: str) -> Dataset:
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = kind
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
    file.PatientID, file.PatientName, file.StudyInstanceUID, file.StudyDate = "Pat_01", "Doe^Jane", STUDY, "20240229"
    file.Modality = "MR"
    return file


def _inside(group: Dataset, name: str) -> Dataset:
    item = Dataset()
    setattr(group, name, [item])
    return item


def _place(position: Dataset, orientation: Dataset, measures: Dataset, affine: np.ndarray, k: int) -> None:
    """Slice k of axes (column, row, slice) with this RAS affine."""
    left_back_up = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    lengths = np.linalg.norm(left_back_up[:3, :3], axis=0)
    column, row = left_back_up[:3, 0] / lengths[0], left_back_up[:3, 1] / lengths[1]
    orientation.ImageOrientationPatient = [f"{v:.8g}" for v in (*column, *row)]
    position.ImagePositionPatient = [f"{v:.8g}" for v in (left_back_up @ [0, 0, k, 1])[:3]]
    measures.PixelSpacing = [f"{lengths[1]:.6g}", f"{lengths[0]:.6g}"]


def _pixels(file: Dataset, values: np.ndarray) -> None:
    file.Rows, file.Columns = values.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PixelData = np.ascontiguousarray(values, dtype="<u2").tobytes()


def change(path: Path, **tags: Any) -> None:
    """Replace tags of a file; None removes one."""
    file = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    file.save_as(path)
