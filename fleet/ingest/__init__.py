"""From MQTT to rows: what devices say is checked, stored in batches, and only then acknowledged."""
