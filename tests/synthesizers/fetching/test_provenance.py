"""What is known of weights: checks, wordings of licences, model cards, hashes."""

import hashlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan_augment.errors import ArtifactError, ConfigError, LicenceWarning
from gan_augment.synthesizers.fetching.provenance import (
    Provenance,
    announce,
    file_sha256,
    licence_of_card,
    plain,
    source_of,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

KNOWN = Provenance(
    source="https://host/w.pkl",
    form="stylegan2-ada pickle",
    sha256="ab" * 32,
    licence="mit",
    citation="Karras et al., 2020",
    notes=("the discriminator was left out",),
)


# -- the dataclass ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provenance", [KNOWN, Provenance(source="w.pkl")])
def test_a_round_trip(provenance: Provenance) -> None:
    assert Provenance.from_json(json.loads(json.dumps(provenance.to_json()))) == provenance


def test_all_that_is_known_is_shown() -> None:
    assert KNOWN.show() == (
        "Weights from https://host/w.pkl, a stylegan2-ada pickle file. SHA-256 " + "ab" * 32 + ". Licence: mit. "
        "To be cited: Karras et al., 2020. The discriminator was left out."
    )
    assert Provenance(source="w.pkl").show() == "Weights from w.pkl. Licence: not known, ask before use."
    bibtex = Provenance(source="w.pkl", licence="cc-by-nc-4.0", citation="@article{a,\n\ttitle={b}}").show()
    assert bibtex == (
        "Weights from w.pkl. Licence: cc-by-nc-4.0. It forbids commercial use. To be cited: @article{a, title={b}}."
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": None},
        {"source": ""},
        {"source": 3},
        {"source": "x" * 3000},
        {"source": "/home/me/w.pkl"},
        {"source": "C:\\Users\\me\\w.pkl"},
        {"source": "file:///home/me/w.pkl"},
        {"source": "https://me:secret@host/w.pkl"},
        {"source": "https://host/w.pkl?token=secret"},
        {"form": "a\x1b[2Jb"},
        {"form": ["a"]},
        {"sha256": "AB" * 32},
        {"sha256": "ab" * 31},
        {"sha256": ""},
        {"licence": ""},
        {"licence": "x" * 3000},
        {"licence": "a\u202eb"},
        {"citation": "x" * 20_000},
        {"citation": 2020},
        {"notes": "note"},
        {"notes": [3]},
        {"notes": ["\0"]},
        {"notes": ["x"] * 101},
        {"notes": {"a": 1}},
        {"further": 1},
    ],
)
def test_values_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="expected a provenance"):
        Provenance.from_json({**KNOWN.to_json(), **wrong})
    if "further" not in wrong:
        notes = wrong.get("notes")
        given = {**wrong, "notes": tuple(notes) if isinstance(notes, list) else notes} if "notes" in wrong else wrong
        with pytest.raises(ConfigError, match="expected"):
            Provenance(**{"source": "w.pkl", **given})


@pytest.mark.parametrize("value", [None, [], "x", {}, {"source": "w.pkl"}, [["source", "w.pkl"]]])
def test_json_that_is_no_provenance(value: Any) -> None:
    with pytest.raises(ArtifactError, match="expected a provenance of citation, form, licence"):
        Provenance.from_json(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@unhurried
@given(st.dictionaries(st.sampled_from(sorted(KNOWN.to_json())), json_values))
def test_any_json_is_taken_or_refused(changes: dict[str, Any]) -> None:
    try:
        found = Provenance.from_json({**KNOWN.to_json(), **changes})
    except ArtifactError:
        return
    assert found.to_json() == {**KNOWN.to_json(), **changes}
    assert "\n" not in found.show()


# -- licences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "licence",
    [
        *("cc-by-nc-4.0", "cc-by-nc-sa-3.0", "CC-BY-NC-ND-4.0", "CC BY-NC 4.0", "CC BY NC SA 4.0"),
        *("NVIDIA Source Code License-NC", "Nvidia Source Code License for StyleGAN3", "nvidia-source-code-license"),
        *("non-commercial", "Noncommercial use only", "for non commercial use", "PolyForm Noncommercial 1.0.0"),
        *(
            "research only",
            "for research purposes only",
            "Research-only",
            "academic use only",
            "not for commercial use",
        ),
        *("may only be used for research", "no commercial use", "Attribution-NonCommercial 4.0 International"),
        *("fair-noncommercial-research-license", "apple-amlr", "deepfloyd-if-license"),
    ],
)
def test_licences_that_forbid_commercial_use(licence: str) -> None:
    assert Provenance(source="w.pkl", licence=licence).non_commercial is True


