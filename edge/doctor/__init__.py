"""Examines a device: what it needs, what was found, and the command that mends it. Changes nothing.

``probes`` look at the machine, ``verdicts`` decide about what was seen and touch nothing, ``examine`` runs them side by
side within time limits, ``report`` makes the table.
"""
