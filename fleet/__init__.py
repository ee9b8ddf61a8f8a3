"""The fleet service: who the devices are, what they report, which releases are signed, and how one reaches them all."""
