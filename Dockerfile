# syntax=docker/dockerfile:1
# One file, three images: `web` has no torch, `serving` has no Django, `worker` has both.
#   docker build --target web -t fletch-web .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/venv/bin:$PATH HF_HUB_DISABLE_TELEMETRY=1
# Volumes are mounted on these folders of the user's: a new one takes its owner from the folder that it hides.
RUN groupadd --gid 10001 fletch \
 && useradd --uid 10001 --gid fletch --home-dir /home/fletch --create-home --shell /usr/sbin/nologin fletch \
 && install -d -o fletch -g fletch /data /app /home/fletch/.cache /home/fletch/.cache/huggingface \
 && python -m venv /venv
WORKDIR /app

FROM base AS web
COPY requirements/web.txt requirements/
RUN pip install -r requirements/web.txt
COPY manage.py ./
COPY hub hub
# pip compiles what it installs; nobody may write beside our own modules later, and each start would compile them.
RUN python -m compileall -q hub
# The manifest of hashed names is made with the image, so that a container starts without writing anything.
RUN FLETCH_DATA=/tmp/build FLETCH_STATIC_ROOT=/app/static python manage.py collectstatic --noinput && rm -rf /tmp/build
ENV FLETCH_STATIC_ROOT=/app/static FLETCH_DATA=/data
USER fletch
EXPOSE 8000
CMD ["gunicorn", "hub.wsgi", "--worker-class", "gthread", "--workers", "2", "--threads", "16", "--graceful-timeout", "30", "--bind", "0.0.0.0:8000"]

FROM base AS serving
# On a GPU Triton compiles a launcher for each kernel when it first runs, against the headers of Python and of the C library.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements/serving.txt requirements/telemetry.txt requirements/
RUN pip install "$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements/serving.txt)" && pip install -r requirements/serving.txt -r requirements/telemetry.txt
COPY routing routing
COPY workers/__init__.py workers/
COPY workers/serving workers/serving
RUN python -m compileall -q routing workers
# Loops are compiled for the processor that runs them, so compiling them here would help no other: they are kept on the
# volume, and where no folder can be written each start compiles them.
ENV NUMBA_CACHE_DIR=/data/cache/numba TRITON_CACHE_DIR=/data/cache/triton
USER fletch
EXPOSE 8081
CMD ["python", "-m", "workers.serving", "--store", "/data/store", "--cache", "/data/cache/objects", "--host", "0.0.0.0", "--port", "8081", "--callers", "passes"]

FROM base AS worker
# The same layer as `serving` has, for the same reason: the gpu queue.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements/worker.txt requirements/
RUN pip install "$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements/worker.txt)" && pip install -r requirements/worker.txt
COPY manage.py ./
COPY hub hub
COPY routing routing
COPY workers workers
RUN python -m compileall -q hub routing workers
ENV FLETCH_DATA=/data NUMBA_CACHE_DIR=/data/cache/numba TRITON_CACHE_DIR=/data/cache/triton
USER fletch
CMD ["python", "-m", "celery", "-A", "workers.app", "worker", "--queues", "cpu,io", "--concurrency", "2"]
