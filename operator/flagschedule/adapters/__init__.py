"""What the ports are made of: Postgres, Redis and the Kubernetes API."""