@pytest.mark.parametrize(
    "licence",
    [
        *(
            "mit",
            "apache-2.0",
            "cc-by-4.0",
            "cc-by-sa-4.0",
            "cc0-1.0",
            "bsd-3-clause",
            "openrail",
            "creativeml-openrail-m",
        ),
        *("gpl-3.0", "bigscience-openrail-m", "llama2", "other", "ncsa", "University of North Carolina licence"),
        *("free for commercial and non-commercial use", "non-commercial or commercial use", "cc-by-nd-4.0", "c-uda"),
    ],
)
def test_licences_that_do_not(licence: str) -> None:
    assert Provenance(source="w.pkl", licence=licence).non_commercial is False


def test_a_licence_that_forbids_commercial_use_warns(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(LicenceWarning, match=r"w\.pkl\. Licence: cc-by-nc-4\.0\. It forbids commercial use") as caught:
        announce(Provenance(source="w.pkl", licence="cc-by-nc-4.0"), stacklevel=1)
    assert caught[0].filename == __file__
    assert capsys.readouterr() == ("", "")


def test_an_unknown_licence_is_told_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        announce(Provenance(source="w.pkl"), tell=told.append)
        announce(Provenance(source="w.pkl"))
        announce(Provenance(source="w.pkl", licence="mit"), tell=told.append)
    assert told == ["w.pkl: no licence is stated, ask before use"]
    assert capsys.readouterr() == ("", told[0] + "\n")


# -- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("hf://me/gan@main/a/b.pth", "hf://me/gan@main/a/b.pth"),
        ("https://host:8/a/w.pkl", "https://host:8/a/w.pkl"),
        ("https://host/uc?id=1&export=download", "https://host/uc?id=1&export=download"),
        ("https://me:pw@host/w#x", "https://host/w"),
        ("https://s3/w?X-Amz-Signature=1&id=2", "https://s3/w"),
        ("https://h/w?sig=1", "https://h/w"),
        ("https://h/w?apikey", "https://h/w"),
        ("https://me:pw@[h/w?token=1", "https://[h/w"),
        ("a\x1b[2Jb.pkl", "a [2Jb.pkl"),
        ("https://host/a\x1bb", "https://host/a b"),
        ("/home/me/a/w.pkl", "w.pkl"),
        (Path("/home/me/a/w.pkl"), "w.pkl"),
        ("C:\\me\\w.pkl", "w.pkl"),
        ("file:///home/me/w.pkl", "w.pkl"),
        ("runs/gan/", "gan"),
        ("/", "unnamed"),
    ],
)
def test_what_may_be_told_of_an_address(address: str | Path, source: str) -> None:
    assert source_of(address) == source
    assert source_of(source) == source


@unhurried
@given(st.text(max_size=40) | st.from_regex(r"[a-z]{2,5}://[ -~]{0,40}", fullmatch=True))
def test_any_source_is_the_source_of_itself(address: str) -> None:
    assert source_of(source_of(address)) == source_of(address)


@unhurried
@given(st.text(max_size=40) | st.from_regex(r"(https|hf)://[ -~\x1b]{0,40}", fullmatch=True))
def test_any_source_can_be_kept(address: str) -> None:
    assert Provenance(source=source_of(address)).source == source_of(address)


@unhurried
@given(st.text(max_size=60), st.integers(4, 20))
def test_plain_text_steers_no_terminal(text: str, most: int) -> None:
    found = plain(text, most)
    assert len(found) <= most
    assert found.isprintable()
    assert plain(found, most) == found


# -- model cards ------------------------------------------------------------------------------------------------------


