"""Several processes on this machine, by torchrun."""

import os
import subprocess
import sys

from priorkit.errors import PriorkitError, UsageError

__all__ = ["launch"]


def launch(devices: int, nodes: int) -> bool:
    """Run this very command once a device, and give True when that is done; False if there is nothing to launch.

    Under torchrun, or with one device, the calling process is itself the one that works.
    """
    if "WORLD_SIZE" in os.environ:
        return False
    if nodes > 1:
        raise UsageError(
            "engine.nodes: several machines are started by torchrun on each of them: torchrun --nnodes N "
            "--nproc-per-node D --rdzv-endpoint HOST:PORT -m priorkit train ..."
        )
    if devices == 1:
        return False
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    code = subprocess.run([*torchrun, "-m", "priorkit", *sys.argv[1:]], check=False).returncode
    if code:
        failed = PriorkitError(f"a process of the {devices} failed (exit code {code}); its own message is above.")
        failed.exit_code = code
        raise failed
    return True
