"""Power and temperature: one kind of source a file, behind :class:`edge.power.interface.PowerSource`."""
