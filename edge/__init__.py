"""What runs on the device: camera, engine, vision, power, telemetry, updates and a local API."""
