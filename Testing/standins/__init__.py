"""What stands in for the Slicer application in our tests: the scene and its logics are the real ones, from
`slicer-core`; the application, the widgets and the scripted-module machinery are ours, and only the parts we use."""
