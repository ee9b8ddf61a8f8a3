"""Updates: slots, journal, trusted download, probe and roll-back, in the order of :mod:`mien.lifecycle`."""
