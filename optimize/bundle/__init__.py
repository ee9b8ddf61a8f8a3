"""Packs a release bundle, archives it, and makes a damaged one for a drill."""
