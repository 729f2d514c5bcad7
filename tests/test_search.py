"""Beside torch, in real processes: forked workers, the order of imports, no FAISS at all, and memory.

A worker that hangs is ended by its own alarm, which its parent prints as signal 14. The slow test takes the care away
and sees that the workers then do hang.
"""

import sys

import pytest

from tests.helpers import run_python

_FORKED = """
import os, signal, sys
first, job, care = sys.argv[1:4]
if first == "faiss":
    import faiss
import torch
import numpy as np
from gan_augment import neighbours, search
from gan_augment.index import NeighbourIndex
features = np.random.default_rng(0).normal(size=(20000, 64)).astype(np.float32)
def near(centroids):  # which of many solutions k-means finds on noise depends on rounding, how good it is does not
    return neighbours.centroid_distances(features, centroids).min(axis=1).mean().round(1)
jobs = {
    "nearest": lambda: neighbours.nearest(features[:500], features, 3)[1],
    "torch": lambda: neighbours.nearest(features[:2000], features, 3, device="cpu")[1],
    "kmeans": lambda: near(neighbours.kmeans(features, 20)),
    "centroids": lambda: neighbours.centroid_distances(features, features[:500]),
}
work = jobs[job]
expected = work()
if care == "without":
    search._is_worker = lambda: False
for _ in range(2):
    child = os.fork()
    if not child:
        signal.alarm(int(sys.argv[4]))
        os._exit(0 if np.allclose(work(), expected, atol=2e-3 if job != 'kmeans' else 0.11) else 1)
    _, status = os.waitpid(child, 0)
    print(f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}")
"""

CASES = [("torch", "nearest"), ("faiss", "nearest"), ("torch", "kmeans"), ("faiss", "torch"), ("torch", "centroids")]

linux = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are Linux's")


@linux
@pytest.mark.parametrize(("first", "job"), CASES)
def test_a_forked_worker_searches_after_its_parent_did(first: str, job: str) -> None:
    done = run_python(_FORKED, first, job, "with", 60, env={"OMP_NUM_THREADS": "4"}, timeout=100)
    assert done.stdout.split("\n")[:2] == ["exit 0", "exit 0"], done.stderr


@linux
@pytest.mark.slow
@pytest.mark.parametrize(("first", "job"), [case for case in CASES if case[1] != "centroids"])
def test_without_the_care_it_hangs(first: str, job: str) -> None:
    done = run_python(_FORKED, first, job, "without", 10, env={"OMP_NUM_THREADS": "4"}, timeout=100)
    assert done.stdout.split("\n")[:2] == ["signal 14", "signal 14"], done.stderr


_LOADER = """
import sys
if sys.argv[1] == "faiss":
    import faiss
import numpy as np
import torch
from gan_augment.neighbours import nearest
features = np.random.default_rng(0).normal(size=(20000, 64)).astype(np.float32)
expected = nearest(features[:500], features)[1][:, 0]
class Nearest(torch.utils.data.Dataset):
    def __len__(self):
        return 500
    def __getitem__(self, row):
        torch.ones(300, 300) @ torch.ones(300, 300)
        return nearest(features[row : row + 1].repeat(300, 0), features)[1][0, 0]
loader = torch.utils.data.DataLoader(
    Nearest(), batch_size=4, num_workers=2, sampler=range(0, 500, 25), timeout=20, multiprocessing_context="fork"
)
print(np.array_equal(np.concatenate([batch.numpy() for batch in loader]), expected[::25]))
"""


@linux
@pytest.mark.parametrize("first", ["torch", "faiss"])
def test_a_dataset_searches_in_the_workers_of_a_loader(first: str) -> None:
    done = run_python(_LOADER, first, env={"OMP_NUM_THREADS": "4"}, timeout=100)
    assert done.stdout.split() == ["True"], done.stderr


_ORDER = """
import os, sys
os.environ.pop("KMP_DUPLICATE_LIB_OK", None)  # which scikit-learn sets where it is imported, as among the tests
import gan_augment.neighbours
import numpy as np
print("faiss" in sys.modules)
threads = __import__("torch").get_num_threads()
gan_augment.neighbours.nearest(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
print(list(sys.modules).index("torch") < list(sys.modules).index("faiss"))
print("KMP_DUPLICATE_LIB_OK" in os.environ)
print(__import__("torch").get_num_threads() == threads, __import__("faiss").omp_get_max_threads() == threads)
"""


