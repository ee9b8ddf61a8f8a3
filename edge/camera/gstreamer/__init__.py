"""Cameras through GStreamer: which pipeline a machine can run, and the frames that come out of it.

PyGObject is imported only when a camera is opened that is read this way.
"""
