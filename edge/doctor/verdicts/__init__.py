"""From what was seen to a finding; pure."""
