"""What the services need from the world, by capability. Adapters implement these; tests may too."""
