# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build

# On PyPI, torch for Linux brings gigabytes of CUDA. Name an index with CPU builds here to do without: pip prefers `2.x+cpu`
# to `2.x`, so that the pins of constraints.txt hold for both.
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# An empty package first: the dependencies stay in a layer of their own until pyproject.toml changes.
RUN mkdir app && touch app/__init__.py && pip install --constraint constraints.txt ".[all]"
COPY app app
RUN pip install --no-deps --force-reinstall .


FROM python:3.11-slim

# PostgreSQL refuses to run as root, embedded or not; nothing here needs root anyway.
RUN useradd --uid 10001 --user-group --create-home memory \
    && install --directory --owner memory --group memory /var/lib/hybrid-memory
COPY --from=build /opt/venv /opt/venv

WORKDIR /srv

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MEMORY_HOST=0.0.0.0 \
    MEMORY_PORT=8000 \
    MEMORY_DATA_DIR=/var/lib/hybrid-memory

USER memory
VOLUME /var/lib/hybrid-memory
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['MEMORY_PORT']}/health/ready\", timeout=4)"]
CMD ["hybrid-memory", "serve"]
