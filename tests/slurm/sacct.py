#!/usr/bin/env python3
"""Stands in for `sacct` where no accounting runs: what submitit asks for, from the controller's own memory.

submitit asks `sacct -o JobID,State,NodeList --parsable2 -j ID -j ID...`; without an answer it waits for ever for a job
that died without a result.
"""

import re
import subprocess
import sys
from itertools import pairwise

ids = [word for flag, value in pairwise(sys.argv) if flag == "-j" for word in value.split(",")]
lines = []
for job in ids:
    known = subprocess.run(["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, check=False)
    for line in known.stdout.splitlines():
        told = dict(re.findall(r"(\w+)=(\S*)", line))
        task = told.get("ArrayTaskId", "")
        if "JobId" not in told:
            continue
        waiting = task if task.isdigit() else f"[{task}]"
        name = f"{told['ArrayJobId']}_{waiting}" if task else told["JobId"]
        lines.append(f"{name}|{told['JobState']}|{told.get('NodeList', '').replace('(null)', '') or 'None assigned'}")
print("\n".join(["JobID|State|NodeList", *dict.fromkeys(lines)]))
