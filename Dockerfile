# RobustStack in a container: docs/container.md says how to build and run it.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY robuststack robuststack
COPY plugins/robuststack_plugins plugins/robuststack_plugins
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:${PYTHON}-slim AS installed
# The index of torch and torchvision: cpu, or a version of CUDA such as cu126. Both must come from one index.
ARG TORCH=cpu
# No pip inside: the one of this stage installs, and stays behind.
RUN python -m venv --without-pip /opt/robuststack
RUN pip --python /opt/robuststack/bin/python install --no-cache-dir \
    --index-url https://download.pytorch.org/whl/${TORCH} "torch>=2.6" "torchvision>=0.21"
COPY --from=wheel /dist /dist
# An image that does not work is not built.
RUN pip --python /opt/robuststack/bin/python install --no-cache-dir /dist/*.whl && /opt/robuststack/bin/robuststack doctor

FROM python:${PYTHON}-slim AS robuststack
COPY --from=installed /opt/robuststack /opt/robuststack
# With `--user`, any user may run this: one without a name or a home, who can write to /work alone. Data sets are kept there.
ENV PATH=/opt/robuststack/bin:$PATH USER=robuststack XDG_CACHE_HOME=/work/.cache MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --create-home --uid 1000 robuststack && install --directory --owner robuststack /work
USER robuststack
WORKDIR /work
ENTRYPOINT ["robuststack"]
CMD ["--help"]
