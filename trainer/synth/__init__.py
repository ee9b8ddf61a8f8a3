"""Rendered faces: parametric people whose expressions are driven by facial action units, labelled as they are drawn."""