def test_torch_is_imported_before_faiss_and_nothing_is_set_for_the_process() -> None:
    done = run_python(_ORDER, env={"OMP_NUM_THREADS": "3"})
    assert done.stdout.split() == ["False", "True", "False", "True", "True"], done.stderr


_WITHOUT = """
import sys
if sys.argv[1] == "missing":
    sys.modules["faiss"] = None
import numpy as np
from gan_augment.index import NeighbourIndex
from gan_augment.neighbours import kmeans, nearest, nearest_of_class
features = np.random.default_rng(0).normal(size=(900, 8)).astype(np.float32)
print(nearest(features[:50], features, 3)[1].sum(), nearest_of_class(features, np.arange(900) % 3, 4)[0].sum())
print(kmeans(features, 3).shape, NeighbourIndex(base=features).search(features, 2).rows.sum())
print("faiss" in sys.modules and sys.modules["faiss"] is not None)
"""


def test_all_works_without_faiss() -> None:
    there, missing, off = (
        run_python(_WITHOUT, how, env={"GAN_AUGMENT_NO_FAISS": "1" if how == "off" else ""})
        for how in ("there", "missing", "off")
    )
    *found, used = there.stdout.split("\n")[:-1]
    assert used == "True", there.stderr
    assert missing.stdout.split("\n")[:-1] == off.stdout.split("\n")[:-1] == [*found, "False"], missing.stderr


_MEMORY = """
import sys
import numpy as np
from benchmarks.memory import peak_above
from gan_augment.neighbours import centroid_distances, kmeans, nearest, nearest_centroid, nearest_of_class
path, job = sys.argv[1:3]
features = np.load(path, mmap_mode="r", allow_pickle=False)
few = np.array(features[:64])
def near(centroids):  # which of many solutions k-means finds on noise depends on rounding, how good it is does not
    return neighbours.centroid_distances(features, centroids).min(axis=1).mean().round(1)
jobs = {
    "nearest": lambda: nearest(few, features, 5),
    "queries": lambda: nearest(features, few, 5),
    "of_class": lambda: nearest_of_class(features[:8000], np.zeros(8000, np.int64), 2),
    "nearest_centroid": lambda: nearest_centroid(features, few),
    "centroid_distances": lambda: centroid_distances(features, few[:8]),
    "kmeans": lambda: kmeans(features, 8),
}
nearest(few, few), kmeans(few, 2)  # libraries load
print(peak_above(jobs[job]))
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize("job", ["nearest", "queries", "of_class", "nearest_centroid", "centroid_distances", "kmeans"])
def test_memory_does_not_grow_with_the_features(job: str, features_file: str) -> None:
    """768 MB of features in a file; a copy of them would not pass."""
    done = run_python(_MEMORY, features_file, job, timeout=200)
    assert 0 < float(done.stdout) < 420e6, done.stderr


@pytest.fixture(scope="module")
def features_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    import numpy as np

    path = tmp_path_factory.mktemp("features") / "features.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (3 * 2**17, 512))
    rng = np.random.default_rng(0)
    for start in range(0, len(rows), 2**14):
        rows[start : start + 2**14] = rng.standard_normal((2**14, 512), dtype=np.float32)
    rows.flush()
    return str(path)


_BESIDE = """
import sys
import numpy as np
if sys.argv[1] == "before":
    import SimpleITK
from gan_augment import neighbours
rng = np.random.default_rng(0)
centres = rng.normal(size=(5, 8)) * 20
features = (centres[np.arange(2000) % 5] + rng.normal(size=(2000, 8))).astype(np.float32)
first = neighbours.kmeans(features, 5)
import SimpleITK
found = neighbours.kmeans(features, 5)
for centroids in (first, found, neighbours.kmeans(features, 5, spherical=True)):
    assert np.isfinite(centroids).all()
assert sorted(np.linalg.norm(centres[:, None] - found, axis=2).argmin(axis=1).tolist()) == [0, 1, 2, 3, 4]
assert np.linalg.norm(centres[:, None] - found, axis=2).min(axis=1).max() < 1
print("found")
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_kmeans_beside_simpleitk(when: str) -> None:
    """Both are wrapped by SWIG, whose table of types is one for all libraries of a process."""
    pytest.importorskip("SimpleITK")
    done = run_python(_BESIDE, when)
    assert done.stdout.strip() == "found", done.stderr
