"""A graph's own words about itself: what stands in ``metadata_props``, which quantisers drop."""

from __future__ import annotations

import onnx

from edge.engine.interface import PRECISION_KEY

PRODUCER = "mien"
LABELS_KEY = "mien.labels"
"""Class names, one on each line, in the order of their numbers."""


def set_metadata(model: onnx.ModelProto, values: dict[str, str]) -> None:
    """Replace a graph's metadata and producer."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, values)
    model.producer_name = PRODUCER
    model.producer_version = ""
    model.doc_string = ""


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """A graph's metadata."""
    return {entry.key: entry.value for entry in model.metadata_props}


def with_precision(values: dict[str, str], precision: str) -> dict[str, str]:
    """The same metadata, with the precision of another variant."""
    return {**values, PRECISION_KEY: precision}
