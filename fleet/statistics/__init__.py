"""The statistics that verdicts rest on: rank tests, effect sizes, distributions, many tests at once. Pure."""
