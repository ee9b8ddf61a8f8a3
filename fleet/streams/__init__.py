"""Signed files over MQTT in blocks, for devices that reach nothing but the broker."""
