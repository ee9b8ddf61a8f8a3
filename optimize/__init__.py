"""From weights to a release bundle: export, calibrate, quantise, measure, hold against the gate, pack."""
