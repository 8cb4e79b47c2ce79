"""The one atomic writer, sha256, and safetensors with a manifest.

A file appears under its final name only when it is complete: bytes go to a temporary name in the same folder, are
fsynced, and replace the target in one step; then the folder is fsynced. Readers check sha256, because safetensors
itself loads a flipped bit without a word. Nothing here is ever pickled.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from syncgan.errors import ArtefactError, RunExistsError, SyncganError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "FORMAT_VERSION",
    "StoredModel",
    "is_temporary",
    "library_versions",
    "make_folder",
    "needed_content",
    "read_folder",
    "read_json",
    "read_tensors",
    "require_same_kind",
    "sha256",
    "sweep_temporaries",
    "write_bytes",
    "write_folder",
    "write_json",
    "write_json_once",
    "write_text",
]

FORMAT_VERSION = 1
_MANIFEST = "manifest.json"
_TENSOR_FILE = re.compile(r".+-[0-9a-f]{12}\.safetensors")
_TEMPORARY_PREFIX = ".syncgan-"
_TEMPORARY_SUFFIX = ".tmp"
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; each is flushed into the one above, or its files could be lost with its name.

    Raises
    ------
    ArtefactError
        It cannot be made.
    """
    try:
        new = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for one in new:
            _fsync_folder(one.parent)
    except OSError as error:
        raise ArtefactError(
            f"{folder}: cannot be made ({error.strerror or error}); choose a writable folder"
        ) from error


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file so that its name holds either the old content or the new, never a part.

    Raises
    ------
    ArtefactError
        The folder cannot be written or the disk is full; names the path and the number of bytes. The old file stays.
    """
    path = Path(path)
    temporary = path.parent / f"{_TEMPORARY_PREFIX}{uuid.uuid4().hex}{_TEMPORARY_SUFFIX}"
    try:
        with _removed_on_failure(temporary):
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise ArtefactError(
            f"{path}: cannot write {len(data)} bytes ({error.strerror or error}); "
            "free disk space or choose a writable folder"
        ) from error


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, content: Any) -> None:
    """Write indented JSON with `write_bytes`; NaN and infinity are refused with `ValueError`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_once(path: Path | str, content: Any) -> None:
    """Write a JSON file unless there is one; of several writers that begin together one wins, and its file is whole."""
    path = Path(path)
    draft = path.parent / f"{_TEMPORARY_PREFIX}{uuid.uuid4().hex}{_TEMPORARY_SUFFIX}"
    write_json(draft, content)
    try:
        path.hardlink_to(draft)  # never overwrites, as a rename would
        _fsync_folder(path.parent)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            write_json(path, content)
    finally:
        # The file is there by now: a draft that stays does no harm, and is swept away later.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def read_json(path: Path | str) -> Any:
    """Read a JSON file that syncgan wrote.

    Raises
    ------
    ArtefactError
        The file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: is damaged, expected JSON ({error}); restore it from a copy") from error


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def write_folder(
    folder: Path | str,
    *,
    kind: str,
    tensors: Mapping[str, Mapping[str, Tensor]],
    manifest: Mapping[str, Any],
) -> None:
    """Write tensors and their manifest as one artefact.

    Each group of tensors becomes ``GROUP-HASH.safetensors``. ``manifest.json``, written last, names the files with
    their sha256 and is the commit point: until it is replaced, the folder holds what it held before.

    Parameters
    ----------
    folder : made if it does not exist.
    kind : what the artefact is ("mask_gan"); `read_folder` refuses another kind.
    tensors : group name -> (tensor name -> tensor on any device).
    manifest : JSON-compatible description kept beside the file list.

    Raises
    ------
    ArtefactError
        It cannot be written. What the folder held is still there.
    """
    import torch
    from safetensors.torch import save

    folder = Path(folder)
    make_folder(folder)
    files: dict[str, dict[str, Any]] = {}
    for group, members in tensors.items():
        data = save(
            {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in members.items()}
        )
        digest = sha256(data)
        name = f"{group}-{digest[:12]}.safetensors"
        write_bytes(folder / name, data)
        files[group] = {"file": name, "sha256": digest, "bytes": len(data)}
    content = {"format": "syncgan", "format_version": FORMAT_VERSION, "kind": kind, "versions": library_versions()}
    content |= {**manifest, "files": files}
    body = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # The manifest seals itself: a changed byte in it is as visible as one in the tensors.
    write_json(folder / _MANIFEST, {**content, "manifest_sha256": sha256(body.encode("utf-8"))})
    for stale in folder.glob("*.safetensors"):
        if _TENSOR_FILE.fullmatch(stale.name) and stale.name not in {entry["file"] for entry in files.values()}:
            # The artefact is complete by now: what cannot be tidied away does no harm.
            with contextlib.suppress(OSError):
                stale.unlink()


def read_folder(
    folder: Path | str, *, kind: str, device: str | torch.device = "cpu"
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read an artefact that `write_folder` wrote, after checking every byte of it.

    Returns
    -------
    tensors, manifest : group name -> (tensor name -> tensor on `device`), and the manifest.

    Raises
    ------
    ArtefactError
        Missing, damaged, of another kind, or written by a newer version.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder, kind)
    with needed_content(folder, kind):
        tensors = {group: read_tensors(folder, entry, device=device) for group, entry in manifest["files"].items()}
    return tensors, manifest


@contextlib.contextmanager
def needed_content(folder: Path | str, kind: str) -> Iterator[None]:
    """Turn what is missing or of another form in an artefact that is undamaged into one `ArtefactError`."""
    try:
        yield
    except SyncganError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, RuntimeError) and type(error) is not RuntimeError:
            raise  # memory that ran out, for example; tensors of other shapes are a plain one
        told = str(error).partition("\n")[0]
        raise ArtefactError(
            f"{folder}: is undamaged, but does not hold what this version of syncgan needs of a {kind} "
            f"({type(error).__name__}: {told}); read it with the version that wrote it"
        ) from error


class StoredModel(ABC):
    """A model that can be written into a folder and read again, by way of what `state` and `from_state` say of it.

    Attributes
    ----------
    kind : what the manifest of its folder calls it.
    """

    kind: ClassVar[str]

    @abstractmethod
    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return tensors, of any shape, by group and name, and a JSON-compatible description, for `from_state`."""

    @classmethod
    @abstractmethod
    def from_state(
        cls,
        tensors: Mapping[str, dict[str, Tensor]],
        manifest: Mapping[str, Any],
        *,
        device: str | torch.device = "auto",
    ) -> Self:
        """Make a fitted model from what `state` returned, `tensors` and `manifest`, on a device.

        Raises
        ------
        KeyError, RuntimeError
            They are not of a model of this kind and version; `load` checks that and says what is wrong.
        """

    def save(self, folder: Path | str) -> None:
        """Write the model into a folder, as safetensors and manifest; see `load`.

        Raises
        ------
        NotFittedError
            Before `fit` or `load`.
        RunExistsError
            The folder holds something else than such a model.
        ArtefactError
            The folder cannot be written; what it held is still there.
        """
        tensors, manifest = self.state()
        require_same_kind(folder, self.kind)
        write_folder(folder, kind=self.kind, tensors=tensors, manifest=manifest)

    @classmethod
    def load(cls, folder: Path | str, device: str | torch.device = "auto") -> Self:
        """Read a model from the folder that `save` wrote, whatever device it was fitted on.

        Raises
        ------
        ArtefactError
            Missing, damaged or newer than this syncgan.
        """
        tensors, manifest = read_folder(folder, kind=cls.kind)
        with needed_content(folder, cls.kind):
            return cls.from_state(tensors, manifest, device=device)


