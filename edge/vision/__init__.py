"""From a camera's frame to the engine's input, and from its output to detections. Pure: numpy and OpenCV only."""
