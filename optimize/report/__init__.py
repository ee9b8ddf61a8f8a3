"""What people read of a bundle: a page with plots, and a model card."""
