import contextlib
import errno
import os
import random
import shutil
import stat
import threading

import pytest
import torch

from syncgan import storage
from syncgan.errors import ArtefactError, RunExistsError

TENSORS = {
    "generator": {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7, dtype=torch.int64)},
    "stain": {"mean": torch.tensor([0.5, -1.0], dtype=torch.bfloat16)},
}
MANIFEST = {"classes": ["benign", "Größe"], "seed": 3}


@pytest.fixture
def artefact(tmp_path):
    storage.write_folder(tmp_path / "model", kind="thing", tensors=TENSORS, manifest=MANIFEST)
    return tmp_path / "model"


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sha256_is_that_of_fips_180():
    assert storage.sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- the atomic writer -----------------------------------------------------------------------------------------------


class FailingCalls:
    """Make the n-th of the operating system's calls that a writer uses fail as a full disk does."""

    NAMES = ("open", "fsync", "replace", "rename", "close", "unlink")

    def __init__(self, monkeypatch, fail_at=None):
        self.made = []
        self._fail_at = fail_at
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name, original):
        def call(*args, **kwargs):
            self.made.append(name)
            if len(self.made) - 1 == self._fail_at:
                raise OSError(28, "No space left on device")
            return original(*args, **kwargs)

        return call


def calls_of_a_write(path):
    with pytest.MonkeyPatch.context() as patch:
        calls = FailingCalls(patch)
        storage.write_bytes(path, b"old")
    return calls.made


def test_a_write_fsyncs_the_file_before_it_is_renamed_and_the_folder_after(tmp_path):
    made = [name for name in calls_of_a_write(tmp_path / "file") if name in ("fsync", "replace", "rename")]
    assert made[0] == made[-1] == "fsync"
    assert len(made) == 3


def test_whichever_call_fails_the_file_is_old_or_new_and_the_error_says_so(tmp_path):
    path = tmp_path / "file"
    count = len(calls_of_a_write(path))
    for fail_at in range(count):
        storage.write_bytes(path, b"old")
        with pytest.MonkeyPatch.context() as patch:
            calls = FailingCalls(patch, fail_at)
            with pytest.raises(ArtefactError, match=r"file: cannot write 3 bytes \(No space left on device\)"):
                storage.write_bytes(path, b"new")
        renamed = any(name in ("replace", "rename") for name in calls.made[:fail_at])
        assert path.read_bytes() == (b"new" if renamed else b"old"), calls.made[fail_at]
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"], calls.made[fail_at]


def test_a_write_that_is_interrupted_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    storage.write_bytes(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        storage.write_bytes(tmp_path / "file", b"new")
    assert files_of(tmp_path) == {"file": b"old"}


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"nowhere/file: cannot write 2 bytes"):
        storage.write_bytes(tmp_path / "nowhere" / "file", b"ab")


