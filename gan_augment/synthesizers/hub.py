"""Sharing a trained synthesizer: a folder with a model card, pushed to the Hugging Face Hub and loaded from there.

Exactly the files in `FILES` are ever uploaded, and of these only the description and the weights are downloaded.
They are written afresh from the synthesizer itself, so nothing else that lies in an artifact's folder can slip along:
no sample grid (it may show parents, who may be patients), no checkpoint, no training image.
"""

import copy
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from gan_augment.artifacts import new_folder, write_bytes
from gan_augment.errors import ArtifactError, ConfigError, StorageError
from gan_augment.fingerprint import FittedOn
from gan_augment.synthesizers.fetching.download import HUB_ID, hub_errors
from gan_augment.synthesizers.fetching.provenance import markdown

if TYPE_CHECKING:
    from gan_augment.synthesizers.trained import TrainedSynthesizer

__all__ = ["FILES", "OnHub"]

FILES = ("README.md", "synthesizer.json", "weights.safetensors")
"""All that is ever uploaded."""

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class OnHub:
    """What a TrainedSynthesizer can do with the Hugging Face Hub."""

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        license_id: str = "unknown",
        share_groups: bool = False,
    ) -> Path:
        """Writes into a new folder what `push_to_hub` would upload, to be looked at first.

        Args:
            folder: New folder; it gets `synthesizer.json`, `weights.safetensors` and the model card `README.md`.
            license_id: Licence of the weights as the Hub abbreviates it, such as "cc-by-4.0"; "unknown" says so.
            share_groups: Whether the hashes of the groups (patients) are kept. Who can guess a group's name can
                confirm it by its hash; without them an evaluation cannot be checked for shared groups.

        Raises:
            ArtifactError: The folder exists.
            ConfigError: There is no such licence.
            StorageError: The disk refused.
        """
        _write(cast("TrainedSynthesizer", self), Path(folder), license_id, share_groups, "user/name")
        return Path(folder)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license_id: str = "unknown",
        share_groups: bool = False,
        private: bool = False,
        revision: str | None = None,
        token: str | None = None,
        commit_message: str | None = None,
    ) -> str:
        """Uploads what `save_pretrained` writes, in one commit; makes the repository where there is none.

        No training image is uploaded. That is not privacy: samples can be close to training images, and weights tell
        about them. Publish a synthesizer only where its training images could be published.

        Args:
            repo_id: "user/name".
            license_id: See `save_pretrained`.
            share_groups: See `save_pretrained`.
            private: Whether a repository made here is private; one that exists stays as it is.
            revision: Branch, made where there is none; None for the main one.
            token: Of the Hub; None for the one that `hf auth login` stored.
            commit_message: None for a standard one.

        Returns:
            The address of the commit.

        Raises:
            ConfigError: The id or the licence cannot be one.
            StorageError: The Hub refused or cannot be reached; no commit was made.
        """
        from huggingface_hub import CommitOperationAdd, HfApi

        if not HUB_ID.fullmatch(repo_id):
            raise ConfigError(f"expected repo_id= as user/name, found {repo_id!r}")
        synthesizer = cast("TrainedSynthesizer", self)
        with tempfile.TemporaryDirectory(prefix="gan_augment.") as work:
            folder = Path(work) / "hub"
            _write(synthesizer, folder, license_id, share_groups, repo_id)
            api = HfApi(token=token, library_name="gan_augment")
            with hub_errors(f"could not push to {repo_id}", StorageError):
                name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
                if revision is not None:
                    api.create_branch(name, branch=revision, exist_ok=True)
                commit = api.create_commit(
                    name,
                    [CommitOperationAdd(path_in_repo=file, path_or_fileobj=folder / file) for file in FILES],
                    commit_message=commit_message
                    or f"{synthesizer.recipe.name}, weights {synthesizer.fingerprint['weights']}",
                    revision=revision,
                )
        return commit.commit_url

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        device: torch.device | str = "cpu",
    ) -> "TrainedSynthesizer":
        """Loads a synthesizer from a folder, as `load` does, or from the Hub; runs nothing that is stored there.

        Args:
            path_or_id: Folder, or "user/name" where there is no such folder.
            revision: Branch, tag or commit; a commit is what stays the same.
            token: Of the Hub; None for the one that `hf auth login` stored.
            cache_dir: Where downloads are kept; None for the Hub's own cache.
            local_files_only: Take what was downloaded before and reach for no network.
            device: Where the networks go.

        Raises:
            ArtifactError: It is not there, cannot be reached, or is no synthesizer that `load` takes.
        """
        from gan_augment.synthesizers.trained import load_trained

        if Path(path_or_id).is_dir():
            return load_trained(path_or_id, device=device)
        if not HUB_ID.fullmatch(str(path_or_id)):
            raise ArtifactError(
                f"expected a folder, or user/name on the Hub, found {str(path_or_id)!r}, which is neither"
            )
        from huggingface_hub import snapshot_download

        with hub_errors(
            f"expected a synthesizer in {path_or_id}, a folder (there is none here) or on the Hub", ArtifactError
        ):
            folder = snapshot_download(
                str(path_or_id),
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                allow_patterns=[file for file in FILES if file != "README.md"],
                library_name="gan_augment",
            )
        return load_trained(folder, device=device)


