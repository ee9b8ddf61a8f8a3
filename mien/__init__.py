"""The vocabulary every part of mien shares. Light by rule: pydantic, PyYAML, typer and rich, nothing else."""

__version__ = "0.1.0"
