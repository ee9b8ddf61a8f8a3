"""How one release reaches many devices: policies, cohorts, the planner, the analysis, the tick that applies them."""