def _write(synthesizer: "TrainedSynthesizer", folder: Path, license_id: str, share_groups: bool, repo_id: str) -> None:
    if not _LICENSE.fullmatch(license_id):
        raise ConfigError(f"expected license_id= as the Hub abbreviates it, such as cc-by-4.0, found {license_id!r}")
    shared = copy.copy(synthesizer)
    if not share_groups:
        shared.fitted_on = FittedOn(synthesizer.fitted_on.images)
    with new_folder(folder, "synthesizer") as work:
        shared.write_into(work)
        write_bytes(work / "README.md", _card(shared, license_id, repo_id).encode(errors="replace"))


def _card(synthesizer: "TrainedSynthesizer", license_id: str, repo_id: str) -> str:
    """Returns the model card."""
    recipe, spec = synthesizer.recipe, synthesizer.spec
    known = synthesizer.class_counts
    counts = ["unknown"] * len(synthesizer.class_names) if known is None else [f"{count:,}" for count in known]
    pairs = zip(synthesizer.class_names, counts, strict=True)
    rows = "\n".join(f"| {markdown(name)} | {count} |" for name, count in pairs)
    links = "\n".join(f"- {link}: `{value}`" for link, value in synthesizer.fingerprint.items())
    licence = "No licence is stated: ask before use." if license_id == "unknown" else f"Licence: {license_id}."
    bind = "gan.bind(my_dataset)  # it makes samples out of real images, and none are stored here\n"
    channels = "channels" if spec.channels > 1 else "channel"
    groups = "are in the weights file" if len(synthesizer.fitted_on.groups) else "are not in it"
    return f"""---
license: {license_id}
library_name: gan_augment
tags:
- gan
- data-augmentation
- class-imbalance
- {recipe.name}
---

# A synthesizer for rare classes: {recipe.name}

Draws images of {"x".join(map(str, spec.grid))} with {spec.channels} {channels} in {spec.num_classes} classes, to fill
up the rare classes of a training set. Recipe: {recipe.name} ({recipe.paper}), trained on
{len(synthesizer.fitted_on):,} images. {licence}

```python
import gan_augment as ga

gan = ga.TrainedSynthesizer.from_pretrained("{repo_id}")
{bind if synthesizer.needs_parents else ""}images = gan.sample(labels=[0, 1], seeds=[0, 1]).images  # in [-1, 1]
```

## Classes

| class | training images |
|---|---|
{rows}

## What it is not

Samples are no substitute for privacy. A generator can give its training images back, nearly or exactly, most of all in
classes of few images, and weights can tell whether an image was trained on. No training image and no sample grid is
in this repository; still, share it only where the training images could be shared. Samples are not for diagnosis, and
whether they help a classifier has to be measured on real images that nothing was fitted on.

Hashes of the training images are in the weights file, so that an evaluation on images that were trained on is refused;
hashes of groups (patients) {groups}.

## Fingerprints

{links}

## Settings

```json
{json.dumps(recipe.to_json(), indent=2)}
```
"""
