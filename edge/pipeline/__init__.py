"""From frames to detections: four threads, the links between them and what they measure."""
