"""From the name of a backbone to the files: a local folder, an installed package, or the model hub and its cache."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from exitnas import hub
from exitnas.backbones import ALIASES, Alias
from exitnas.errors import ExitnasError, UsageError
from exitnas.registry import nearest

_PACKAGED = '`pip install "exitnas[demo]"` and --backbone minilm-l6'
WAY_OUT = f"give a local folder, or {_PACKAGED}, or a cached model with --offline"
OFFLINE_WAY_OUT = f"give a local folder, or {_PACKAGED}, or run once without --offline"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """Where a backbone's files come from.

    Attributes:
        name: as the user gave it.
        where: `"folder"`, `"package"` (a folder inside an installed package) or `"hub"`.
        path_or_id: the folder, or the hub id `owner/name`.
    """

    name: str
    where: Literal["folder", "package", "hub"]
    path_or_id: str

    def __str__(self) -> str:
        """How messages call it: the name, and what it stands for when that is something else."""
        return self.name if self.name == self.path_or_id else f"{self.name} ({self.path_or_id})"


def _looks_like_path(name: str) -> bool:
    """Whether `name` can only be a path, or names something below an existing folder."""
    if name.startswith((".", "/", "~")) or "\\" in name or name.endswith("/") or name.count("/") > 1:
        return True
    return "/" in name and Path(name.split("/")[0]).is_dir()


def _packaged(alias: Alias) -> Path | None:
    """The folder of an alias inside its installed package, found without running the package's code."""
    spec = find_spec(alias.package) if alias.package else None
    for location in (spec.submodule_search_locations if spec else None) or []:
        folder = Path(location) / alias.folder
        if (folder / "config.json").is_file():
            return folder
    return None


def resolve(name: str) -> Source:
    """Find out what `name` means: an existing model folder, else an alias (packaged, or on the hub), else a hub id.

    Raises:
        UsageError: a path that is missing or holds no model, or a name that is none of the three.
    """
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return Source(name, "folder", str(path))
    if name in ALIASES:
        alias = ALIASES[name]
        folder = _packaged(alias)
        return Source(name, "package", str(folder)) if folder else Source(name, "hub", alias.hub)
    if path.is_dir():
        raise UsageError(f"backbone {name!r}: the folder holds no config.json; give a saved transformers model")
    if path.is_file():
        raise UsageError(f"backbone {name!r}: is a file; give the folder of a saved transformers model")
    if _looks_like_path(name):
        raise UsageError(f"backbone {name!r}: no such folder")
    if _HUB_ID.fullmatch(name):
        return Source(name, "hub", name)
    raise UsageError(f"unknown backbone {name!r}: {nearest(name, list(ALIASES))}, or a folder, or a hub id owner/name")


def _cached_snapshots(hub_id: str) -> list[Path]:
    """Folders of the hub's cache that hold files of `hub_id`, the one of the main branch first."""
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    folders = sorted(path for path in repository.glob("snapshots/*") if path.is_dir())
    main = repository / "refs" / "main"
    commit = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    return sorted(folders, key=lambda folder: folder.name != commit)


def locate(source: Source, wanted: str, *, offline: bool = False) -> str:
    """The folder or hub id to hand to transformers for a file of `source`.

    Folders and packages answer for themselves. A hub model is answered by its id when the hub may be asked, and by a
    folder of the local cache otherwise, so that no client waits for a network that is not there.

    Args:
        source: what `resolve` returned.
        wanted: a glob pattern of the file needed, e.g. `"*.safetensors"`.
        offline: never ask the hub.

    Raises:
        ExitnasError: the hub may not be asked or does not answer, and the cache lacks the file.
    """
    if source.where != "hub":
        return source.path_or_id
    if not offline and hub.is_reachable():
        return source.path_or_id
    for folder in _cached_snapshots(source.path_or_id):
        if any(folder.glob(wanted)):
            return str(folder)
    if offline:
        raise ExitnasError(
            f"backbone {source}: --offline, but the local cache holds no {wanted} of it; {OFFLINE_WAY_OUT}"
        )
    hub.require_hub(f"backbone {source}", WAY_OUT)
    return source.path_or_id
