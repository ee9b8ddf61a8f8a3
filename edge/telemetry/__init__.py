"""Telemetry windows, the spool that keeps them through an outage, and the publisher that empties it."""
