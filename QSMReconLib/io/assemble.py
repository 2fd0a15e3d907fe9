"""From the files of a scan to its artifacts, checked and repaired, with everything that was noticed on the way.

`assemble` goes on after an error as far as it makes sense, so that one look shows all that is wrong; `load` is for
work, and raises the first error.
"""

from __future__ import annotations

import numpy as np

from .._lazy import torch
from ..data import Artifact, GreData, Grid, SpinEchoData
from ..errors import InputError
from .nifti import b0_along_file_axes, describe_grid, describe_voxel, orientation_remarks
from .phase import RADIANS, alternating_axes, recognise_unit, undo_alternation
from .plausibility import coarse_signal, high_pass_filtered, sign_flipped
from .resample import resample
from .scan import NOTHING_GIVEN, Finding, Given, Scan, ScanFiles
from .sidecars import LATE_S, b0_direction
from .stack import Notebook, Stack, check_partners, check_values, read_stack, strength_of, times_of

R2STAR_ECHOES = 3

AXES = ("from left to right", "from back to front", "from bottom to top")


def load(files: ScanFiles, given: Given = NOTHING_GIVEN) -> Scan:
    """The scan of `files`. Raises InputError with the first thing that is wrong."""
    scan, findings = assemble(files, given)
    errors = [finding for finding in findings if finding.level == "error"]
    if scan is None or errors:
        more = f" (And {len(errors) - 1} more: qsmrecon doctor lists them.)" if len(errors) > 1 else ""
        raise InputError(errors[0].text + more)
    return scan


def assemble(files: ScanFiles, given: Given = NOTHING_GIVEN) -> tuple[Scan | None, list[Finding]]:
    """The scan of `files`, None if it cannot be used, and all findings, errors among them."""
    notebook = Notebook(list(files.findings))
    artifacts: dict[type[Artifact], Artifact] = {}
    gre = _gradient_echoes(files, given, notebook)
    if gre is not None:
        artifacts[GreData] = gre
    if files.spin_echo:
        spin = _spin_echoes(files, gre.grid if gre is not None else None, given, notebook)
        if spin is not None:
            artifacts[SpinEchoData] = spin
    if notebook.errors:
        return None, notebook.findings
    scan = Scan(
        files.name,
        files.subject,
        files.session,
        artifacts,
        tuple(notebook.findings),
        tuple(dict.fromkeys(notebook.files)),
    )
    return scan, notebook.findings


def _gradient_echoes(files: ScanFiles, given: Given, notebook: Notebook) -> GreData | None:
    """Magnitude and phase of a scan, or None after an error that leaves none."""
    names = _parts(files, notebook)
    if names is None:
        return None
    first = read_stack(names[0], getattr(files, names[0]), files.root, notebook)
    second = read_stack(names[1], getattr(files, names[1]), files.root, notebook, like=first)
    times = strength = grid = None
    if first is not None and second is not None:
        if check_partners(first, second, notebook):
            with notebook.collecting(first.sidecars[0].where):
                times = times_of((first, second), given.echo_times_s)
        with notebook.collecting(first.sidecars[0].where):
            strength = strength_of((first, second), given.field_strength_t)
        with notebook.collecting(first.files[0]):
            grid = _with_b0(first, given.b0_direction, notebook)
        for stack in (first, second):
            check_values(stack, notebook)
    if first is None or second is None or times is None or strength is None or grid is None or notebook.errors:
        return None

    try:
        magnitude, phase = _polar(first, second, notebook)
    except InputError as error:
        notebook.add("error", str(error), second.files[0])
        return None
    if given.phase_sign == "flip":
        phase = -phase
        notebook.add("repaired", f"The phase in {second.name} was negated, as asked.", second.files[0])
    gre = GreData(grid, magnitude, phase, times, strength)
    _check_physics(gre, second, given, notebook)
    _describe(gre, first, second, notebook)
    return gre


def _parts(files: ScanFiles, notebook: Notebook) -> tuple[str, str] | None:
    """Which two parts make the scan, or None, with the reason noted."""
    if files.magnitude and files.phase:
        if files.real or files.imag:
            notebook.add("found", f"{files.name} has real and imaginary parts as well: magnitude and phase are used.")
        return "magnitude", "phase"
    if files.real and files.imag:
        return "real", "imag"
    partner = {"magnitude": "phase", "phase": "magnitude", "real": "imaginary part", "imag": "real part"}
    there = [part for part in partner if getattr(files, part)]
    for part in there:
        path = getattr(files, part)[0]
        word = {"imag": "an imaginary part", "real": "a real part"}.get(part, part)
        remedy = "add it" if partner[part] != "phase" else "add it (part-phase, or --phase)"
        notebook.add("error", f"{path} is {word} without {partner[part]}, which QSM needs: {remedy}.", path)
    if not there:
        notebook.add("error", f"{files.name} has no images: give magnitude and phase, or real and imaginary parts.")
    return None


def _with_b0(stack: Stack, given: tuple[float, ...] | None, notebook: Notebook) -> Grid:
    """The grid with the direction of B0 that was given, that the sidecar has, or that the affine implies."""
    for remark in orientation_remarks(stack.grid):
        notebook.add("suspicious", f"{stack.name}: {remark}.", stack.files[0])
    stated = given if given is not None else b0_direction(stack.sidecars)
    if stated is None:
        return stack.grid
    grid = b0_along_file_axes(stack.grid, stated)
    cosine = abs(float(np.dot(grid.b0_direction, stack.grid.b0_direction)))
    angle = float(np.degrees(np.arccos(min(1.0, cosine))))
    source = "given" if given is not None else f"in {stack.sidecars[0].where}"
    if angle > 2:
        text = (
            f"The direction of B0 {source} is {angle:.0f}° from that of the affine of {stack.name}: the former is used."
        )
        notebook.add("suspicious", text, stack.files[0])
    return grid


