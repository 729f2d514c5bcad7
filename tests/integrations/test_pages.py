"""The pages of docs/integrations: a page a host, whose code runs and prints what it shows."""

from pathlib import Path

import pytest

from gan_augment.errors import SmallClassWarning
from tests import documented
from tests.integrations import material_folder, test_torchio, test_torchio_lesion
from tests.pages import DOCS, Desk, Page, blocks_of, check_links, desk, play

__all__ = ["desk"]

FOLDER = DOCS / "integrations"
TEXTS = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}


def torchio_files(desk: Desk) -> None:
    test_torchio.page_files(desk.folder)
    test_torchio_lesion.page_files(desk.folder)


PAGES: dict[str, Page] = {
    "torchio": Page(torchio_files, needs=("torchio",)),
    "albumentations": Page(
        lambda desk: material_folder.make(desk.folder),
        warns=(UserWarning, DeprecationWarning),  # of replays on other data, and of fork
        needs=("albumentations",),
    ),
    "imblearn": Page(lambda desk: documented.digit_pool(desk / "runs" / "pool")),
    "accelerate": Page(lambda desk: documented.digit_pool(desk / "runs" / "pool")),
    "huggingface": Page(
        lambda desk: documented.digit_image_pool(desk / "runs" / "pool"),
        warns=(DeprecationWarning, FutureWarning),  # of transformers, which calls others as they were
        needs=("datasets", "transformers"),
    ),
    "index": Page(lambda desk: documented.digit_pool(desk / "runs" / "pool")),
    "lightning": Page(
        lambda desk: documented.digit_pool(desk / "runs" / "pool"),
        warns=(UserWarning, FutureWarning),  # of few workers, and of how Lightning calls torch
        needs=("lightning",),
    ),
    "kornia": Page(lambda desk: material_folder.make(desk.folder), needs=("kornia",)),
    "monai": Page(
        lambda desk: documented.monai_datalist(desk.folder, normal=30, lesion=12),
        warns=(DeprecationWarning, FutureWarning, SmallClassWarning),
        needs=("monai", "nibabel"),
    ),
    "torchvision": Page(lambda desk: material_folder.make(desk.folder), warns=(DeprecationWarning,)),  # of fork
}
"""How each page is run: its files, the packages that it needs, and the warnings that it may give."""


@pytest.mark.parametrize("name", TEXTS)
def test_the_code_of_a_page_runs(name: str, desk: Desk) -> None:
    play(desk, name, PAGES[name], TEXTS[name])


def test_every_page_has_code_and_every_adapter_a_page() -> None:
    assert set(TEXTS) == set(PAGES)
    for name, text in TEXTS.items():
        assert any(block.kind == "python" for block in blocks_of(text)), name
    adapters = {path.stem for path in (Path(__file__).parents[2] / "integrations").glob("[!_]*.py")}
    assert adapters <= set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    check_links(FOLDER / f"{name}.md")
