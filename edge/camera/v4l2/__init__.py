"""USB and other Video4Linux cameras: what they offer, what is asked of them and what they give."""
