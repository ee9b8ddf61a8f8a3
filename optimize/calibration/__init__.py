"""Chooses the images that INT8 scales are found with, and brings them into the model's input."""