def test_a_new_file_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        storage.write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_readers_never_see_a_part_while_writers_race(tmp_path):
    path, contents = tmp_path / "file", [bytes([letter]) * 50_000 for letter in b"abc"]
    storage.write_bytes(path, contents[0])
    writers = [
        threading.Thread(target=lambda content=content: [storage.write_bytes(path, content) for _ in range(20)])
        for content in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    assert files_of(tmp_path).keys() == {"file"}


def test_sweep_removes_orphans_of_the_writer_and_nothing_else(tmp_path):
    for name in (".syncgan-0123.tmp", "model.tmp", ".syncgan-notes", "file"):
        (tmp_path / name).touch()
    assert storage.sweep_temporaries(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".syncgan-notes", "file", "model.tmp"]


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_links", [True, False])
def test_json_that_is_written_once_stays_and_leaves_no_other_file(tmp_path, monkeypatch, has_links):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr("pathlib.Path.hardlink_to", refused)
    storage.write_json_once(tmp_path / "once.json", [1])
    storage.write_json_once(tmp_path / "once.json", [2])
    assert storage.read_json(tmp_path / "once.json") == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["once.json"]


def test_json_comes_back_as_it_was(tmp_path):
    storage.write_json(tmp_path / "a.json", {"name": "Größe", "values": [1, 2.5, None, True]})
    assert storage.read_json(tmp_path / "a.json") == {"name": "Größe", "values": [1, 2.5, None, True]}
    assert "Größe" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_json_has_not(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "a.json", {"loss": value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json_is_an_artefact_error(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"a\.json: is damaged"):
        storage.read_json(tmp_path / "a.json")


# --- folders of tensors ----------------------------------------------------------------------------------------------


def test_tensors_and_manifest_come_back_bit_by_bit(artefact):
    tensors, manifest = storage.read_folder(artefact, kind="thing")
    assert tensors.keys() == TENSORS.keys()
    for group, members in TENSORS.items():
        assert tensors[group].keys() == members.keys()
        for name, value in members.items():
            assert tensors[group][name].dtype == value.dtype
            assert torch.equal(tensors[group][name], value)
    assert MANIFEST.items() <= manifest.items()


def test_the_manifest_names_every_other_file_with_the_sha256_of_its_bytes(artefact):
    files = files_of(artefact)
    entries = storage.read_json(artefact / "manifest.json")["files"].values()
    assert {entry["file"]: entry["sha256"] for entry in entries} == {
        name: storage.sha256(data) for name, data in files.items() if name != "manifest.json"
    }
    assert all(entry["bytes"] == len(files[entry["file"]]) for entry in entries)


def test_any_flipped_bit_in_any_file_is_noticed(artefact):
    draw = random.Random(0)
    for name, data in files_of(artefact).items():
        # Every byte of the manifest and every part of a tensor file has a meaning of its own: sample all of them.
        for position in sorted(draw.sample(range(len(data)), min(len(data), 200))):
            changed = bytearray(data)
            changed[position] ^= 1 << draw.randrange(8)
            (artefact / name).write_bytes(changed)
            with pytest.raises(ArtefactError):
                storage.read_folder(artefact, kind="thing")
        (artefact / name).write_bytes(data)
    storage.read_folder(artefact, kind="thing")


def test_a_truncated_or_missing_file_is_named(artefact):
    for path in sorted(artefact.iterdir()):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(ArtefactError, match=path.name):
            storage.read_folder(artefact, kind="thing")
        path.unlink()
        with pytest.raises(ArtefactError, match=path.name):
            storage.read_folder(artefact, kind="thing")
        path.write_bytes(data)


def test_another_kind_is_refused(artefact):
    with pytest.raises(ArtefactError, match=r"is a thing, expected a mask_gan"):
        storage.read_folder(artefact, kind="mask_gan")


def test_a_newer_format_says_upgrade(artefact):
    manifest = storage.read_json(artefact / "manifest.json")
    storage.write_json(artefact / "manifest.json", {**manifest, "format_version": storage.FORMAT_VERSION + 1})
    with pytest.raises(ArtefactError, match="upgrade syncgan"):
        storage.read_folder(artefact, kind="thing")


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "other"}', '"syncgan"', "null"])
def test_what_is_no_manifest_is_refused(artefact, content):
    (artefact / "manifest.json").write_text(content)
    with pytest.raises(ArtefactError, match="is not a manifest of syncgan"):
        storage.read_folder(artefact, kind="thing")


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/hostname", "a/b.safetensors", ".."])
def test_a_manifest_cannot_point_outside_its_folder(artefact, name):
    entry = {"file": name, "sha256": "0" * 64, "bytes": 1}
    with pytest.raises(ArtefactError):
        storage.read_tensors(artefact, entry)


def test_until_the_manifest_is_replaced_the_folder_holds_what_it_held(artefact, tmp_path):
    new = {"generator": {"weight": torch.zeros(2, 3)}}
    with pytest.MonkeyPatch.context() as patch:
        calls = FailingCalls(patch)
        storage.write_folder(tmp_path / "counted", kind="thing", tensors=new, manifest={})
    before = {group: {name: value.clone() for name, value in part.items()} for group, part in TENSORS.items()}
    for fail_at in range(len(calls.made)):
        copy = tmp_path / f"copy-{fail_at}"
        shutil.copytree(artefact, copy)
        with pytest.MonkeyPatch.context() as patch:
            FailingCalls(patch, fail_at)
            with contextlib.suppress(ArtefactError):
                storage.write_folder(copy, kind="thing", tensors=new, manifest={})
        tensors, _ = storage.read_folder(copy, kind="thing")
        held = tensors["generator"]["weight"]
        expected = before["generator"]["weight"] if "stain" in tensors else new["generator"]["weight"]
        assert torch.equal(held, expected), calls.made[fail_at]


def test_files_of_the_version_before_are_removed(artefact):
    storage.write_folder(artefact, kind="thing", tensors={"generator": {"weight": torch.ones(1)}}, manifest={})
    assert len(list(artefact.glob("*.safetensors"))) == 1


def test_a_folder_of_something_else_is_refused(artefact):
    storage.require_same_kind(artefact, "thing")
    storage.require_same_kind(artefact / "nothing", "thing")
    with pytest.raises(RunExistsError, match="for a part, found a thing in it; choose another folder"):
        storage.require_same_kind(artefact, "part")
    (artefact / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(RunExistsError, match=r"found a manifest\.json that is not of syncgan"):
        storage.require_same_kind(artefact, "thing")


def test_files_of_others_stay(artefact):
    (artefact / "resnet.safetensors").write_bytes(b"weights")
    storage.write_folder(artefact, kind="thing", tensors={"other": TENSORS["stain"]}, manifest=MANIFEST)
    assert (artefact / "resnet.safetensors").read_bytes() == b"weights"
    assert len(list(artefact.glob("*.safetensors"))) == 2


def test_a_damaged_manifest_may_be_written_anew(artefact):
    (artefact / "manifest.json").write_text("{")
    storage.require_same_kind(artefact, "thing")
    storage.write_folder(artefact, kind="thing", tensors=TENSORS, manifest=MANIFEST)
    assert storage.read_folder(artefact, kind="thing")[1]["seed"] == 3


def test_versions_name_python_and_torch():
    versions = storage.library_versions()
    assert versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert "python" in versions


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_folder_that_cannot_be_synchronised_is_used_all_the_same(tmp_path, monkeypatch, number, passes):
    synchronise = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with contextlib.nullcontext() if passes else pytest.raises(ArtefactError, match=os.strerror(number)):
        storage.write_text(tmp_path / "a.txt", "a")
