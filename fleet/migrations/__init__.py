"""Schema migrations (Alembic), run when the service starts."""
