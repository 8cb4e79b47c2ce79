"""The files of a benchmark: what it is, one file for each finished split, and work that can be gone on with.

Every file carries a sha256 of its content and the fingerprint of its benchmark, so that a damaged or foreign one is not
taken for a result.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any

from syncgan.errors import ArtefactError, RunExistsError
from syncgan.storage import is_temporary, library_versions, make_folder, read_json, sha256, write_json_once, write_text
from syncgan.training.run_folder import differences

__all__ = ["BenchmarkStore"]

_FORMAT = "syncgan-benchmark"
_FORMAT_VERSION = 1
_BENCHMARK = "benchmark.json"
_LATER = (("features",), ("versions", "scikit-learn"))  # parts of an identity that the first benchmarks lack


class BenchmarkStore:
    """The folder of a benchmark.

    Parameters
    ----------
    folder : made by `begin`.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)

    def begin(self, identity: Mapping[str, Any], record: Mapping[str, Any], *, resume: bool) -> None:
        """Say what this benchmark is, or check that the folder holds the same one.

        Parameters
        ----------
        identity : what makes two benchmarks the same: data, settings, arms, classifiers, seed.
        record : what else is worth knowing (class names, thread count); of the first process.
        resume : accept a folder that holds the same benchmark.

        Raises
        ------
        RunExistsError
            The folder holds another benchmark (the differences are named), something else, or one and `resume` is off.
        ArtefactError
            It cannot be written.
        """
        identity = {**identity, "versions": {**library_versions(), "scikit-learn": metadata.version("scikit-learn")}}
        path = self.folder / _BENCHMARK
        # In this order: another shard may begin between the two looks.
        is_free = self._is_free()
        if not path.exists():
            if self.folder.exists() and not is_free:
                raise RunExistsError(f"{self.folder}: is not empty and holds no benchmark; choose another folder")
            make_folder(self.folder)
            # Of shards that begin together one writes; all compare.
            write_json_once(path, _sealed({"kind": "benchmark", "identity": identity, "record": dict(record)}))
        elif not resume:
            raise RunExistsError(f"{self.folder}: already holds a benchmark; go on with it, or choose another folder")
        stored = self.description()["identity"]
        self._refuse(differences(stored, _as_old_as(stored, json.loads(json.dumps(identity)))))

    def require_weights(self, classifier: str, weights: str, known: Mapping[str, str]) -> None:
        """Refuse a classifier that starts from other weights or features than in the finished splits.

        Parameters
        ----------
        classifier, weights : its name, and what it starts from here.
        known : as `initial_weights` returns.

        Raises
        ------
        RunExistsError
            They are others.
        """
        if known.get(classifier, weights) != weights:
            self._refuse([f"initial weights of {classifier}: was {known[classifier]!r}, is {weights!r}"])

    def initial_weights(self) -> dict[str, str]:
        """Return classifier -> what it started from in the finished splits."""
        entries = (entry for split in self.splits() for entry in split["results"] if "initial_weights" in entry)
        return {entry["classifier"]: entry["initial_weights"] for entry in entries}

    @property
    def may_begin(self) -> bool:
        """Whether the folder holds a benchmark, or no more than what one leaves that is just beginning."""
        return self._is_free() or (self.folder / _BENCHMARK).exists()

    def description(self) -> dict[str, Any]:
        """Return what the benchmark is: ``identity`` and ``record``."""
        return _opened(self.folder / _BENCHMARK, "benchmark")

    @property
    def fingerprint(self) -> str:
        """A sha256 over the identity."""
        return sha256(json.dumps(self.description()["identity"], sort_keys=True).encode())

    def split_path(self, number: int) -> Path:
        """Return where the result of a split lies."""
        return self.folder / "splits" / f"split-{number:03d}.json"

    def work(self, number: int) -> Path:
        """Return the folder of what belongs to a split that is not finished."""
        return self.folder / "work" / f"split-{number:03d}"

    def finished(self, number: int) -> bool:
        """Tell whether a split is done; a damaged or foreign file is refused with `ArtefactError`."""
        if not self.split_path(number).exists():
            return False
        self.read_split(self.split_path(number))
        return True

    def finish(self, number: int, result: Mapping[str, Any]) -> None:
        """Write the result of a split, and drop the work on it."""
        self._write(self.split_path(number), "split", result)
        self.drop_work(number)

    def drop_work(self, number: int) -> None:
        """Remove what a split needs only until it is finished."""
        shutil.rmtree(self.work(number), ignore_errors=True)
        with contextlib.suppress(OSError):  # the work of other splits is still there
            self.work(number).parent.rmdir()

    def splits(self) -> list[dict[str, Any]]:
        """Return the results of all finished splits, in order."""
        return [self.read_split(path) for path in sorted((self.folder / "splits").glob("split-*.json"))]

    def read_split(self, path: Path) -> dict[str, Any]:
        """Return the result of one split.

        Raises
        ------
        ArtefactError
            It is damaged, or of another benchmark.
        """
        return self._read(path, "split")

    def training(self, number: int, arm: int, classifier: int) -> dict[str, Any] | None:
        """Return the result of one training of a split that is not finished, None where there is none."""
        path = self._training_path(number, arm, classifier)
        return self._read(path, "training") if path.exists() else None

    def keep_training(self, number: int, arm: int, classifier: int, result: Mapping[str, Any]) -> None:
        """Keep the result of one training until its split is finished."""
        self._write(self._training_path(number, arm, classifier), "training", result)

    def fold_work(self, number: int, fold: int) -> Path:
        """Return the folder of the fit in an inner split."""
        return self.work(number) / f"ratio-{fold:03d}"

    def fold(self, number: int, fold: int) -> dict[float, float] | None:
        """Return ratio -> score of an inner split of a split that is not finished, None where there is none."""
        path = self._fold_path(number, fold)
        if not path.exists():
            return None
        return {float(ratio): score for ratio, score in self._read(path, "ratio")["scores"].items()}

    def keep_fold(self, number: int, fold: int, scores: Mapping[float, float]) -> None:
        """Keep the scores of an inner split until its split is finished, and drop the fit."""
        self._write(self._fold_path(number, fold), "ratio", {"scores": {f"{at:g}": scores[at] for at in scores}})
        shutil.rmtree(self.fold_work(number, fold), ignore_errors=True)

    def _refuse(self, found: Sequence[str]) -> None:
        if found:
            raise RunExistsError(
                f"{self.folder}: holds another benchmark ({'; '.join(found[:5])}); "
                "go on with what it was started with, or choose another folder"
            )

    def _is_free(self) -> bool:
        # Another shard may be about to begin.
        return self.folder.is_dir() and all(is_temporary(entry.name) for entry in self.folder.iterdir())

    def _training_path(self, number: int, arm: int, classifier: int) -> Path:
        return self.work(number) / "results" / f"{arm:03d}-{classifier:03d}.json"

    def _fold_path(self, number: int, fold: int) -> Path:
        return self.work(number) / "results" / f"ratio-{fold:03d}.json"

    def _write(self, path: Path, kind: str, result: Mapping[str, Any]) -> None:
        make_folder(path.parent)
        write_text(path, _in_lines(_sealed({"kind": kind, "benchmark": self.fingerprint, **result})))

    def _read(self, path: Path, kind: str) -> dict[str, Any]:
        content = _opened(path, kind)
        if content["benchmark"] != self.fingerprint:
            raise ArtefactError(f"{path}: belongs to another benchmark than {_BENCHMARK} beside it; move it away")
        return content


def _as_old_as(stored: Mapping[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity without what the stored one, of an older syncgan, does not tell."""
    for *path, key in _LATER:
        old, new = stored, identity
        for step in path:
            old, new = old[step], new[step]
        if key not in old:
            new.pop(key, None)
    return identity


def _in_lines(content: Mapping[str, Any]) -> str:
    """Return JSON with a line for each key: a file of thousands of probabilities that stays small."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':'))}"
        for key, value in content.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    whole = {"format": _FORMAT, "format_version": _FORMAT_VERSION, **content}
    return {**whole, "sha256": _seal_of(whole)}


def _opened(path: Path, kind: str) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT or content.get("kind") != kind:
        raise ArtefactError(f"{path}: is no {kind} file of a benchmark; move it away")
    version = content.get("format_version")
    if not isinstance(version, int) or version > _FORMAT_VERSION:
        raise ArtefactError(
            f"{path}: has format version {version}, this syncgan reads up to {_FORMAT_VERSION}; upgrade syncgan"
        )
    seal = content.pop("sha256", None)
    if seal != _seal_of(content):
        raise ArtefactError(
            f"{path}: is damaged (its content does not match its sha256); delete it, and it is computed again"
        )
    return content


def _seal_of(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))
