"""The mark of every image that leaves a pool: it is synthetic, from which pool, by which seed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gan_augment.fingerprint import hash_json
from gan_augment.pool.pool import SyntheticPool

__all__ = ["XMP", "Mark", "plain"]

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    "</rdf:RDF></x:xmpmeta>"
)
"""What IPTC has for images that a trained model made; viewers and archives show it."""


def plain(text: Any, most: int = 200) -> str:
    """Returns text on one line, without control characters, at most so many characters long, that UTF-8 can hold."""
    told = "".join(letter if letter.isprintable() else " " for letter in str(text)[: 4 * most])
    return " ".join(told.split())[:most]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What is said of each image of a pool.

    Attributes:
        software: This library and its version.
        pool: Hash of the pool's chain of fingerprints, or "unknown".
        chain: The chain: synthesizer, training images, judge, selector.
        licence: As the pool tells it, or "unknown".
    """

    software: str
    pool: str
    chain: Mapping[str, Any]
    licence: str

    @classmethod
    def of(cls, pool: SyntheticPool) -> "Mark":
        """Returns the mark of a pool's images."""
        from importlib.metadata import version

        chain = pool.about.get("fingerprint")
        chain = chain if isinstance(chain, Mapping) else {}
        return cls(
            software=f"gan_augment {version('gan_augment')}",
            pool=hash_json(chain) if chain else "unknown",
            chain=json.loads(json.dumps(chain, default=str)),
            licence=plain(pool.about.get("licence") or "") or "unknown",
        )

    def sentence(self, seed: int | None = None) -> str:
        """Returns one ASCII sentence for an image, or without a seed for the whole pool."""
        what = "Synthetic images, each" if seed is None else "Synthetic image,"
        where = f"{self.software}, pool {self.pool}" + ("" if seed is None else f", seed {_known(seed)}")
        return f"{what} drawn by a generative model, of nothing real; not for diagnosis ({where})."

    def texts(self, row: int, seed: int) -> dict[str, str]:
        """Returns what a picture says of itself, by keyword; the first four are registered ones of PNG."""
        return {
            "Description": self.sentence(seed),
            "Software": self.software,
            "Disclaimer": "Not for diagnosis.",
            "Copyright": f"Licence: {self.licence}",
            "Synthetic": "true",
            "Pool": self.pool,
            "Row": str(row),
            "Seed": _known(seed),
        }

    def descrip(self, seed: int) -> bytes:
        """Returns what fits into the 80 bytes of NIfTI's field."""
        told = f"SYNTHETIC, not for diagnosis; pool {self.pool} seed {_known(seed)}"
        return told.encode("ascii")[:79]

    def facts(self) -> dict[str, Any]:
        """Returns the mark of the whole pool as JSON values."""
        return {
            "synthetic": True,
            "description": self.sentence(),
            "software": self.software,
            "pool": self.pool,
            "fingerprint": dict(self.chain),
            "licence": self.licence,
        }


def _known(seed: int) -> str:
    return "unknown" if seed < 0 else str(seed)
