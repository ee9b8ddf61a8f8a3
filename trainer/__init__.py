"""The workstation's part: rendering and checking data, training a detector, keeping its record."""