def _polar(first: Stack, second: Stack, notebook: Notebook) -> tuple[torch.Tensor, torch.Tensor]:
    """Magnitude and phase in radians, (echo, X, Y, Z), whatever they were stored as."""
    file = second.files[0]
    if first.part == "real":
        magnitude, phase = torch.hypot(first.values, second.values), torch.atan2(second.values, first.values)
    else:
        unit = recognise_unit(second.values, [str(path) for path in second.files])
        magnitude, phase = first.values.clamp(min=0.0), unit.to_radians(second.values)
        if unit != RADIANS:
            notebook.add(
                "repaired", f"The phase in {file} runs from {unit.text}: it was taken as one turn of 2π.", file
            )
    axes = alternating_axes(magnitude[0], phase[0])
    if axes:
        along = " and ".join(AXES[axis] for axis in axes)
        text = (
            f"Every second slice {along} in {first.files[0]} has the opposite sign, as GE stores it: it was put right."
        )
        notebook.add("repaired", text, first.files[0])
        phase = undo_alternation(phase, axes)
    return magnitude, phase


def _check_physics(gre: GreData, stack: Stack, given: Given, notebook: Notebook) -> None:
    """Whether phase and magnitude can be those of a gradient echo."""
    file = stack.files[0]
    coarse = coarse_signal(gre.magnitude, gre.phase_rad, gre.grid.voxel_size_mm)
    filtered = high_pass_filtered(coarse)
    if filtered == "yes":
        text = f"The phase in {file} is high-pass filtered, as for SWI, and the field is lost"
        notebook.add("error", f"{text}: export the unfiltered phase, or real and imaginary parts.", file)
    elif filtered == "perhaps":
        text = f"The phase in {file} hardly differs from region to region"
        notebook.add("suspicious", f"{text}: if it was high-pass filtered, as for SWI, χ will be wrong.", file)
    if given.phase_sign == "auto" and sign_flipped(
        coarse, gre.echo_times_s, gre.grid.b0_direction, gre.field_strength_t
    ):
        b0 = ", ".join(f"{b:.2f}" for b in gre.grid.b0_direction)
        text = f"The phase in {file} has the opposite sign: iron and veins would come out diamagnetic"
        remedy = "multiply it by -1, or give --phase-sign flip (keep, if you are certain of it)"
        otherwise = f"If B0 is not along ({b0}) of right, anterior, superior, give --b0-direction"
        notebook.add("error", f"{text}. To mend it, {remedy}. {otherwise}.", file)
    if gre.echo_times_s[-1] > LATE_S:
        text = f"The last echo time beside {file} is {gre.echo_times_s[-1]:g} s, very late for a gradient echo"
        notebook.add("suspicious", f"{text}: EchoTime must be in seconds.", file)
    first, last = coarse.signal[0].abs(), coarse.signal[-1].abs()
    bright = first > first.mean()
    if len(gre.echo_times_s) > 1 and float(last[bright].mean()) > 1.1 * float(first[bright].mean()):
        text = f"The last echo is brighter than the first ({file}): are the echoes in the order of their times?"
        notebook.add("suspicious", text, file)
    if len(gre.echo_times_s) < R2STAR_ECHOES:
        text = f"R2* needs at least {R2STAR_ECHOES} echoes, and {file} has {len(gre.echo_times_s)}"
        notebook.add("missing", f"{text}: add the other echoes, or do without R2* and what follows from it.", file)


def _describe(gre: GreData, first: Stack, second: Stack, notebook: Notebook) -> None:
    times = ", ".join(f"{1e3 * time:.4g}" for time in gre.echo_times_s)
    parts = "real and imaginary parts" if first.part == "real" else "magnitude and phase"
    count = f"{len(gre.echo_times_s)} gradient echo{'es' if len(gre.echo_times_s) > 1 else ''}"
    text = f"{count} at {times} ms, {gre.field_strength_t:g} T, {parts}, {describe_grid(gre.grid)}."
    notebook.add("found", text, first.files[0])
    b0 = ", ".join(f"{b:.3f}" for b in gre.grid.b0_direction)
    notebook.add("found", f"B0 along ({b0}) of the voxel axes right, anterior, superior.", first.files[0])


def _spin_echoes(files: ScanFiles, grid: Grid | None, given: Given, notebook: Notebook) -> SpinEchoData | None:
    """The spin echoes on the grid of the gradient echoes, resampled if need be."""
    stack = read_stack("magnitude", files.spin_echo, files.root, notebook)
    times = None
    if stack is not None:
        check_values(stack, notebook)
        with notebook.collecting(stack.sidecars[0].where):
            times = times_of((stack,), given.spin_echo_times_s, "--spin-echo-times")
    if stack is None or times is None or grid is None or notebook.errors:
        return None
    values, file = stack.values, stack.files[0]
    if not stack.grid.same_place(grid, 0.1 * min(grid.voxel_size_mm)):
        values = torch.stack([resample(echo, stack.grid, grid) for echo in values])
        text = f"The spin echoes in {file} lie on another grid ({describe_grid(stack.grid)})"
        notebook.add("repaired", f"{text}: they were resampled to {describe_voxel(grid)}, trilinearly.", file)
    listed = ", ".join(f"{1e3 * time:.4g}" for time in times)
    count = f"{len(times)} spin echo{'es' if len(times) > 1 else ''}"
    notebook.add("found", f"{count} at {listed} ms ({file}).", file)
    return SpinEchoData(grid, values, times)
