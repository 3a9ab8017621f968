"""What a developer's machine runs: the local cluster and the demo. Never shipped with the package."""
