"""Alembic migrations; `photabatch migrate` runs them."""
