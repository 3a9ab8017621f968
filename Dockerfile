# The one image of operator, processor and migrations.
#   docker build -t localhost/flagschedule:dev .
# needs a package index. `python -m dev.image build` needs none inside of the build: it puts a folder `wheels` with
# everything that is locked next to this file, and may name a base image that it made itself.
# A release names its base by digest: --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# The asterisk makes the folder optional: its files are copied if it is there.
COPY requirements/runtime.txt requirements/build.txt wheels* ./wheels/
# In one venv pip and the build backend, in the other what runs: nothing that can install or build reaches the
# final stage. `python3`, because that name exists in every base image.
RUN set -eu; \
    python3 -m venv /build; \
    python3 -m venv --without-pip /opt/venv; \
    if ls wheels/*.whl >/dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/src/wheels; fi; \
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all: PIP_ROOT_USER_ACTION=ignore; \
    /build/bin/pip install --quiet --require-hashes -r wheels/build.txt; \
    /build/bin/pip --python /opt/venv/bin/python3 install --quiet --require-hashes -r wheels/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY migrations migrations
# The plugin for kubectl is for people's machines: here it would be one more program to start.
RUN set -eu; \
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INDEX=1 PIP_ROOT_USER_ACTION=ignore; \
    /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .; \
    /build/bin/pip --python /opt/venv/bin/python3 install --quiet --no-deps dist/*.whl; \
    rm /opt/venv/bin/kubectl-flagschedule /opt/venv/bin/kubectl_complete-flagschedule; \
    /opt/venv/bin/flagschedule version

COPY dev/image/root.py ./
RUN mkdir /root-fs; python3 root.py /opt/venv /root-fs

# Python and what it needs, but no shell, no package manager and no other tool of the base image.
FROM scratch
COPY --from=build /root-fs /
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["flagschedule"]
ARG VERSION=0.1.0
ARG COMMIT=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title=flagschedule \
      org.opencontainers.image.description="Changes feature flags at a set time" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${COMMIT} \
      org.opencontainers.image.base.name=${PYTHON_IMAGE}
