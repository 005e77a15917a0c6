# RobustStack in a container: docs/container.md says how to build and run it.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY robuststack robuststack
COPY plugins/robuststack_plugins plugins/robuststack_plugins
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:${PYTHON}-slim AS installed
# The build of torch and torchvision: cpu, or a version of CUDA such as cu126. Both must come from one index, which uv knows.
ARG TORCH=cpu
# No installer inside: uv is of this stage, and stays behind.
RUN pip install --no-cache-dir uv && python -m venv --without-pip /opt/robuststack
COPY --from=wheel /dist /dist
# An image that does not work is not built.
RUN uv pip install --no-cache --python /opt/robuststack/bin/python --torch-backend ${TORCH} /dist/*.whl \
    && /opt/robuststack/bin/robuststack doctor

FROM python:${PYTHON}-slim AS robuststack
COPY --from=installed /opt/robuststack /opt/robuststack
# With `--user`, any user may run this: one without a name or a home, who can write to /project alone. Data sets are kept there.
ENV PATH=/opt/robuststack/bin:$PATH USER=robuststack XDG_CACHE_HOME=/project/.cache MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --create-home --uid 1000 robuststack && install --directory --owner robuststack /project
USER robuststack
WORKDIR /project
ENTRYPOINT ["robuststack"]
CMD ["--help"]
