# Three images: `train` (with torch), `serve` (ONNX Runtime, no torch) and `serve-torchscript`.
# docker build --target serve -t passfail .      with --build-arg SIGNED_BY=yes it can verify signatures
ARG PYTHON_IMAGE=python:3.11-slim

# The stage in which pip works; its caches and tools stay here.
FROM ${PYTHON_IMAGE} AS pip
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /venv
# pip stays outside the environment it fills, so that no final image has an installer.
ENV INSTALL="python -m pip --python /venv/bin/python install --quiet"
# cryptography is a tenth of the serving set, so only an image with SIGNED_BY has it.
ARG SIGNED_BY=
COPY requirements/serve.txt requirements/signing.txt requirements/
RUN if [ "$SIGNED_BY" ]; then set=signing; else set=serve; fi && $INSTALL --require-hashes -r requirements/$set.txt
# Remove the files that serving never opens, and uvloop's symbols.
COPY deploy/unused .
RUN apt-get update -qq && apt-get install -qq --no-install-recommends binutils >/dev/null && \
    ./unused /venv/lib/python3*/site-packages && strip --strip-unneeded /venv/lib/python3*/site-packages/uvloop/*.so

FROM pip AS pip-torchscript
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY deploy/install_torch.py .
COPY requirements/torchscript.txt requirements/
RUN $INSTALL --require-hashes -r requirements/torchscript.txt && \
    python install_torch.py "$TORCH_INDEX" $INSTALL torch==2.13.0 && ./unused /venv/lib/python3*/site-packages

FROM pip-torchscript AS pip-train
COPY requirements/train.txt requirements/
RUN $INSTALL --require-hashes -r requirements/train.txt && ./unused /venv/lib/python3*/site-packages

# The service's code, compiled: the images can't write.
FROM ${PYTHON_IMAGE} AS code
COPY passfail /app/passfail
COPY serve /app/serve
RUN python -m compileall -q /app/passfail /app/serve

# The base of every final image: a user without rights, the two folders, the environment.
FROM ${PYTHON_IMAGE} AS base
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin passfail && \
    mkdir -p /app/models /app/checkpoints && chown passfail /app/models /app/checkpoints
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1
USER passfail

FROM base AS train
COPY --from=pip-train /venv /venv
COPY passfail passfail
COPY serve serve
COPY train train
COPY data data
ENTRYPOINT ["python", "-m", "train"]
CMD ["--help"]

FROM base AS service
EXPOSE 8000
# SageMaker runs `docker run IMAGE serve`.
COPY deploy/sagemaker/serve /usr/local/bin/serve
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + (os.environ.get('PORT') or os.environ.get('AIP_HTTP_PORT') or '8000') + '/health/ready', timeout=2)"]
CMD ["python", "-m", "serve"]

FROM service AS serve-torchscript
ENV RUNTIME=torchscript
COPY --from=pip-torchscript /venv /venv
COPY --from=code /app .

# The last stage is the default target.
FROM service AS serve
COPY --from=pip /venv /venv
COPY --from=code /app .
