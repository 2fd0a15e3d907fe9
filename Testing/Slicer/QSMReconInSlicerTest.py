"""What only a running application shows. Run by ctest in a build tree, or in Slicer's Python console:

import unittest, QSMReconInSlicerTest
unittest.main(QSMReconInSlicerTest, argv=[""], exit=False)
"""

import unittest

import numpy as np
import slicer


def volume(name, voxels, affine=None):
    """A volume in the scene."""
    return slicer.util.addVolumeFromArray(voxels.astype(np.float32), np.eye(4) if affine is None else affine, name)


class QSMReconInSlicerTest(unittest.TestCase):
    """The module in the application: its panel, its layout, its state."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.widget = slicer.util.getModuleWidget("QSMRecon")
        self.logic = slicer.util.getModuleLogic("QSMRecon")

    def events(self):
        """Let timers through."""
        for _ in range(20):
            slicer.app.processEvents()

    def maps(self):
        """χ_para, χ_dia and a magnitude."""
        ball = np.zeros((24, 28, 32))
        ball[8:16, 10:18, 12:20] = 0.08
        found = volume("magnitude", 100 + ball), volume("para", ball), volume("dia", 0.08 - ball)
        parameters = self.logic.getParameterNode()
        parameters.base, parameters.para, parameters.dia = found
        return parameters, found

    def test_choices_go_both_ways(self):
        parameters = self.logic.getParameterNode()
        parameters.fieldStrength = 7.0
        self.events()
        self.assertEqual(self.widget.ui.fieldStrengthSpinBox.value, 7.0)
        self.widget.ui.fieldStrengthSpinBox.value = 1.5
        self.assertEqual(parameters.fieldStrength, 1.5)

    def test_nothing_to_run_is_said(self):
        self.events()
        self.assertFalse(self.widget.ui.runButton.enabled)
        self.assertTrue(self.widget.ui.runButton.toolTip)

    def test_the_review_layout_shows_both_maps(self):
        _, (magnitude, para, dia) = self.maps()
        self.widget.ui.reviewButton.click()
        self.events()
        red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
        self.assertEqual(red.GetBackgroundVolumeID(), magnitude.GetID())
        self.assertEqual(red.GetForegroundVolumeID(), para.GetID())
        self.assertEqual(red.GetNthLayerVolumeID(3), dia.GetID())
        self.assertIn("QSMReconChi", slicer.app.layoutManager().sliceViewNames())
        legends = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode")
        self.assertEqual(legends, 2)

    def test_closing_the_scene_leaves_a_working_module(self):
        self.maps()
        self.widget.ui.reviewButton.click()
        slicer.mrmlScene.Clear()
        self.widget.enter()
        self.events()
        self.assertIsNone(self.logic.getParameterNode().para)
        self.test_choices_go_both_ways()
