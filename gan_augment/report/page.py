"""The page: one HTML file that needs no network and no script."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_augment.artifacts import storing, versions, write_bytes
from gan_augment.balance import MIN_IMAGES
from gan_augment.errors import ConfigError, whole
from gan_augment.evaluation import EvaluationResult
from gan_augment.pool import SyntheticPool
from gan_augment.report.arms import evaluation_section
from gan_augment.report.gallery import class_counts, gallery
from gan_augment.report.measures import audit_section
from gan_augment.report.scatter import scatter
from gan_augment.report.shown import Shown
from gan_augment.report.texts import flat, listed
from gan_augment.source import RawView
from gan_augment.types import Extractor

if TYPE_CHECKING:
    from gan_augment.quality import Audit

__all__ = ["page_path", "write_report"]

_TURNING = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_UNSEEN = {code: f"\\u{code:04x}" for code in (*range(9), *range(11, 32), 127, *_TURNING)}
"""Characters that cannot be seen, some of which turn the text after them around, as names may hold them."""


def write_report(
    path: str | Path,
    *,
    train: Any,
    pool: SyntheticPool | None = None,
    audit: "Audit | None" = None,
    evaluation: EvaluationResult | None = None,
    extractor: Extractor | None = None,
    title: str = "Synthetic images",
    subtitle: str = "",
    advice: str = "",
    warnings: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    columns: int = 8,
    progress: bool = True,
) -> Path:
    """Writes one HTML file that tells what was made, from what, how good it is, and whether it helped.

    It shows real images of the training split: do not give it to those who may not see them. Every name and text is
    escaped.

    Args:
        path: The file; an earlier page is replaced.
        train: The training split, or a RawView of it.
        pool: The synthetic images; all candidates are shown, kept and rejected.
        audit: What `ga.audit` found; None for a page without.
        evaluation: What `ga.evaluate` found; None for a page without.
        extractor: Whose features the plot in two dimensions shows; None for pixels.
        title: Heading of the page.
        subtitle: A line below it.
        advice: Said after the answer.
        warnings: Shown first, before the audit's, the evaluation's and those about small classes.
        facts: What more it was made with, by name.
        columns: Images of each class and kind, at most 12; fewer where there are many classes.
        progress: Whether to show bars while the training split is read.

    Returns:
        The file.

    Raises:
        DataError: The pool's images or classes are not those of `train`.
        ConfigError: A parameter has a value that cannot work, or `path` is something else than a page.
        StorageError: The disk refused.
    """
    path, columns = page_path(path), whole("columns", columns)
    if pool is not None and not isinstance(pool, SyntheticPool):
        raise ConfigError(f"expected pool= a SyntheticPool or None, found {type(pool).__name__}")
    shown = Shown.of(RawView.of(train, progress=progress), pool)
    plots = None if pool is None else scatter(shown, extractor)
    page = _render(
        title=title,
        subtitle=subtitle,
        advice=advice,
        warnings=_warnings(shown, warnings, audit, evaluation),
        facts=_facts(shown, audit, evaluation, facts or {}),
        classes=class_counts(shown),
        pool=pool is not None,
        gallery=None if pool is None else gallery(shown, columns),
        scatter=plots,
        audit=None if audit is None else audit_section(audit),
        evaluation=None if evaluation is None else evaluation_section(evaluation),
    )
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, page.translate(_UNSEEN).encode(errors="backslashreplace"))  # names may hold bytes of no UTF-8
    return path


def page_path(path: str | Path) -> Path:
    """Returns where a page is to be written, after a look that nothing of the user's is there.

    Raises:
        ConfigError: There is a folder or a file that is no page, or no file can have the name.
    """
    path = Path(path)
    try:
        usable = path.name not in ("", "..") and "\0" not in str(path)
        usable = usable and (not path.exists() or (path.is_file() and _is_page(path)))
    except OSError:
        usable = False
    if not usable:
        raise ConfigError(
            f"expected a new file such as report.html, or an earlier page, found {str(path)!r}; give another file"
        )
    return path


def _is_page(path: Path) -> bool:
    begin = b"<!doctype html>"
    with path.open("rb") as file:
        return file.read(len(begin)) == begin


def _render(**values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gan_augment.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(min_images=MIN_IMAGES, **values)


def _warnings(shown: Shown, given: Sequence[str], audit: Any, evaluation: EvaluationResult | None) -> list[str]:
    """Returns every warning once, the audit's first."""
    told = [*(audit.warnings if audit is not None else ()), *given, *(evaluation.notes if evaluation else ())]
    if shown.foreign:
        told.append(
            "the pool was built like another dataset than the training split shown here: parents are not told, and "
            "its images may come from images that are not in this split"
        )
    counts, classes = shown.view.counts, shown.view.classes
    small = [f"{classes[i]} ({counts[i]})" for i in counts.argsort(kind="stable").tolist() if counts[i] < MIN_IMAGES]
    if small:
        told.append(
            f"fewer than {MIN_IMAGES} training images of {listed(small)}: synthetic images of so small classes "
            "vary little, and help little or harm"
        )
    return list(dict.fromkeys(map(str, told)))


def _facts(shown: Shown, audit: Any, evaluation: Any, given: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Returns what was done and with what, under a heading for each step."""
    groups: dict[str, dict[str, Any]] = {"this run": dict(given)}
    if shown.pool is not None:
        about = shown.pool.about
        chain = about.get("fingerprint")
        groups["pool"] = {
            "candidates": len(shown.pool),
            "kept": int(shown.kept.sum()),
            **{name: about[name] for name in ("seed", "reserve") if name in about},
        }
        groups["selector"] = dict(about.get("selector") or {})
        groups["fingerprints"] = dict(chain) if isinstance(chain, Mapping) else {}
    groups["audit"] = {} if audit is None else dict(audit.settings)
    groups["evaluation"] = {} if evaluation is None else {"seeds": list(evaluation.seeds), **evaluation.settings}
    about = {} if shown.pool is None else shown.pool.about
    groups["versions"] = dict(about.get("versions") or versions())
    return {name: flat(values) for name, values in groups.items() if values}
