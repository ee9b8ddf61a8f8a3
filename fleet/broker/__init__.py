"""The MQTT broker behind the fleet: one started for a demo, or the site's own."""
