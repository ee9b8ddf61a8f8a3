"""A small HTTP API on the loopback interface, for probes and scrapers on the device itself."""
