"""Building engines in a process of their own: at low priority, with memory watched, and without harm to what runs."""
