"""Who the device is: its key, its certificate and how it got them."""
