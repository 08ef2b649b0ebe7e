"""Sharing runs: a folder with what others need of a run, uploaded to the Hugging Face Hub or written to disk, and read back.

It contains the configuration, the metrics, pictures and safetensors with their checksums, and a model card, but no
checkpoints and no paths of this machine.
"""

import importlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from priorkit.config import without_places
from priorkit.config.document import dump
from priorkit.config.layers import read_file
from priorkit.errors import UsageError
from priorkit.registry.entry import THIS_PROCESS
from priorkit.runs.folder import RunFolder
from priorkit.runs.manifest import read_listed
from priorkit.runs.records import DATA, METRICS, SUMMARY, read_data, read_steps, read_summary
from priorkit.runtime.atomic_files import MANIFEST, sha256, write_bytes, write_json, writing
from priorkit.workflows.sharing.half_precision import halved
from priorkit.workflows.sharing.import_run import ORIGIN
from priorkit.workflows.sharing.model_card import model_card
from priorkit.zoo import PREFIX, given_run

__all__ = ["fetch_run", "push_run", "share_run"]

CARD = "README.md"
PICTURE = "samples/overview.png"
COPIED = (METRICS, "weights/MANIFEST.json", "weights/*.safetensors", "samples/*.png")
WANTED = ("config.yaml", DATA, SUMMARY, METRICS, ORIGIN, MANIFEST, "weights/MANIFEST.json", "weights/*.safetensors")
"""All files that are downloaded."""
REPOSITORY = r"[\w.-]+/[\w.-]+"


def push_run(run: Path, repo: str, *, private: bool = False, message: str | None = None, half: bool = False) -> str:
    """Upload a finished run to the Hub's repository OWNER/NAME, which is created if missing; return its address.

    With `half` the weights are stored in half precision.

    Raises UsageError for an unfinished or damaged run, without huggingface_hub, and for errors of the Hub.
    """
    _see_name(repo)
    hub = _hub()
    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary) / "run"
        _stage(RunFolder.existing(run), staged, repo, half)

        def upload() -> str:
            api = hub.HfApi(library_name="priorkit")
            address = api.create_repo(repo_id=repo, repo_type="model", private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo,
                repo_type="model",
                folder_path=str(staged),
                commit_message=message or f"priorkit run {run.name}",
                delete_patterns=["weights/*", "samples/*", ORIGIN],
            )
            return str(address)

        return _asked(upload, f"{repo}: could not be pushed to", "Log in with `hf auth login` and check the name.")


def share_run(run: Path, repo: str, folder: Path, *, half: bool = False) -> None:
    """Write what `push_run` would upload to a new folder. Raises UsageError if the folder exists."""
    if not repo.startswith(PREFIX):
        _see_name(repo)
    source, folder = RunFolder.existing(run), folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is not an empty folder. Choose another, or remove its contents.")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        _stage(source, part, repo, half)
        with writing(folder):
            part.replace(folder)
    except (OSError, UsageError):
        shutil.rmtree(part, ignore_errors=True)
        raise


def fetch_run(name: str, *, revision: str | None = None, cache: Path | None = None, offline: bool = False) -> Path:
    """Return the folder of a shared run: `name` if it is a folder or zoo:NAME, else the download of OWNER/NAME from the
    Hub.

    `revision` is a branch, tag or commit; `cache` the folder of downloads, by default the Hub library's; `offline` uses
    existing files only. Raises UsageError for a name that is neither, and for errors of the Hub.
    """
    folder = given_run("name", name)
    if folder.is_dir():
        return RunFolder.existing(folder).path
    _see_name(name)
    hub = _hub()

    def download() -> str:
        return str(
            hub.snapshot_download(
                repo_id=name, repo_type="model", revision=revision, cache_dir=cache, local_files_only=offline,
                allow_patterns=list(WANTED), library_name="priorkit",
            )
        )  # fmt: skip

    advice = "Check the name and the network; a private repository needs `hf auth login`."
    found = Path(_asked(download, f"{name}: is no folder here, and could not be read from", advice))
    if not (found / "config.yaml").is_file():
        raise UsageError(f"{name}: is a repository on the Hub, but does not contain a priorkit run (no config.yaml).")
    return found


def _hub() -> Any:
    """Return the module huggingface_hub."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UsageError("sharing runs needs the library of the Hugging Face Hub: pip install priorkit[hub]") from error


def _asked(call: Callable[[], str], doing: str, advice: str) -> str:
    try:
        return call()
    except Exception as error:  # the library and its HTTP client, which changed between versions, raise different errors
        said = " ".join(str(error).split())[:300]
        raise UsageError(f"{doing} the Hugging Face Hub ({type(error).__name__}: {said}). {advice}") from error


def _see_name(repo: str) -> None:
    if not isinstance(repo, str) or not re.fullmatch(REPOSITORY, repo):
        raise UsageError(f"{repo!s:.200}: is neither a folder here nor a repository's name, which is OWNER/NAME.")


def _stage(source: RunFolder, target: Path, repo: str, half: bool) -> None:
    """Write the shared files, the weights in `half` precision or as they are; their checksums are verified first."""
    config, _ = read_file(source.config)
    if THIS_PROCESS in config.get("versions", {}):
        raise UsageError(
            f"{source.path}: uses a plugin that was registered in one process only, which others do not "
            "have. Create a package with `priorkit plugins new`, train with it, then push."
        )
    summary, spec = read_summary(source.path), _read(source.path, DATA)
    read_data(source.path), read_steps(source.path)  # they are whole
    for name, digest in source.checksums("backbone", "prior").items():
        weights = source.weights / f"{name}.safetensors"
        if not weights.is_file() or sha256(weights) != digest:
            raise UsageError(f"{weights}: is missing or was changed (its checksum differs); restore it, then push.")
    heldout = config["data"].get("heldout")
    # A second source of data is named in every protocol too.
    for told in (spec, *summary["metrics"].values()) if heldout else ():
        told["protocol"] = told["protocol"].replace(heldout, without_places(heldout))
    config = without_places(config)
    config["data"]["root"] = None
    # A reader may have no GPU.
    config["engine"]["device"] = "auto"
    spec["name"] = without_places(spec["name"])
    summary |= {"run": repo, "data": without_places(summary["data"])}
    with writing(target):
        for path in (file for pattern in COPIED for file in sorted(source.path.glob(pattern))):
            place = target / path.relative_to(source.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    if half:
        halves = {name: halved(source.load_weights(name)) for name in ("backbone", "prior")}
        for name, tensors in halves.items():
            RunFolder(target).save_weights(name, tensors, RunFolder(target).checksums())
    write_bytes(target / "config.yaml", dump(config).encode())
    write_json(target / DATA, spec)
    write_json(target / SUMMARY, summary)
    if (source.path / ORIGIN).is_file():
        write_json(target / ORIGIN, without_places(_read(source.path, ORIGIN)))
    RunFolder(target).close()
    picture = PICTURE if (target / PICTURE).is_file() else None
    write_bytes(target / CARD, model_card(repo, config, spec, summary, picture, half=half).encode())


def _read(folder: Path, name: str) -> dict[str, Any]:
    """Return a JSON file that every finished or imported run has."""
    try:
        found: dict[str, Any] = dict(json.loads(read_listed(folder, name)))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{folder / name}: is damaged; restore it, then push.") from error
    return found
