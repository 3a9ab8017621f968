"""A real Kubernetes on one Linux machine without Docker, with kind's command line.

`python -m dev.cluster` (or the script `dev/cluster/kind`) creates one-node clusters that run pods;
`control_plane.ControlPlane` is the lighter form, without a node, for tests that need no pods. Tests and the
demo use these; nothing here may import the product's package or anything beyond the standard library, so
that the script also works with a bare Python.
"""
