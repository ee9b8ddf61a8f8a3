"""Cameras: one kind of source a file, all behind :class:`edge.camera.interface.Camera`."""
