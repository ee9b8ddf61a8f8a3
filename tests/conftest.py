"""What all tests share: properties are tried on fewer examples than hypothesis would, and none is held to a clock."""

from hypothesis import settings

settings.register_profile("mien", max_examples=50, deadline=None)
settings.load_profile("mien")
