"""The API server: how we log in, read and write objects, and what Kopf stores where (nothing)."""
