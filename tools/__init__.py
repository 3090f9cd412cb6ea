"""What `make` runs on the project itself; nothing of the product imports it."""
