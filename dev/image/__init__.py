"""Builds the product's image with Docker where a daemon answers, else with buildah and a base image of our own.

`python -m dev.image build` is called by a person, by `make test` and by `make demo`. Nothing here is part of the
product but root.py, which the Dockerfile runs: these two say what the image is.
"""
