"""Signed releases: a TUF repository that devices download from and that a stolen server cannot forge."""
