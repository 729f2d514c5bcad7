"""The how-to pages of docs/pretrained: their code runs, prints what they say, and their links lead somewhere."""

import hashlib
import importlib
import inspect
import re
import sys

import pytest
import torch

import gan_augment as ga
from gan_augment.errors import GeneratorWarning, LicenceWarning, SmallClassWarning
from gan_augment.synthesizers.files.load import KINDS
from gan_augment.synthesizers.files.opening import PROGRAMS, READERS
from tests import documented as files
from tests.networks.published.test_dcgan import models
from tests.networks.published.test_lucidrains import package as stylegan2_pytorch
from tests.pages import DOCS, Desk, Page, blocks_of, check_links, commands_of, desk, play
from tests.synthesizers import loopback_hub
from tests.synthesizers.fetching import loopback_files
from tests.synthesizers.readers.test_biggan import package as pretrained_biggan
from tests.synthesizers.readers.test_network_pickle import foreign

__all__ = ["desk", "foreign", "models", "pretrained_biggan", "stylegan2_pytorch"]

FOLDER = DOCS / "pretrained"
TEXTS = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}


# -- the files that each page names -----------------------------------------------------------------------------------


def train(desk: Desk, **counts: int) -> None:
    files.images(desk / "data/train", **(counts or {"melanoma": 21, "nevus": 32}))


def index(desk: Desk) -> None:
    train(desk)
    files.stylegan2(desk / "network-snapshot-005000.pkl")
    import pickle

    (desk / "stranger.pkl").write_bytes(pickle.dumps({"G_ema": files.Payload(desk / "canary")}))


def wrap(desk: Desk) -> None:
    train(desk)


def stylegan(desk: Desk) -> None:
    train(desk)
    files.stylegan2(desk / "network-snapshot-005000.pkl")
    files.stylegan3(desk / "stylegan3-t.pkl")


def r3gan(desk: Desk) -> None:
    train(desk)
    files.r3gan(desk / "network-snapshot-final.pkl")


def projected(desk: Desk) -> None:
    train(desk)
    files.fastgan(desk / "best_model.pkl")


def studiogan(desk: Desk) -> None:
    train(desk)
    files.studiogan(desk / "checkpoints/model=G_ema-best-weights-step=22000.pth", desk / "SKIN-BigGAN.yaml")


def lucidrains(desk: Desk) -> None:
    train(desk)
    files.lucidrains(desk / "models/default/model_150.pt", desk.fixture("stylegan2_pytorch"))


def torchgan(desk: Desk) -> None:
    train(desk)
    files.torchgan(desk / "gan4.model", desk.fixture("models"), num_classes=2, labels="times")
    files.torchgan(desk / "generator.pth", desk.fixture("models"), nonlinearity="relu")


def biggan(desk: Desk) -> None:
    files.images(desk / "data/train", cat=12, dog=5)
    files.biggan(desk / "biggan-deep-128", desk.fixture("pretrained_biggan"))


def translators(desk: Desk) -> None:
    train(desk)
    files.translator(desk / "latest_net_G_A.pth", "cyclegan")
    files.translator(desk / "latest_net_G.pth", "pix2pix")


def state_dict(desk: Desk) -> None:
    train(desk)
    files.generator_module(desk.folder)
    desk.patch.syspath_prepend(str(desk.folder))
    desk.patch.delitem(sys.modules, "my_code", raising=False)
    generator = importlib.import_module("my_code").Generator()
    torch.save({"epoch": 90, "generator": generator.state_dict(), "optimizer": {"lr": 2e-4}}, desk / "checkpoint.pth")


def exported(desk: Desk) -> None:
    state_dict(desk)


def torchscript(desk: Desk) -> None:
    train(desk)
    files.torchscript(desk / "generator.pt")


def medigan(desk: Desk) -> None:
    train(desk)
    desk.words["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"] = files.medigan(
        desk / "TINY-GAN.zip", desk / "global.json"
    )


