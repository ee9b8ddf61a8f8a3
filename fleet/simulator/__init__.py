"""Virtual devices that speak the real protocol: for load tests, drills and figures of the fleet service."""
