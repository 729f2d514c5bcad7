"""Sharing: what would be uploaded, a push and a download through the Hub's own client, and hostile repositories."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_augment.errors import ArtifactError, ConfigError, StorageError
from gan_augment.synthesizers import TrainedSynthesizer, load
from gan_augment.synthesizers.hub import FILES
from gan_augment.training import fit
from tests.helpers import Pictures, run_python
from tests.synthesizers.loopback_hub import LoopbackHub, commit_of, running

SECRETS = [f"patient {number}" for number in range(10)]


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> TrainedSynthesizer:
    base = Pictures((9, 6, 5), classes=["cat", "dog|<b>eel", "eel"])
    groups = [SECRETS[i // 2] for i in range(20)]
    return fit(base, "sngan", steps=1, min_images=2, progress=False, groups=groups)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with running() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


def drawn(gan: TrainedSynthesizer) -> torch.Tensor:
    return gan.sample([0, 1, 2], [5, 6, 7]).images


ROUND_TRIP = """
import json, sys
from gan_augment.synthesizers import TrainedSynthesizer, load

pushed = load(sys.argv[1]).push_to_hub("me/gan", token="secret", private=True, license_id="mit")
found = {"pushed": pushed}
for name, settings in {"pulled": {}, "offline": {"local_files_only": True}}.items():
    gan = TrainedSynthesizer.from_pretrained("me/gan", **settings)
    found[name] = [gan.fingerprint["weights"], gan.class_counts, gan.sample([0, 1, 2], [5, 6, 7]).images.tolist()]
