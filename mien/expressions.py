"""The eight expressions of the demo data set, in the one order every label index refers to.

Nothing outside this module and the renderer of synthetic faces may know these names: a model's labels come from its
data set and travel in the release manifest.
"""

EXPRESSIONS: tuple[str, ...] = (
    "anger",
    "contempt",
    "disgust",
    "fear",
    "happy",
    "neutral",
    "sad",
    "surprise",
)
