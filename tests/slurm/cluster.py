"""A real Slurm on this machine: munged, slurmctld and two slurmd on loopback, without systemd or cgroups; needs root.

Debian's packages: slurmctld slurmd slurm-client munge. Nodes are named by their loopback addresses, so that whoever
takes the first node's name for the address of rank 0 reaches it. Jobs of the partition `urgent` preempt those of
`main`, which are queued again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
NODES = ("127.0.0.1", "127.0.0.2")
CPUS = 4
"""Of each node, as Slurm believes: they need not exist."""
PORT = 26817
"""Of slurmctld; the slurmd have the next ones."""
REQUEUE_S = 10
"""How long a credential lasts, and with it how soon a requeued job can begin again."""
GRACE_S = 20
"""Seconds that a preempted job has from its signal to its end."""

CONFIG = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire={requeue}
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdSpoolDir={folder}/spool/%n
StateSaveLocation={folder}/state
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
CommunicationParameters=NoAddrCache
PropagateResourceLimits=NONE
ReturnToService=2
KillWait=5
MinJobAge=86400
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime={grace}
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """What keeps the cluster from running here, or nothing."""
    absent = [name for name in DAEMONS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not installed (make test-slurm installs them)"
    return "" if os.geteuid() == 0 else "the daemons need root"


class Cluster:
    """Starts when the block begins and is gone when it ends; `folder` must be short, for it holds Unix sockets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._munged: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For processes that are to meet this cluster, and no other that this process may be a job of."""
        others = ("SLURM", "SBATCH", "SUBMITIT")
        own = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        return {**own, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{self.folder / 'bin'}:{_path()}"}

    def __enter__(self) -> Cluster:
        for name in ("munge", "log", "state", "bin", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._write_config()
        shutil.copy(Path(__file__).with_name("sacct.py"), self.folder / "bin/sacct")
        (self.folder / "bin/sacct").chmod(0o755)
        self._start_munged()
        conf = ("-f", str(self.folder / "slurm.conf"))
        self.run("slurmctld", *conf, "-c", "-i")
        for node in NODES:
            self.run("slurmd", *conf, "-N", node)
        try:
            self._await("the nodes are up", self._is_up)
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.run("scancel", "--user=root", check=False)
        for name, file in [*(("slurmd", f"slurmd.{node}.pid") for node in NODES), ("slurmctld", "slurmctld.pid")]:
            self._end(name, self.folder / file)
        if self._munged is not None:
            self._munged.terminate()
            self._munged.wait()

    def run(self, *words: str, check: bool = True) -> str:
        """What a command of Slurm's prints."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}\n{self.logs()}")
        return done.stdout

    def jobs(self) -> list[str]:
        """A line a job that is queued or running: its name in an array, its state, why it waits."""
        return self.run("squeue", "--noheader", "--array", "--format=%i %T %r").splitlines()

    def logs(self) -> str:
        """What the daemons complained of."""
        lines = [line for file in (self.folder / "log").glob("*.log") for line in file.read_text().splitlines()]
        return "\n".join(line for line in lines if "error" in line or "fatal" in line)

    def _write_config(self) -> None:
        host = socket.gethostname().partition(".")[0]
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={PORT + place} CPUs={CPUS} RealMemory=4096"
            for place, node in enumerate(NODES, start=1)
        )
        settings = {"host": host, "folder": self.folder, "requeue": REQUEUE_S, "port": PORT, "grace": GRACE_S}
        (self.folder / "slurm.conf").write_text(CONFIG.format(nodes=nodes, **settings))

    def _start_munged(self) -> None:
        folder = self.folder / "munge"
        folder.chmod(0o755)
        (folder / "key").touch(mode=0o600)
        (folder / "key").write_bytes(secrets.token_bytes(1024))
        files = [f"--{name}-file={folder / name}" for name in ("key", "pid", "seed", "log")]
        words = ["munged", "--foreground", "--force", f"--socket={folder / 'socket'}", *files]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._munged = subprocess.Popen(words, env=self.environment, **quiet)
        self._await("munged answers", (folder / "socket").exists)

    def _is_up(self) -> bool:
        idle = ("--noheader", "--partition=main", "--states=idle", "--format=%N", "--Node")
        ready = self.run("sinfo", *idle, check=False)
        return set(ready.split()) == set(NODES)

    def _await(self, what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise RuntimeError(f"not after {seconds} s: {what}\n{self.logs()}")
            time.sleep(0.2)

    def _end(self, name: str, file: Path) -> None:
        """End the daemon of a pid file, if the process still is that daemon."""
        if not file.exists():
            return
        process = Path("/proc") / file.read_text().strip()
        if not (process / "comm").exists() or (process / "comm").read_text().strip() != name:
            return
        os.kill(int(process.name), signal.SIGTERM)
        line = process / "cmdline"  # empty, of one that has ended and that nobody has waited for
        self._await(f"{name} has ended", lambda: not line.exists() or not line.read_text())


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"
