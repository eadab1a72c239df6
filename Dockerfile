# A server for machines without a GPU; docs/serving.md says how to run it. No check of this repository builds it.
#
#   docker build -t maskkv .
#   docker build -t maskkv --build-arg TORCH_INDEX= .      torch with CUDA, from PyPI
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint constraints.txt '.[serve]' \
    && useradd --create-home --uid 10001 maskkv

USER 10001
WORKDIR /home/maskkv
# Open to the container's network, so a key is needed: it does not start without MASKKV_API_KEY or MASKKV_API_KEY_FILE.
ENV MASKKV_HOST=0.0.0.0 MASKKV_PORT=8000 OMP_WAIT_POLICY=passive
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["maskkv", "serve"]
