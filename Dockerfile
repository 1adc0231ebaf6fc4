# docker build --target cpu -t ppd-lightning:cpu .
# docker build --target cuda -t ppd-lightning:cuda .        PyTorch brings CUDA; the host needs a driver and its container toolkit
# How they are run: docs/containers.md. dev/image_steps.py runs these steps without Docker.
FROM python:3.11-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 ppd && mkdir /project && chown ppd /project
WORKDIR /opt/ppd-lightning
COPY constraints.txt ./

FROM base AS torch-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install -c constraints.txt --index-url "$TORCH_INDEX" torch torchvision

FROM base AS torch-cuda
RUN pip install -c constraints.txt torch torchvision

FROM torch-cpu AS cpu
ARG COMMIT=
COPY . .
RUN dev/image_install.sh
WORKDIR /project
USER 1000
ENTRYPOINT ["ppd"]
CMD ["--help"]

FROM torch-cuda AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG COMMIT=
COPY . .
RUN dev/image_install.sh
WORKDIR /project
USER 1000
ENTRYPOINT ["ppd"]
CMD ["--help"]
