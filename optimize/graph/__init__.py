"""The self-contained graph: letterboxed bytes in, the best K boxes out."""
