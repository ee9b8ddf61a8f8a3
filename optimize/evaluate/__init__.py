"""Measures every variant on the validation images with the code that a device runs."""
