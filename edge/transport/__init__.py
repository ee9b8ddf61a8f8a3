"""How the device reaches its fleet: MQTT for messages, HTTPS for files, signatures on requests."""
