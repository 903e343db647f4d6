# One image for every process of ours: a node is `python -m hvcluster.node`, the array `python -m hvcluster.san`,
# the orchestrator `hvc`. Dependencies come from the lock, in a layer that only a changed lock builds again.
#
# Behind a mirror: docker build --build-arg PIP_INDEX_URL=... (or `make docker-build`, which passes the setting of
# the environment on). Behind a proxy with a certificate authority of its own: bring a base image that trusts it,
# docker build --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL=
ARG PIP_TRUSTED_HOST=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/hvcluster
WORKDIR /src
COPY requirements.lock ./
RUN /opt/hvcluster/bin/pip install --no-deps --require-hashes -r requirements.lock
COPY . ./
RUN /opt/hvcluster/bin/pip install --no-deps --no-build-isolation . \
 && /opt/hvcluster/bin/pip check \
 && /opt/hvcluster/bin/python -m compileall -q /opt/hvcluster/lib

FROM ${PYTHON_IMAGE}
# Fixed numbers, so that volumes keep their owner from one build to the next.
RUN groupadd --gid 10001 hvcluster \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/hvcluster --create-home hvcluster
COPY --from=build /opt/hvcluster /opt/hvcluster
ENV PATH=/opt/hvcluster/bin:$PATH PYTHONUNBUFFERED=1
USER hvcluster
WORKDIR /var/lib/hvcluster
CMD ["hvc", "--help"]
