"""Engines that canaries built: whether the fleet signs one, and what that saved."""