def read_tensors(folder: Path, entry: Mapping[str, Any], *, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Read one safetensors file named by a manifest entry, after checking its length and sha256."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    name = str(entry["file"])
    if Path(name).name != name:
        raise ArtefactError(f"{folder / _MANIFEST}: names a file outside its folder ({name!r}); refuse to read it")
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror or error}); restore it from a copy") from error
    if sha256(data) != entry["sha256"]:
        raise ArtefactError(f"{path}: is damaged (its sha256 is not the one in the manifest); restore it from a copy")
    try:
        return {key: value.to(device) for key, value in load(data).items()}
    except SafetensorError as error:
        raise ArtefactError(f"{path}: is not a safetensors file ({error}); restore it from a copy") from error


def library_versions() -> dict[str, str]:
    """Return the versions that an artefact was made with; manifests keep them."""
    import platform
    from importlib import metadata

    names = ("syncgan", "torch", "torchvision", "numpy", "opencv-python-headless")
    versions = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def is_temporary(name: str) -> bool:
    """Say whether a file or folder of this name is what a writer of syncgan works with, or was left with."""
    return name.startswith(_TEMPORARY_PREFIX)


def sweep_temporaries(folder: Path | str) -> int:
    """Delete temporary files that an interrupted writer left in or below `folder`; return how many."""
    orphans = list(Path(folder).rglob(f"{_TEMPORARY_PREFIX}*{_TEMPORARY_SUFFIX}"))
    for orphan in orphans:
        orphan.unlink(missing_ok=True)
    return len(orphans)


def require_same_kind(folder: Path | str, kind: str) -> None:
    """Refuse a folder whose manifest is of another kind; one that is missing or damaged is no artefact any more.

    Raises
    ------
    RunExistsError
        The folder holds an artefact of another kind, or a ``manifest.json`` of something else.
    """
    try:
        held = json.loads((Path(folder) / _MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return
    ours = isinstance(held, dict) and held.get("format") == "syncgan"
    if not ours or held.get("kind") != kind:
        what = f"a {held.get('kind')}" if ours else f"a {_MANIFEST} that is not of syncgan"
        raise RunExistsError(f"{folder}: expected a folder for a {kind}, found {what} in it; choose another folder")


def _read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    path = folder / _MANIFEST
    if not path.is_file():
        raise ArtefactError(f"{folder}: expected a saved {kind} with {_MANIFEST}, found none; check the path")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != "syncgan":
        raise ArtefactError(f"{path}: is not a manifest of syncgan")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ArtefactError(
            f"{path}: has format version {version}, this syncgan reads up to {FORMAT_VERSION}; upgrade syncgan"
        )
    seal = manifest.pop("manifest_sha256", None)
    body = json.dumps(manifest, sort_keys=True, ensure_ascii=False)
    if seal != sha256(body.encode("utf-8", "surrogatepass")):  # damage can make half a character
        raise ArtefactError(f"{path}: is damaged (its content does not match its own sha256); restore it from a copy")
    if manifest.get("kind") != kind:
        raise ArtefactError(f"{path}: is a {manifest.get('kind')}, expected a {kind}; check the path")
    return manifest


@contextlib.contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder for fsync
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:  # some shared folders have none for folders
            raise
    finally:
        os.close(descriptor)
