"""QSMRecon: quantitative susceptibility mapping in 3D Slicer. For research use only."""

import sys
from pathlib import Path

import slicer
import vtk
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

HERE = Path(__file__).parent

# Installed, the library stands beside this file; in a checkout that is given as an additional module path, one up.
for folder in (HERE, HERE.parent):
    if (folder / "QSMReconLib").is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))


class QSMRecon(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "QSMRecon"
        parent.categories = ["Quantification"]
        parent.contributors = ["The QSMRecon developers"]
        parent.helpText = (
            "Quantitative susceptibility mapping from multi-echo gradient echoes. For research use only. See the "
            '<a href="https://github.com/QSMRecon/SlicerQSMRecon/blob/main/docs/slicer.md">tutorial</a>.'
        )
        parent.acknowledgementText = "The papers of the methods are named in the form and in every report: cite them."
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer a simulated head in the Sample Data module; it is made on this computer, nothing is downloaded."""
    from QSMReconUI.sample import register

    register(HERE / "Resources")


class QSMReconWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel: Slicer's events on one side, the window's rooms on the other."""

    def __init__(self, parent=None):
        # Without a parent, the base class calls setup() by itself: everything must be there before.
        VTKObservationMixin.__init__(self)
        self.logic = self.window = self._parameterNode = self._guiTag = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        """Build the panel, once."""
        super().setup()
        from QSMReconUI.window import Window

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/QSMRecon.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.logic = QSMReconLogic()
        self.window = Window(self.ui, self.logic, HERE / "Resources")
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.enter)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAddedEvent, self.window.refresh_soon)
        self.addObserver(scene, scene.NodeRemovedEvent, self.window.refresh_soon)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.window.refresh_soon)
        self.onSceneEndImport()

    def cleanup(self):
        """The application ends or the module is reloaded."""
        if self.window is not None:
            self.setParameterNode(None)
            self.window.cleanup()
        self.removeObservers()

    def enter(self, caller=None, event=None):
        """The module is opened, or the scene was closed: both may have brought another parameter node."""
        self.setParameterNode(self.logic.getParameterNode())

    def exit(self):
        """Another module is opened. A run goes on, and its results still arrive."""

    def onSceneStartClose(self, caller, event):
        """The parameter node is about to go."""
        self.window.scene_closes()
        self.setParameterNode(None)

    def onSceneEndImport(self, caller=None, event=None):
        """A scene was read, perhaps with choices of its own."""
        self.enter()
        self.window.scene_loaded()

    def setParameterNode(self, parameterNode):
        """Bind the widgets to this parameter node and follow it; None lets go of the last one."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.window.refresh)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.window.refresh)
        self.window.set_parameters(parameterNode)


class QSMReconLogic(ScriptedLoadableModuleLogic):
    """What scripts use. `start_process` and `installer` can be exchanged, for tests and for other applications."""

    def __init__(self):
        super().__init__()
        from QSMReconUI.job import Child
        from QSMReconUI.setup import SlicerInstaller

        self.start_process = Child
        self.installer = SlicerInstaller()

    def getParameterNode(self):
        """The scene's choices, with types."""
        from QSMReconUI.parameters import QSMReconParameterNode

        return QSMReconParameterNode(super().getParameterNode())

    def run(self, volumes, echoTimes=None, fieldStrength=None, pipeline=None, callback=None, **more):
        """Reconstruct volumes of the scene and return the resulting nodes; see `QSMReconUI.console.run`."""
        from QSMReconUI import console

        return console.run(self, volumes, echoTimes, fieldStrength, pipeline, callback, **more)


class QSMReconTest(ScriptedLoadableModuleTest):
    """The self-test of the module, inside Slicer."""

    def runTest(self):
        """The simulated head from sample data to maps, as far as what is installed allows."""
        from QSMReconUI import selftest

        slicer.mrmlScene.Clear()
        selftest.run(self, QSMReconLogic(), HERE / "Resources")
