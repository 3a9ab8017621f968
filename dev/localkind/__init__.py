"""Kubernetes, Postgres, Redis, Prometheus and image builds on one Linux machine without Docker. See README.md.

`python -m dev.localkind` (or the script `dev/localkind/kind`) creates one-node clusters that run pods;
`control_plane.ControlPlane` is the lighter form, without a node, for tests that need no pods. The subpackage
`servers` runs databases, and `engines` builds images. Tests, benchmarks, the demo and the image's build use these.

Nothing here may import the product, its tests or another part of `dev`, and nothing outside of `servers` may import
anything beyond the standard library, so that the script also works with a bare Python. Contract and test check both.
"""
