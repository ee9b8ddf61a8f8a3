"""Who may take part: the fleet's authority, enrolment tokens, device certificates, signed requests."""
