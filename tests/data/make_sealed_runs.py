"""Write sealed_runs.zip beside this file: tiny runs as the present version writes them, for the versions after it to read.

One is finished, the other is stopped in the middle of its second stage and takes the same steps; both hold all that a run
leaves behind but its pictures, in folders of the names `finished` and `stopped`.  Run it only where a new kind of old run is
to be kept, and under another name: what is there shows that earlier runs are read.
"""

import contextlib
import os
import signal
import tempfile
import zipfile
from pathlib import Path

from priorkit.config import resolve
from priorkit.errors import InterruptedRunError
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.training import train as workflow

ARCHIVE = Path(__file__).with_name("sealed_runs.zip")
DATE = (2026, 1, 1, 0, 0, 0)
OPTIONS = (
    "backbone=twolayer", "backbone.latents=[2, 3]", "backbone.hidden=8", "prior=multistage", "prior.stages=2",
    "prior.adaptive=false", "prior.energy.width=8", "prior.pool_size=100", "sampler=mala", "sampler.steps=3",
    "trainer.backbone_steps=20", "trainer.prior_steps=20", "trainer.prior_batch=32", "trainer.posterior_samples=1",
    "engine.checkpoint_seconds=0", "engine.log_every=5", "engine.threads=1", "engine.device=cpu",
)  # fmt: skip


def stop(phase, step, figures):
    """Ask for a stop where the second stage is half done."""
    if (phase, step) == ("prior.2", 5):
        os.kill(os.getpid(), signal.SIGINT)


def main():
    config = resolve(None, list(OPTIONS))
    workflow.draw_pictures = lambda *given, **options: None
    with (
        tempfile.TemporaryDirectory() as runs,
        zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive,
        contextlib.chdir(runs),  # a summary has the run's path as it was given
    ):
        workflow.train(config, Path("finished"), evaluation=Evaluation(samples=60))
        try:
            workflow.fit(config, Path("stopped"), on_log=stop)
        except InterruptedRunError as told:
            print(told)
        for file in sorted(path for path in Path().rglob("*") if path.is_file()):
            archive.writestr(zipfile.ZipInfo(file.as_posix(), DATE), file.read_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
