"""Runs inside the host's Python: carries out jobs with the host's own code, one after another, so that it is imported once.

    python native_worker.py COMFYUI

Reads a JSON object a line: ``script``, a module beside this one with ``carry_out(job)``, and ``job``. Answers each with
``error``, a traceback or null, and ``log``, what the host warned of meanwhile.
"""

import importlib
import io
import json
import logging
import os
import sys
import traceback

answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print
sys.path.insert(0, sys.argv[1])
sys.argv[1:] = ["--cpu", "--force-fp32", "--disable-xformers"]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import utils.install_util  # noqa: E402, F401  # first, as main.py does: later another folder named utils hides it

for line in sys.stdin:
    asked, error, log = json.loads(line), None, io.StringIO()
    try:
        script = importlib.import_module(asked["script"])
        # Unloaded keys are only ever told to the log.
        logging.basicConfig(stream=log, level=logging.WARNING, force=True)
        script.carry_out(asked["job"])
    except Exception:
        error = traceback.format_exc()
    print(json.dumps({"error": error, "log": log.getvalue()}), file=answers, flush=True)