def hub(desk: Desk) -> None:
    train(desk)
    served, web = desk.stack.enter_context(loopback_hub.running()), desk.stack.enter_context(loopback_files.serving())
    card = b"---\nlicense: cc-by-nc-4.0\n---\n# Skin\n"
    files.stylegan2(desk / "web/skin.pkl")
    content = (desk / "web/skin.pkl").read_bytes()
    served.branches["someone/skin_gan"] = {"main": {"skin.pkl": content, "README.md": card}}
    desk.patch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
    desk.patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    desk.patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(desk / "hub-cache"))
    desk.patch.setenv("HF_ENDPOINT", served.url)
    desk.patch.setenv("HF_HUB_CACHE", str(desk / "hub-cache"))
    web.files["/gans/skin.pkl"] = loopback_files.Served(content)
    desk.words["https://example.org"] = web.url("")
    desk.words["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"] = hashlib.sha256(content).hexdigest()


def unconditional(desk: Desk) -> None:
    train(desk)
    files.stylegan2(desk / "melanoma.pkl", classes=0, seed=1)
    files.stylegan2(desk / "nevus.pkl", classes=0, seed=2)
    files.stylegan2(desk / "skin.pkl", classes=0, seed=3)


def fine_tuning(desk: Desk) -> None:
    train(desk, melanoma=6, nevus=12)
    files.stylegan2(desk / "network-snapshot-005000.pkl", classes=0)


PAGES: dict[str, Page] = {
    "index": Page(index),
    "wrap": Page(wrap, warns=(GeneratorWarning,)),
    "stylegan": Page(stylegan, warns=(LicenceWarning,)),
    "r3gan": Page(r3gan),
    "projected-gan": Page(projected),
    "studiogan": Page(studiogan, needs=("yaml",)),
    "stylegan2-pytorch": Page(lucidrains),
    "torchgan": Page(torchgan),
    "biggan": Page(biggan),
    "pix2pix-cyclegan": Page(translators),
    "state-dict": Page(state_dict),
    "onnx": Page(exported, needs=("onnx", "onnxruntime", "onnxscript"), warns=(DeprecationWarning, FutureWarning)),
    "torch-export": Page(exported),
    "torchscript": Page(torchscript, warns=(DeprecationWarning, FutureWarning)),
    "medigan": Page(medigan),
    "hub": Page(hub, warns=(LicenceWarning,)),
    "unconditional": Page(unconditional, warns=(SmallClassWarning,)),
    "fine-tuning": Page(fine_tuning, warns=(SmallClassWarning,)),
}


# -- running a page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_the_code_of_a_page_runs(name: str, desk: Desk) -> None:
    play(desk, name, PAGES[name], TEXTS[name], processes=name == "index")


WITH_COMMANDS = [
    name
    for name, text in TEXTS.items()
    if name != "index" and any(commands_of(block) for block in blocks_of(text) if block.kind == "shell")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_run_as_processes(name: str, desk: Desk) -> None:
    play(desk, name, PAGES[name], TEXTS[name], processes=True)


# -- what pages say ---------------------------------------------------------------------------------------------------


def test_every_page_is_in_the_table_and_has_code() -> None:
    assert set(TEXTS) == set(PAGES)
    for name, text in TEXTS.items():
        assert any(block.kind == "python" for block in blocks_of(text)), name


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    check_links(FOLDER / f"{name}.md")


def test_the_index_leads_to_every_page() -> None:
    assert {f"{name}.md" for name in PAGES if name != "index"} <= set(re.findall(r"\]\(([^)#]+)", TEXTS["index"]))


def test_every_kind_and_option_is_told_of() -> None:
    everything = " ".join(TEXTS.values())
    for kind in KINDS:
        assert f'"{kind}"' in TEXTS["index"], kind
    for name in READERS:
        read = importlib.import_module(f"gan_augment.synthesizers.readers.{name}").read
        for option in set(inspect.signature(read).parameters) - {"tree", "path"}:
            assert f"`{option}=" in everything, f"{option} of {name}"
    for name in PROGRAMS.values():
        opening = importlib.import_module(f"gan_augment.synthesizers.programs.{name}").open_program
        for option in set(inspect.signature(opening).parameters) - {"path", "trust"}:
            assert f"`{option}=" in everything, f"{option} of {name}"
    for option in set(inspect.signature(ga.load).parameters) - {"path_or_id", "options"}:
        assert f"`{option}=" in everything, f"{option} of load"
