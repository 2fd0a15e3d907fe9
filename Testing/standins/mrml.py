"""The real MRML scene without the application: logics, slice views that render, scenes written and read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


class Scene:
    """A scene with the logics that the application would bring along; also made `slicer.mrmlScene`."""

    def __init__(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.application = slicer.vtkMRMLApplicationLogic()
        self.application.SetMRMLScene(self.scene)
        self.slice_logics = vtk.vtkCollection()
        self.application.SetSliceLogics(self.slice_logics)
        self.colours = self._logic(slicer.vtkSlicerColorLogic)
        self.application.SetColorLogic(self.colours)
        self.hierarchy = self._logic(slicer.vtkSlicerSubjectHierarchyModuleLogic)
        self.segmentations = self._logic(slicer.vtkSlicerSegmentationsModuleLogic)
        self.volumes = self._logic(slicer.vtkSlicerVolumesLogic)
        self.sequences = self._logic(slicer.vtkSlicerSequencesLogic)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.cache = slicer.vtkCacheManager()
        self.scene.SetCacheManager(self.cache)
        self.io = slicer.vtkDataIOManager()
        self.io.SetCacheManager(self.cache)
        self.scene.SetDataIOManager(self.io)
        slicer.mrmlScene = self.scene
        slicer.modules = SimpleNamespace(
            segmentations=_module(self.segmentations), volumes=_module(self.volumes), colors=_module(self.colours)
        )

    def _logic(self, kind: type) -> object:
        logic = kind()
        logic.SetMRMLApplicationLogic(self.application)
        logic.SetMRMLScene(self.scene)
        return logic

    def view(self, name: str, orientation: str = "Axial") -> slicer.vtkMRMLSliceLogic:
        """A slice view, made if it is not there."""
        for index in range(self.slice_logics.GetNumberOfItems()):
            logic = self.slice_logics.GetItemAsObject(index)
            if logic.GetSliceNode() is not None and logic.GetSliceNode().GetName() == name:
                return logic
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self.application)
        logic.SetMRMLScene(self.scene)
        self.slice_logics.AddItem(logic)
        existing = self.scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if existing is not None:
            logic.SetSliceNode(existing)
        else:
            logic.AddSliceNode(name)
        logic.GetSliceNode().SetOrientation(orientation)
        return logic

    def save(self, path: Path) -> None:
        """Write everything into one .mrb file."""
        thumbnail = vtk.vtkImageData()
        if not self.scene.WriteToMRB(str(path), thumbnail):
            raise RuntimeError(f"{path} was not written")

    def load(self, path: Path, scratch: Path) -> None:
        """Add the contents of a .mrb file to the scene."""
        self.cache.SetRemoteCacheDirectory(str(scratch))
        if not self.scene.ReadFromMRB(str(path), False):
            raise RuntimeError(f"{path} was not read")


class View:
    """A slice view rendered off screen, with colour legends and segmentations, as the application draws them."""

    def __init__(self, scene: Scene, logic: slicer.vtkMRMLSliceLogic, size: tuple[int, int] = (500, 500)) -> None:
        self.logic = logic
        logic.ResizeSliceNode(*size)
        self.renderer = vtk.vtkRenderer()
        self.renderer.SetActiveCamera(vtk.vtkCamera())
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        # The displayable managers crash without an interactor.
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.actor)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(scene.application)
        for name in (
            "vtkMRMLColorLegendDisplayableManager",
            "vtkMRMLSegmentationsDisplayableManager2D",
            "vtkMRMLRulerDisplayableManager",
            "vtkMRMLOrientationMarkerDisplayableManager",
        ):
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group = factory.InstantiateDisplayableManagers(self.renderer)
        self.group.SetMRMLDisplayableNode(logic.GetSliceNode())

    def picture(self) -> np.ndarray:
        """What is seen: (rows, columns, RGB), the first row on top."""
        # The pipeline's end changes with the number of layers.
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        columns, rows, _ = image.GetDimensions()
        return np.flipud(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[..., :3])

    def close(self) -> None:
        """Let go of the render window before the scene goes."""
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


def _module(logic: object) -> SimpleNamespace:
    return SimpleNamespace(logic=lambda: logic)
