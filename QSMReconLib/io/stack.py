"""The echoes of one part of a scan, read and checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .._lazy import torch
from ..data import Grid
from ..errors import InputError
from .nifti import describe_grid, read_volume
from .scan import Finding, Level, Source
from .sidecars import (
    Sidecar,
    check_echo_times,
    check_field_strength,
    field_strength,
    read_sidecar,
    split_name,
    stem,
)


@dataclass
class Notebook:
    """What has been noticed so far, and what has been read."""

    findings: list[Finding] = field(default_factory=list)
    files: list[Source] = field(default_factory=list)

    def add(self, level: Level, text: str, file: Source | None = None) -> None:
        self.findings.append(Finding(level, text, file))

    @contextmanager
    def collecting(self, file: Source | None = None) -> Iterator[None]:
        """Turn an InputError of the block into a finding."""
        try:
            yield
        except InputError as error:
            self.add("error", str(error), file)

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "error"]


@dataclass(frozen=True)
class Stack:
    """The echoes of one part: values (echo, X, Y, Z), and the file and sidecar of every echo."""

    part: str
    values: torch.Tensor
    grid: Grid
    files: tuple[Source, ...]
    sidecars: tuple[Sidecar, ...]

    @property
    def name(self) -> str:
        """The file to name where the whole part is meant."""
        return str(self.files[0])


def read_stack(
    part: str, paths: Sequence[Source], root: Path | None, notebook: Notebook, like: Stack | None = None
) -> Stack | None:
    """Read the echoes of a part, which must lie on one grid (that of `like`, if given)."""

    def read(source: Source) -> tuple[torch.Tensor, Grid] | InputError:
        try:
            return read_volume(source) if isinstance(source, Path) else source.read()
        except InputError as error:
            return error

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        volumes = list(pool.map(read, paths))
    values, files, sidecars = [], [], []
    reference = (like.grid, like.files[0]) if like is not None else None
    complete = True
    for path, item in zip(paths, volumes, strict=True):
        notebook.files.append(path)
        if isinstance(item, InputError):
            notebook.add("error", str(item), path)
            complete = False
            continue
        volume, grid = item
        reference = reference or (grid, path)
        if not grid.same_place(reference[0], 0.1 * min(grid.voxel_size_mm)):
            other = f"{reference[1]} ({describe_grid(reference[0])})"
            text = f"{path} lies on another grid ({describe_grid(grid)}) than {other}"
            remedy = "export all echoes from one reconstruction, or resample them to one grid"
            notebook.add("error", f"{text}: {remedy}.", path)
            complete = False
            continue
        echoes = volume if volume.ndim == 4 else volume[None]
        try:
            sidecar = read_sidecar(path, root) if isinstance(path, Path) else path.sidecar
        except InputError as error:
            notebook.add("error", str(error), path)
            complete = False
            continue
        notebook.files += sidecar.files
        values.append(echoes)
        files += [path] * len(echoes)
        sidecars += [sidecar] * len(echoes)
    if not complete or reference is None:
        return None
    return Stack(part, torch.cat(values), reference[0], tuple(files), tuple(sidecars))


def check_partners(first: Stack, second: Stack, notebook: Notebook) -> bool:
    """Whether every echo has both parts, which is noted where it is not so."""
    count, other = len(first.files), len(second.files)
    if count != other:
        more, fewer = (first, second) if count > other else (second, first)
        partners = {_echo_of(path) for path in fewer.files}
        alone = next((path for path in more.files if _echo_of(path) not in partners), more.files[-1])
        text = f"There are {len(more.files)} echoes of the {more.part} but {len(fewer.files)} of the {fewer.part}"
        notebook.add("error", f"{text}: add what belongs to {alone}, or remove it.", alone)
        return False
    for one, partner in zip(first.files, second.files, strict=True):
        if None not in (_echo_of(one), _echo_of(partner)) and _echo_of(one) != _echo_of(partner):
            notebook.add("error", f"{one} and {partner} are of different echoes: add what is missing to either.", one)
            return False
    return True


def _echo_of(source: Source) -> str | None:
    return split_name(stem(Path(source.name)))[0].get("echo")


def check_values(stack: Stack, notebook: Notebook) -> None:
    """Numbers, not all the same, and no magnitude below zero."""
    for values, path in zip(stack.values, stack.files, strict=True):
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            bad = int((~values.isfinite()).sum())
            text = f"{path} holds {bad} voxels that are not numbers (NaN or infinite)"
            notebook.add("error", f"{text}: export it again, or set them to zero in all parts and echoes.", path)
        elif low == high:
            text = f"{path} is {low:g} everywhere" if low else f"{path} is all zero"
            notebook.add("error", f"{text}: export it again, or leave this echo out.", path)
        elif stack.part == "magnitude" and low < -0.05 * high:
            text = f"{path} goes down to {low:g}, which no magnitude does"
            notebook.add("error", f"{text}: is it a phase? Give magnitude and phase in their places.", path)


def times_of(stacks: Sequence[Stack], given: tuple[float, ...] | None, flag: str = "--echo-times") -> tuple[float, ...]:
    """The echo times in seconds, given (by `flag`) or from the sidecars.

    Raises InputError if they are missing or senseless.
    """
    count = len(stacks[0].files)
    if given is not None:
        if len(given) != count:
            raise InputError(
                f"{flag} gives {len(given)} echo times for {count} echoes ({stacks[0].name}): give one for each."
            )
        check_echo_times(given, f"{flag} (for {stacks[0].name})")
        return tuple(given)
    stated: tuple[float, ...] | None = None
    for stack in stacks:
        own = _stated_times(stack)
        if own is None:
            continue
        check_echo_times(own, f"EchoTime beside {stack.name}")
        if stated is not None and max(abs(a - b) for a, b in zip(own, stated, strict=False)) > 1e-5:
            raise InputError(
                f"EchoTime differs between {stacks[0].sidecars[0].where} and {stack.sidecars[0].where}: mend one."
            )
        stated = stated or own
    if stated is None:
        raise InputError(f"EchoTime is missing in {stacks[0].sidecars[0].where}: add it, in seconds, or give {flag}.")
    return stated


def _stated_times(stack: Stack) -> tuple[float, ...] | None:
    """The echo times beside one part, None where there are none at all."""
    times = [sidecar.numbers("EchoTime") for sidecar in stack.sidecars]
    if all(time is None for time in times):
        return None
    found = []
    for echo, (time, sidecar, path) in enumerate(zip(times, stack.sidecars, stack.files, strict=True)):
        count = stack.files.count(path)
        if time is None:
            raise InputError(f"EchoTime is missing in {sidecar.where}: add it, in seconds.")
        if len(time) != count:
            raise InputError(
                f"{path} holds {count} echoes but {len(time)} EchoTime in {sidecar.where}: list one for each."
            )
        found.append(time[echo - stack.files.index(path)])
    return tuple(found)


def strength_of(stacks: Sequence[Stack], given: float | None) -> float:
    """In tesla. Raises InputError if it is missing or senseless."""
    if given is not None:
        check_field_strength(given, "--field-strength")
        return given
    stated = field_strength([sidecar for stack in stacks for sidecar in stack.sidecars])
    if stated is None:
        where = stacks[0].sidecars[0].where
        raise InputError(f"MagneticFieldStrength is missing in {where}: add it, in tesla, or give --field-strength.")
    return stated
