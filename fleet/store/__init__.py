"""What the fleet remembers: SQLAlchemy models, one repository for each aggregate, units of work."""
