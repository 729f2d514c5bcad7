"""What each process of tests/pool/test_ranks.py does: `ranks_worker.py FOLDER KIND [RANK_THAT_DIES AFTER_SHARDS]`."""

import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.pool.durable import build, synthesizer

RANK = int(os.environ.get("RANK", "0"))


def main(folder: Path, kind: str, dies: int = -1, after: int = 0) -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if dies == RANK and calls > after:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    pool = build(folder / "pool", kind, synthesizer(calls=count), distributed=True)
    (folder / f"seen.{RANK}").write_text(f"{len(pool)} {len(pool.candidates())} {calls}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
