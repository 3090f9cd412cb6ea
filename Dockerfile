# Two images. The last target is the default and runs the fleet: `docker build -t photabatch .`
# `--target sandbox` adds the embedded servers and the simulated Phota API, for `photabatch demo` and `simulator`.
# Python is the version that the tests run on; everything installed is pinned by hash.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /opt/photabatch
COPY requirements.txt ./
RUN /opt/photabatch/bin/pip install --require-hashes -r requirements.txt

# The build backend is among the pins of development; nothing of this stage but the wheel goes further.
FROM build AS wheel
COPY requirements-dev.txt ./
RUN pip install --require-hashes -r requirements-dev.txt
COPY pyproject.toml README.md LICENSE settings.py ./
COPY models models
COPY clients clients
COPY producer producer
COPY worker worker
COPY api api
COPY cli cli
COPY sandbox sandbox
COPY sdk sdk
COPY migrations migrations
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist .

FROM build AS build-sandbox
COPY requirements-sandbox.txt ./
RUN /opt/photabatch/bin/pip install --require-hashes -r requirements-sandbox.txt
COPY --from=wheel /dist /dist
RUN /opt/photabatch/bin/pip install --no-deps /dist/*.whl

FROM build AS build-fleet
COPY --from=wheel /dist /dist
RUN /opt/photabatch/bin/pip install --no-deps /dist/*.whl

FROM python:3.11-slim AS runtime
# a user with a name, for initdb wants one; by its number, so that Kubernetes can see that it is not root
RUN useradd --uid 10001 --create-home photabatch && chmod 755 /home/photabatch
ENV PATH=/opt/photabatch/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /home/photabatch
USER 10001:10001
# Workers and dispatchers listen on nothing, and one that answers a ping may still be stuck: they are judged by their
# progress, and started again when they end. API and simulator, which do listen, have theirs in docker-compose.yml.
HEALTHCHECK NONE
EXPOSE 8080
ENTRYPOINT ["photabatch"]
CMD ["--help"]

FROM runtime AS sandbox
COPY --from=build-sandbox /opt/photabatch /opt/photabatch

FROM runtime AS fleet
COPY --from=build-fleet /opt/photabatch /opt/photabatch
