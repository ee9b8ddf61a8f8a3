"""Makes FP16 and INT8 graphs from the FP32 graph."""
