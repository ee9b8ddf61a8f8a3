"""Which face is which from frame to frame, what it shows without flicker, and what of it is worth telling. Pure."""