print(json.dumps(found))
"""


# -- a local folder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [str, Path])
def test_from_pretrained_of_a_folder_is_load(gan: TrainedSynthesizer, tmp_path: Path, given: Any) -> None:
    folder = gan.save(tmp_path / "gan")
    loaded, shared = load(folder), TrainedSynthesizer.from_pretrained(given(folder))
    assert torch.equal(drawn(loaded), drawn(gan))
    assert torch.equal(drawn(shared), drawn(gan))
    assert shared.fingerprint == loaded.fingerprint == gan.fingerprint
    assert shared.class_counts == loaded.class_counts == [9, 6, 5]
    assert (shared.fitted_on.groups == gan.fitted_on.groups).all()


def test_exactly_the_known_files_are_written_and_no_group(gan: TrainedSynthesizer, tmp_path: Path) -> None:
    folder = gan.save_pretrained(tmp_path / "hub", license_id="cc-by-4.0")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    shared = TrainedSynthesizer.from_pretrained(folder)
    assert torch.equal(drawn(shared), drawn(gan))
    assert shared.fingerprint["weights"] == gan.fingerprint["weights"]
    assert len(shared.fitted_on.groups) == 0
    assert (shared.fitted_on.images == gan.fitted_on.images).all()
    assert len(gan.fitted_on.groups) == 10, "the synthesizer itself keeps them"
    content = b"".join((folder / name).read_bytes() for name in FILES)
    assert not any(value.tobytes() in content for value in gan.fitted_on.groups)
    kept = TrainedSynthesizer.from_pretrained(gan.save_pretrained(tmp_path / "groups", share_groups=True))
    assert (kept.fitted_on.groups == gan.fitted_on.groups).all()
    assert kept.fingerprint == gan.fingerprint


def test_the_card_says_what_it_is_and_what_it_is_not(gan: TrainedSynthesizer, tmp_path: Path) -> None:
    card = (gan.save_pretrained(tmp_path / "a", license_id="cc-by-4.0") / "README.md").read_text()
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert "license: cc-by-4.0" in head.splitlines()
    assert "- sngan" in head.splitlines()
    assert "| cat | 9 |" in body
    assert r"| dog\|\<b\>eel | 6 |" in body, "a class name is shown as it is, not as markup"
    assert "trained on\n20 images" in body
    assert "Samples are no substitute for privacy" in body
    assert "hashes of groups (patients) are not in it" in body
    shared = load(tmp_path / "a")
    assert all(f"{link}: `{value}`" in body for link, value in shared.fingerprint.items())
    settings = re.search(r"```json\n(.*?)```", body, re.DOTALL)
    assert settings is not None
    assert json.loads(settings[1]) == gan.recipe.to_json()
    unknown = (gan.save_pretrained(tmp_path / "b") / "README.md").read_text()
    assert "license: unknown" in unknown
    assert "ask before use" in unknown


def test_the_card_of_an_image_conditioned_one_says_to_bind(tmp_path: Path) -> None:
    made = fit(Pictures((4, 3)), "dagan", steps=1, min_images=2, progress=False)
    card = (made.save_pretrained(tmp_path / "hub") / "README.md").read_text()
    assert "gan.bind(my_dataset)" in card
    assert f"| {made.class_names[0]} | 4 |" in card
    made.class_counts = None
    assert f"| {made.class_names[0]} | unknown |" in (made.save_pretrained(tmp_path / "b") / "README.md").read_text()


def test_nothing_is_overwritten(gan: TrainedSynthesizer, tmp_path: Path) -> None:
    gan.save_pretrained(tmp_path / "hub")
    with pytest.raises(ArtifactError, match="not to exist yet"):
        gan.save_pretrained(tmp_path / "hub")


def test_ids_and_licences_that_cannot_be(gan: TrainedSynthesizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="license_id= as the Hub abbreviates it"):
        gan.save_pretrained(tmp_path / "hub", license_id="CC BY\nprivate: no")
    with pytest.raises(ConfigError, match="expected repo_id= as user/name, found 'gan'"):
        gan.push_to_hub("gan")
    for path in ("../gan", "/no/such/gan", "gan", "a/b/c", "./gan"):
        with pytest.raises(ArtifactError, match="which is neither"):
            TrainedSynthesizer.from_pretrained(path)


@pytest.mark.parametrize("counts", [[9, 6], [9, 6, -1], [9, 6, "5"], "9", [9, 6, True]])
def test_class_counts_that_cannot_be(gan: TrainedSynthesizer, tmp_path: Path, counts: Any) -> None:
    folder = gan.save(tmp_path / "gan")
    about = json.loads((folder / "synthesizer.json").read_text())
    (folder / "synthesizer.json").write_text(json.dumps({**about, "class_counts": counts}))
    with pytest.raises(ArtifactError, match="class_counts"):
        load(folder)


def test_what_was_watched_is_an_object_or_nothing(gan: TrainedSynthesizer, tmp_path: Path) -> None:
    folder = gan.save(tmp_path / "gan")
    about = json.loads((folder / "synthesizer.json").read_text())
    (folder / "synthesizer.json").write_text(json.dumps({**about, "watched": [3]}))
    with pytest.raises(ArtifactError, match="watched"):
        load(folder)


def test_a_folder_without_its_card_is_not_left_behind(
    gan: TrainedSynthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: bytes) -> None:
        raise StorageError(28, f"could not write {path}")

    monkeypatch.setattr("gan_augment.synthesizers.hub.write_bytes", full)
    with pytest.raises(StorageError):
        gan.save_pretrained(tmp_path / "hub")
    assert not list(tmp_path.iterdir())


def test_class_names_that_are_no_text_are_shown_all_the_same(tmp_path: Path) -> None:
    made = fit(Pictures((3, 3), classes=["a", "\udcff"]), "sngan", steps=1, min_images=2, progress=False)
    assert "| ? | 3 |" in (made.save_pretrained(tmp_path / "hub") / "README.md").read_text()


def test_another_architecture_shows_the_keys_of_all_networks(gan: TrainedSynthesizer, tmp_path: Path) -> None:
    folder = gan.save(tmp_path / "gan")
    about = json.loads((folder / "synthesizer.json").read_text())
    about["recipe"]["width"] = 96
    (folder / "synthesizer.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactError) as caught:
        TrainedSynthesizer.from_pretrained(folder)
    told = str(caught.value)
    assert re.search(r"discriminator\.\S+ \([\d, ]+\) instead of \([\d, ]+\)", told)
    assert re.search(r"\d+ of another shape: .* and \d+ more", told)
    assert "Give weights that were saved with the same recipe" in told


# -- through the Hub's client -----------------------------------------------------------------------------------------


def test_a_round_trip_in_a_process_of_its_own(gan: TrainedSynthesizer, hub: LoopbackHub, tmp_path: Path) -> None:
    folder = gan.save(tmp_path / "gan")
    (folder / "samples.png").write_bytes(b"a patient")
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = run_python(ROUND_TRIP, folder, env=settings)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert hub.uploaded == [sorted(FILES)]
    files = hub.branches["me/gan"]["main"]
    assert found["pushed"] == f"{hub.url}/me/gan/commit/{commit_of(files)}"
    assert hub.created[0]["name"] == "gan"
    assert hub.created[0].get("visibility") == "private" or hub.created[0].get("private") is True
    assert b"license: mit" in files["README.md"]
    assert b'from_pretrained("me/gan")' in files["README.md"]
    assert not any(b"a patient" in content for content in files.values())
    for weights, counts, images in (found["pulled"], found["offline"]):
        assert weights == gan.fingerprint["weights"]
        assert counts == [9, 6, 5]
        assert torch.equal(torch.tensor(images), drawn(gan))


def test_a_branch_and_a_commit(gan: TrainedSynthesizer, hub: LoopbackHub, tmp_path: Path) -> None:
    commit = gan.push_to_hub("me/gan", token="secret", revision="trial").rsplit("/", 1)[1]
    assert hub.branches["me/gan"]["main"] == {}
    for revision in ("trial", commit):
        found = TrainedSynthesizer.from_pretrained("me/gan", revision=revision, cache_dir=tmp_path)
        assert torch.equal(drawn(found), drawn(gan))
    with pytest.raises(ArtifactError, match=r"found no synthesizer\.json"):
        TrainedSynthesizer.from_pretrained("me/gan", cache_dir=tmp_path)


def test_offline_nobody_is_asked(
    gan: TrainedSynthesizer, hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan.push_to_hub("me/gan", token="secret")
    TrainedSynthesizer.from_pretrained("me/gan", cache_dir=tmp_path)
    asked = len(hub.log)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = TrainedSynthesizer.from_pretrained("me/gan", cache_dir=tmp_path)
    assert torch.equal(drawn(found), drawn(gan))
    with pytest.raises(ArtifactError, match=r"expected a synthesizer in me/other.*unset HF_HUB_OFFLINE to download"):
        TrainedSynthesizer.from_pretrained("me/other", cache_dir=tmp_path)
    with pytest.raises(StorageError, match="could not push to me/gan, found OfflineModeIsEnabled"):
        gan.push_to_hub("me/gan", token="secret")
    assert len(hub.log) == asked


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        (
            "no/body",
            {},
            "in no/body, a folder .there is none here. or on the Hub, found Repo.*check the name",
        ),
        ("me/gan", {"revision": "v9"}, "found Revision.*check revision="),
        ("me/gan", {}, "found no synthesizer.json"),
        ("me/gan", {"local_files_only": True}, "leave out local_files_only=True"),
    ],
)
def test_what_is_not_there(hub: LoopbackHub, tmp_path: Path, name: str, settings: dict[str, Any], told: str) -> None:
    hub.branches["me/gan"] = {"main": {"README.md": b"", "model.pkl": b"evil"}}
    with pytest.raises(ArtifactError, match=f"(?s){told}"):
        TrainedSynthesizer.from_pretrained(name, cache_dir=tmp_path, **settings)


def test_a_push_that_is_refused(gan: TrainedSynthesizer, hub: LoopbackHub) -> None:
    with pytest.raises(StorageError, match=r"(?s)could not push to me/gan, found HfHubHTTPError.*token="):
        gan.push_to_hub("me/gan", token="wrong")
    assert hub.uploaded == []


def test_a_hostile_repository_gives_only_known_files(gan: TrainedSynthesizer, hub: LoopbackHub, tmp_path: Path) -> None:
    folder = gan.save_pretrained(tmp_path / "gan")
    good = {name: (folder / name).read_bytes() for name in FILES}
    extra = {"model.pkl": b"\x80\x04.", "gan_augment.py": b"raise SystemExit", "parents.png": b"x" * 99}
    hub.branches["me/gan"] = {"main": {**good, **extra}}
    cache = tmp_path / "cache"
    assert torch.equal(drawn(TrainedSynthesizer.from_pretrained("me/gan", cache_dir=cache)), drawn(gan))
    downloaded = {path.name for path in cache.rglob("snapshots/*/*")}
    assert downloaded == {"synthesizer.json", "weights.safetensors"}
    assert {line.rsplit("/", 1)[1] for line in hub.log if "/resolve/" in line} == downloaded
    bad = bytearray(good["weights.safetensors"])
    bad[len(bad) // 2] ^= 1
    hub.branches["me/bad"] = {"main": {**good, "weights.safetensors": bytes(bad)}}
    with pytest.raises(ArtifactError, match="the weights that were saved"):
        TrainedSynthesizer.from_pretrained("me/bad", cache_dir=cache)


def test_without_a_connection(gan: TrainedSynthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ArtifactError, match="check the connection"):
        TrainedSynthesizer.from_pretrained("me/gan", cache_dir=tmp_path)
    with pytest.raises(StorageError, match=r"could not push to me/gan, found .*check the connection and token="):
        gan.push_to_hub("me/gan", token="secret")
