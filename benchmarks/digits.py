"""The demo's comparison over ten seeds: python -m benchmarks.digits"""

import dataclasses
import functools
from typing import Any

from benchmarks.common import RESULTS, measured_on, unit
from gan_augment.artifacts import write_bytes
from gan_augment.demo import DemoSettings, compare_scores, run_replicates
from gan_augment.report import comparison_table

SEEDS = range(10)


def replicate(seed: int, settings: DemoSettings) -> dict[str, Any]:
    return run_replicates([seed], settings, progress=False)[0]


def main() -> None:
    settings = DemoSettings()
    results = [
        unit(
            f"digits/seed-{seed}",
            {"seed": seed, **dataclasses.asdict(settings)},
            functools.partial(replicate, seed, settings),
        )
        for seed in SEEDS
    ]
    comparison = compare_scores([result["scores"] for result in results])
    told = {
        **comparison.to_json(),
        "seeds": list(SEEDS),
        "seconds": sum(result["seconds"] for result in results),
        "machine": results[0]["machine"],
    }
    control = comparison.selected_minus_random["balanced_accuracy"]
    text = (
        f"# Digits, imbalance ratio 20: every arm over {len(SEEDS)} seeds\n\n```\n{comparison_table(told)}\n```\n\n"
        f"The selector against as many random candidates: {100 * control.mean:+.1f} points of balanced accuracy "
        f"[{100 * control.low:+.1f}, {100 * control.high:+.1f}].\n\n"
        f"{measured_on(results)} Written by `python -m benchmarks.digits`.\n"
    )
    write_bytes(RESULTS / "digits.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
