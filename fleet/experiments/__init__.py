"""Two releases side by side on devices of one fleet: who runs which, what it showed, and which share each gets."""
