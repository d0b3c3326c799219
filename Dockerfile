# Triptych for processors; with an NVIDIA GPU:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 -t triptych .
FROM python:3.13-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt ".[web]" \
    && useradd --uid 1000 triptych \
    && mkdir /images \
    && chown 1000 /images

# Whoever runs it, by `--user` too, can write these.
ENV HOME=/tmp TRIPTYCH_CACHE=/images/.triptych-cache
USER 1000
WORKDIR /images
ENTRYPOINT ["triptych"]
# The demo: its last line says where the report is, in the folder that is mounted at /images.
CMD ["compare", "--out", "demo"]
