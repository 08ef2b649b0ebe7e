"""What `pip install -e` does to a package's metadata, without pip."""

import tomllib

__all__ = ["installed_like"]


def installed_like(folder):
    """Declare a package as pip would: metadata beside its sources; gives the path to put on PYTHONPATH."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]["priorkit"].items()
    (info / "entry_points.txt").write_text("[priorkit]\n" + "".join(f"{key} = {value}\n" for key, value in points))
    return folder / "src"
