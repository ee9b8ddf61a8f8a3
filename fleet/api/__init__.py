"""The HTTP interface: for devices, for operators, and signed files."""
