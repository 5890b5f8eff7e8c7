# craft_stream as an image. The default target has the hashing encoder; `--target neural` adds sentence-transformers;
# `--target simulator` is the crawl of deploy/compose.
#
#   docker build -t craft-stream .
#   docker build -t craft-stream:neural --target neural .
#   docker run --read-only --tmpfs /tmp --cap-drop all craft-stream run --set kafka.bootstrap_servers=kafka:9092
#
# Any base with Python 3.11 or newer, venv and pip will do.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# The cores that the kernels are compiled for. Naming them makes the cache valid on every machine that has them, whatever
# its exact processor, and decisions equal to the last bit among them. x86-64-v3 is any server since 2015; for Arm:
# --build-arg KERNEL_CPU=neoverse-n1.
ARG KERNEL_CPU=x86-64-v3
ENV NUMBA_CPU_NAME=${KERNEL_CPU} NUMBA_CPU_FEATURES=""
WORKDIR /src
RUN python3 -m venv /opt/craft
# Dependencies before sources, so that a change of the code does not install them again.
COPY pyproject.toml ./
RUN python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > /tmp/requirements \
 && /opt/craft/bin/pip install -r /tmp/requirements \
 && python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['demo'], sep='\n')" \
      > /tmp/demo \
 && /opt/craft/bin/pip install --no-deps --target /demo -r /tmp/demo
COPY README.md LICENSE ./
COPY craft_stream craft_stream
COPY connectors connectors
# Tests of the dependencies are a seventh of the image. Whole seconds as times of files, since layers keep no fractions and
# a kernel's cache is valid only for a source of the same time.
RUN /opt/craft/bin/pip install --no-deps . \
 && find /opt/craft -type d -name tests -path '*site-packages*' -not -path '*/numpy/*' -prune -exec rm -rf {} + \
 && /opt/craft/bin/pip uninstall --yes pip \
 && find /opt/craft -exec touch --no-dereference --date=@1735689600 {} +
# The demo decides with every kernel; what it compiles stays.
RUN NUMBA_CACHE_DIR=/opt/craft/kernels PYTHONPATH=/demo PYTHONDONTWRITEBYTECODE=1 /opt/craft/bin/craft-stream demo \
 && chmod -R a+rX /opt/craft

FROM ${BASE} AS base
ARG KERNEL_CPU=x86-64-v3
ENV PATH=/opt/craft/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=${KERNEL_CPU} \
    NUMBA_CPU_FEATURES="" \
    NUMBA_CACHE_DIR=/tmp/kernels \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    NUMBA_NUM_THREADS=1
# A container sees the cores of its machine, not those of its limit: libraries that start a thread for each of them wait for
# one another. The chart sets the three to the limit's cores.
COPY deploy/entrypoint /usr/local/bin/entrypoint
RUN groupadd --gid 10001 craft && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp craft
USER 10001:10001
EXPOSE 9464
STOPSIGNAL SIGTERM
# For `run`; port 9464 unless CRAFT_OBSERVE__PORT says otherwise. Kubernetes asks by itself.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["entrypoint", "healthy"]
ENTRYPOINT ["entrypoint"]
CMD ["--help"]

FROM build AS build-neural
# The index of packages has torch for CUDA only, 4 GB of it. Where there is one with torch for CPUs:
# --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL
RUN python3 -m venv --upgrade-deps /tmp/pip \
 && python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['sentence-transformers'], sep='\n')" \
      > /tmp/neural \
 && /tmp/pip/bin/pip --python /opt/craft/bin/python install -r /tmp/neural

FROM base AS neural
COPY --from=build-neural /opt/craft /opt/craft

FROM base AS runtime
COPY --from=build /opt/craft /opt/craft

# The crawl of the compose stack.
FROM runtime AS simulator
COPY --from=build /demo /demo
COPY deploy/simulator/crawl.py /crawl.py
ENV PYTHONPATH=/demo
HEALTHCHECK NONE
ENTRYPOINT ["python3", "/crawl.py"]
CMD []

FROM runtime AS default
