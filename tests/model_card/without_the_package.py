"""A script in a process that has torch, diffusers and transformers, and not this package.

Each script runs in a fork of one process that has imported them: importing takes longer than what a script does.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SERVER = """
import json, os, runpy, sys, traceback
for name in (
    "ppd_lightning", "pydantic", "omegaconf", "pyarrow", "lightning", "pytorch_lightning",
    "diffusers.pipelines.deprecated", "diffusers.pipelines.stable_cascade",
):
    sys.modules[name] = None  # every import of it or of a part of it now fails
try:
    import ppd_lightning
except ImportError:
    pass
else:
    raise SystemExit("the package can be imported")
import diffusers, safetensors.torch, torch, transformers
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableCascadeUNet, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel

def script(words, folder, out, err):
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(folder)
    sys.argv, sys.path[0] = words, words[0].rpartition("/")[0]
    code = 0
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    process = os.fork()
    if process == 0:
        script(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", SERVER]
    server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == '"ready"\n'
    return server


def without_the_package(words: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script, the first word, in a folder.

    What diffusers no longer maintains cannot be imported either, nor what only this package needs.
    """
    server, arguments = _server(), [str(word) for word in words]
    outputs = [folder / name for name in (".stdout", ".stderr")]
    assert server.stdin is not None
    assert server.stdout is not None
    print(json.dumps([arguments, str(folder), *map(str, outputs)]), file=server.stdin, flush=True)
    code = int(server.stdout.readline())
    out, err = (output.read_text() for output in outputs)
    for output in outputs:
        output.unlink()
    return subprocess.CompletedProcess(arguments, code, out, err)
