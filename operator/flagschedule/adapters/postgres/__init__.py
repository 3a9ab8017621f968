"""Postgres: the statements (*.sql), what runs them, and the migrations. The only place that imports psycopg."""