def card(*lines: str) -> str:
    return "\n".join(["---", *lines, "---", "# A model", "license: not-this-one"])


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (card("license: mit"), "mit"),
        (card("tags:", "- gan", "license: cc-by-nc-4.0  # no sales", "library_name: x"), "cc-by-nc-4.0"),
        (card("license: 'mit'"), "mit"),
        (card('license: "apache-2.0" # yes'), "apache-2.0"),
        (card("license:", "- mit", "  - 'apache-2.0'", "tags:", "- gan"), "mit, apache-2.0"),
        (card("license: [mit, 'apache-2.0']"), "mit, apache-2.0"),
        (card("license: other", "license_name: nvidia-nc", "license_link: LICENSE.txt"), "nvidia-nc (LICENSE.txt)"),
        (card("license: other", "license_link: https://h/#nc"), "other (https://h/#nc)"),
        (card("license: other"), "other"),
        (card("license_name: mine", "license: mit"), "mit"),
        ("\ufeff" + card("license: mit").replace("\n", "\r\n"), "mit"),
        (card("license: unknown"), None),
        (card("license:"), None),
        (card("license: null"), None),
        (card("license: # nothing"), None),
        (card("model:", "  license: mit"), None),
        (card("license: mit", "license: gpl"), None),
        (card("license: |", "  mit"), None),
        (card("license: {a: b}"), None),
        (card("license: !!python/object:os.system mit"), None),
        (card("license: *anchor"), None),
        (card("license: 'mit"), None),
        (card("license: " + "x" * 1000), None),
        (card("licenses: mit"), None),
        (card("tags: []"), None),
        ("license: mit", None),
        ("---\nlicense: mit\n", None),
        ("# x\n---\nlicense: mit\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_of_a_card(text: str, licence: str | None) -> None:
    assert licence_of_card(text) == licence


def test_a_card_that_is_written_as_the_hub_writes_it() -> None:
    from huggingface_hub import ModelCardData

    for licence in ("cc-by-nc-sa-4.0", ["mit", "gpl-3.0"], "bsd-3-clause"):
        data = ModelCardData(license=licence, tags=["a"], language="en").to_yaml()  # type: ignore[arg-type]
        expected = licence if isinstance(licence, str) else ", ".join(licence)
        assert licence_of_card(f"---\n{data}\n---\n") == expected


@unhurried
@given(st.text(st.sampled_from("lices: mt-'\"[],#\n|>&*!{}\t\\"), max_size=60))
def test_what_is_read_is_what_yaml_says(tail: str) -> None:
    text = f"---\nlicense: {tail}\n---\n"
    found = licence_of_card(text)
    if found is None or "\t" in tail or "\\" in tail:
        return
    try:
        value = yaml.safe_load(text.split("---\n")[1])
    except (yaml.YAMLError, IndexError):
        return
    wanted = value.get("license") if isinstance(value, dict) else None
    wanted = ", ".join(str(v) for v in wanted) if isinstance(wanted, list) else wanted
    if isinstance(wanted, str) and "\n" not in tail:
        assert found == plain(wanted)


@unhurried
@given(st.text(max_size=200))
def test_any_card_is_read(text: str) -> None:
    for card in (text, f"---\nlicense:{text}\n---\n", f"---\nlicense: other\nlicense_name: {text}\n---\n"):
        found = licence_of_card(card)
        assert found is None or Provenance(source="w.pkl", licence=found).licence == found


def test_a_long_licence_can_be_kept() -> None:
    names = ", ".join(["x" * 400] * 9)
    found = licence_of_card(card("license: other", f"license_name: [{names}]", f"license_link: [{names}]"))
    assert found is not None
    assert Provenance(source="w.pkl", licence=found).licence == found


def test_a_huge_card_is_read_in_no_time() -> None:
    assert licence_of_card("---\n" + "license: [" + "a," * 10**7) is None
    assert licence_of_card("---\n" + "x: y\n" * 10**5 + "license: mit\n---\n") is None, "beyond what is looked at"
    assert licence_of_card(card("license: [" + "," * 60_000 + "]")) is None


# -- hashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**21 + 7])
@pytest.mark.parametrize("progress", [True, False])
def test_the_hash_of_a_file(tmp_path: Path, size: int, progress: bool, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "w").write_bytes(content[:size])
    assert file_sha256(tmp_path / "w", progress) == hashlib.sha256(content[:size]).hexdigest()
    assert capfd.readouterr().err == ""


def test_a_bar_on_a_terminal_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").write_bytes(bytes(5_000_000))

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for progress, shown in ((True, True), (False, False)):
        monkeypatch.setattr("sys.stderr", Terminal())
        file_sha256(tmp_path / "w", progress)
        assert ("checking w" in sys.stderr.getvalue()) == shown  # type: ignore[attr-defined]
    monkeypatch.setattr("sys.stderr", None)
    file_sha256(tmp_path / "w")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no", "a\0b"):
        with pytest.raises(ArtifactError, match="expected a file that can be read"):
            file_sha256(path)
