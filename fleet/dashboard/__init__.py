"""The dashboard: server-rendered pages that only read."""
