"""GANOverSampler: imbalanced-learn's and scikit-learn's own checks, and the contracts that these leave out."""

import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import Pipeline
from imblearn.utils import estimator_checks as host_checks
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks as sklearn_checks

import gan_augment as ga
from gan_augment.errors import ConfigError, DataError, DataMismatchWarning, GanAugmentError, SmallClassWarning
from gan_augment.images import ImageSpec
from gan_augment.integrations.imblearn import GANOverSampler
from gan_augment.recipes import CGAN, SNGAN
from gan_augment.selection import CentroidSelector
from tests.helpers import run_python
from tests.transforms.sources import MARK, Mirror, live, marked_pool, spec_of

small = pytest.mark.filterwarnings("ignore::gan_augment.errors.SmallClassWarning")
"""Of tests whose classes are small, which the sampler tells and one test looks at."""

other_units = pytest.mark.filterwarnings("ignore::gan_augment.errors.DataMismatchWarning")
"""Of tests whose pool is of one value a class, far from the X beside it."""


def quick(**settings: Any) -> GANOverSampler:
    return GANOverSampler(**{"random_state": 0, "steps": 2, **settings})


def table(counts: tuple[int, ...] = (40, 25, 22), features: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Each class around a point of its own, columns of different scales."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(len(counts)), counts)
    return (rng.normal(size=(len(y), features)) + 4 * y[:, None]) * 10.0 ** np.arange(features), y


def digits(counts: tuple[int, ...] = (30, 24, 22)) -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(y == label)[:count] for label, count in enumerate(counts)])
    return X[rows], y[rows]


# -- the host's checks --------------------------------------------------------------------------------------------


def listed(mark: Any) -> pytest.MarkDecorator:
    """The checks as a list: pytest would have no generators any more."""
    names, checks = mark.args
    return pytest.mark.parametrize(names, list(checks), **mark.kwargs)


@small
@listed(host_checks.parametrize_with_checks([quick()]))
def test_imbalanced_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


@listed(sklearn_checks.parametrize_with_checks([quick()]))
def test_scikit_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


def test_every_parameter_is_validated_as_the_hosts_are() -> None:
    host_checks.check_param_validation("GANOverSampler", quick())


def test_column_names_are_kept_as_the_host_keeps_them() -> None:
    host_checks.check_dataframe_column_names_consistency("GANOverSampler", quick())


# -- rows of features ---------------------------------------------------------------------------------------------


def test_the_real_rows_come_first_and_unchanged_and_each_class_gets_its_number() -> None:
    X, y = table()
    kept, labels = X.copy(), y.copy()
    sampler = quick(sampling_strategy={1: 30, 2: 40})
    X_res, y_res = sampler.fit_resample(X, y)
    assert np.array_equal(X, kept) and np.array_equal(y, labels)  # noqa: PT018
    assert np.array_equal(X_res[: len(X)], X)
    assert Counter(y_res.tolist()) == {0: 40, 1: 30, 2: 40}
    assert sampler.sampling_strategy_ == {1: 5, 2: 18}
    assert X_res.flags["C_CONTIGUOUS"]
    assert repr(sampler.synthesizer_) == "TableSynthesizer(cgan, 3 classes, 3 features)"


def test_a_trained_gan_draws_rows_of_the_class_and_no_two_alike() -> None:
    X, y = table((60, 30, 30))
    sampler = GANOverSampler(random_state=0, steps=300)
    new, labels = (part[len(y) :] for part in sampler.fit_resample(X, y))
    centres = np.stack([X[y == label].mean(0) for label in range(3)]) / X.std(0)
    nearest = np.linalg.norm(new[:, None] / X.std(0) - centres, axis=2).argmin(1)
    assert (nearest == labels).mean() > 0.9
    assert len(np.unique(new, axis=0)) == len(new)
    assert set(sampler.synthesizer_.losses) == {"d_relativistic", "d_penalty", "g_relativistic"}
    assert all(len(values) == 300 for values in sampler.synthesizer_.losses.values())


def test_a_seed_gives_the_same_rows_and_another_seed_others() -> None:
    X, y = table()
    first, again, other = (quick(random_state=seed).fit_resample(X, y)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_random_state_moves_on_and_none_is_numpys_global_one() -> None:
    X, y = table()
    sampler = quick(random_state=np.random.RandomState(3))
    first, second = sampler.fit_resample(X, y)[0], sampler.fit_resample(X, y)[0]
    assert not np.array_equal(first, second)
    assert np.array_equal(first, quick(random_state=np.random.RandomState(3)).fit_resample(X, y)[0])
    np.random.seed(5)
    first = quick(random_state=None).fit_resample(X, y)[0]
    np.random.seed(5)
    assert np.array_equal(first, quick(random_state=None).fit_resample(X, y)[0])


@pytest.mark.parametrize("settings", [{}, {"image_shape": (8, 8)}], ids=["features", "images"])
def test_global_random_states_stay_as_they_were(settings: dict[str, Any]) -> None:
    X, y = digits()
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    quick(**settings).fit_resample(X, y)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_no_value_lies_beyond_those_of_its_column_and_a_constant_column_stays() -> None:
    X, y = table()
    X[:, 1] = 7.3
    new = quick().fit_resample(X, y)[0][len(y) :]
    assert (new >= X.min(0)).all()
    assert (new <= X.max(0)).all()
    assert (new[:, 1] == 7.3).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "bool"])
def test_whole_numbers_stay_in_their_dtype_and_do_not_wrap(dtype: str) -> None:
    _, y = table()
    kind = np.dtype(dtype)
    least, most = (False, True) if dtype == "bool" else (np.iinfo(kind).min, np.iinfo(kind).max)
    X = np.full((len(y), 3), least, kind)
    X[y == 2] = most
    new, labels = (part[len(y) :] for part in quick(steps=200).fit_resample(X, y))
    assert new.dtype == kind
    middle = float(least) / 2 + float(most) / 2
    assert (new[labels == 2].astype(float) > middle).mean() > 0.9, "values that wrap lie at the other end"
    assert (new[labels == 1].astype(float) < middle).mean() > 0.9


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e35), ("float64", 1e300), ("float64", 1e-300)])
def test_huge_and_tiny_floats_stay_in_their_dtype_and_finite(dtype: str, size: float) -> None:
    X, y = table()
    X = (X / np.abs(X).max(0)).astype(dtype) * np.dtype(dtype).type(size)
    new = quick(steps=30).fit_resample(X, y)[0][len(y) :]
    assert new.dtype == dtype
    assert np.isfinite(new).all()
    assert ((new.astype(np.float64) / size).std(0) > 0.01).all()


def test_sparse_in_is_sparse_out_of_the_same_format() -> None:
    X, y = table()
    dense = quick().fit_resample(X, y)[0]
    for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        found = quick().fit_resample(kind(X), y)[0]
        assert sparse.issparse(found)
        assert found.format == kind((1, 1)).format
        assert np.array_equal(found.toarray(), dense)


def test_how_a_table_lies_in_memory_changes_nothing() -> None:
    X, y = table()
    assert np.array_equal(quick().fit_resample(np.asfortranarray(X), y)[0], quick().fit_resample(X, y)[0])


def test_labels_may_be_strings() -> None:
    X, y = table()
    names = np.array(["ant", "bee", "wasp"])
    expected = quick().fit_resample(X, y)
    for dtype in (str, object):
        found = quick().fit_resample(X, names[y].astype(dtype))
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], names[expected[1]])
        assert found[1].dtype == names[y].astype(dtype).dtype


def test_a_class_of_one_row_works_and_is_told() -> None:
    X, y = table((40, 30, 1))
    with pytest.warns(SmallClassWarning, match=re.escape("fewer than 20 rows of 2 (1)")) as found:
        _, y_res = quick().fit_resample(X, y)
    assert Counter(y_res.tolist()) == {0: 40, 1: 40, 2: 40}
    assert [warning.filename for warning in found] == [__file__]


def test_no_warning_of_a_small_class_that_gets_no_rows() -> None:
    X, y = table((40, 30, 3))
    quick(sampling_strategy={1: 40}).fit_resample(X, y)


def test_nothing_is_trained_where_nothing_is_added() -> None:
    X, y = table((30, 30))
    sampler = quick(steps=10**9)
    X_res, y_res = sampler.fit_resample(X, y)
    assert sampler.synthesizer_ is None
    assert np.array_equal(X_res, X) and X_res is not X  # noqa: PT018
    assert np.array_equal(y_res, y) and y_res is not y  # noqa: PT018


# -- flattened images ---------------------------------------------------------------------------------------------


def test_images_are_trained_on_and_drawn_in_the_units_of_x() -> None:
    X, y = digits()
    sampler = quick(image_shape=(8, 8))
    X_res, y_res = sampler.fit_resample(X, y)
    assert Counter(y_res.tolist()) == {0: 30, 1: 30, 2: 30}
    assert X_res.dtype == X.dtype
    new = X_res[len(X) :]
    assert 0 <= new.min() < 4
    assert 12 < new.max() <= 16
    assert sampler.synthesizer_.recipe.name == "dagan"
    assert sampler.synthesizer_.class_names == ["0", "1", "2"]
    assert np.array_equal(quick(image_shape=(8, 8)).fit_resample(X, y)[0], X_res)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((8, 10, 3), "channels_last"), ((3, 8, 10), "channels_first"), ((8, 8, 9), "no_channel"), ((8, 10), "no_channel")],
)
def test_new_rows_are_flattened_as_those_of_x(shape: tuple[int, ...], layout: str) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [25, 22])
    images = rng.integers(0, 20, (47, *shape), dtype=np.uint8)
    first = {"channels_last": np.s_[..., 0], "channels_first": np.s_[:, 0], "no_channel": np.s_[:0]}[layout]
    images[first] = 200  # a channel that is bright whatever a GAN makes of it
    sampler = quick(image_shape=shape, recipe=SNGAN(batch_size=4, width=32))
    X_res, _ = sampler.fit_resample(images.reshape(47, -1), y)
    assert X_res.dtype == np.uint8
    assert sampler.synthesizer_.image_spec.form.layout == layout
    new = X_res[47:].reshape(-1, *shape)
    assert (new[first] >= 200).all()
    assert new[first].size + (new < 20).sum() == new.size


@small
def test_a_class_of_one_image_works() -> None:
    X, y = digits((24, 22, 1))
    assert Counter(quick(image_shape=(8, 8)).fit_resample(X, y)[1].tolist()) == {0: 24, 1: 24, 2: 24}


class Seen:
    """Remembers what a selector is made for."""

    def __init__(self) -> None:
        self.images: list[Any] = []

    def __call__(self, images: Any) -> Any:
        self.images.append(images)
        return CentroidSelector()


def test_a_selector_is_made_for_the_training_images_and_decides() -> None:
    X, y = digits()
    seen = Seen()
    sampler = quick(image_shape=(8, 8), selector=seen, sampling_strategy={1: 40})
    X_res, _ = sampler.fit_resample(X, y)
    assert len(seen.images) == 1
    assert np.array_equal(np.stack([image.ravel() for image, _ in seen.images[0]]), X)
    pool = sampler.synthesizer_
    assert isinstance(pool, ga.SyntheticPool)
    assert len(pool.candidates()) == 32
    assert 0 < len(pool) < 32
    kept = {pool.array(int(row)).tobytes() for row in pool.rows}
    assert {row.tobytes() for row in X_res[len(X) :]} <= kept


# -- a source -----------------------------------------------------------------------------------------------------


@other_units
@pytest.mark.parametrize("names", [None, ["ant", "bee", "wasp"]])
def test_rows_of_a_pool_go_to_their_class(names: list[str] | None, tmp_path: Path) -> None:
    y = np.repeat([0, 1, 2], [6, 4, 3])
    X = np.random.default_rng(0).random((13, 64))
    labels = y if names is None else np.array(names)[y]
    settings = {} if names is None else {"classes": names}
    pool = marked_pool(**settings)
    pool.save(tmp_path / "pool", progress=False)
    for source in (pool, tmp_path / "pool", str(tmp_path / "pool")):
        X_res, y_res = GANOverSampler(source=source, random_state=0).fit_resample(X, labels)
        new, new_labels = X_res[13:], y_res[13:]
        assert Counter(y_res.tolist()) == dict.fromkeys(labels.tolist(), 6)
        expected = [MARK + (int(label) if names is None else names.index(label)) for label in new_labels]
        assert np.allclose(new, np.array(expected)[:, None] / 255)


def test_all_rows_of_a_pool_are_taken_before_one_is_taken_again() -> None:
    images = np.arange(8 * 64, dtype=np.float32).reshape(8, 1, 8, 8)
    pool = ga.SyntheticPool.from_arrays(images, [0] * 2 + [1] * 6)
    X, y = np.linspace(0, 511, 12 * 64).reshape(12, 64), np.repeat([0, 1], [10, 2])
    X_res, _ = GANOverSampler(source=pool, random_state=0, sampling_strategy={1: 8}).fit_resample(X, y)
    assert sorted(X_res[12:, 0].tolist()) == [64.0 * row for row in range(2, 8)]
    X_res, _ = GANOverSampler(source=pool, random_state=0, sampling_strategy={1: 10}).fit_resample(X, y)
    assert Counter(Counter(X_res[12:, 0].tolist()).values()) == {1: 4, 2: 2}


@pytest.mark.parametrize("shape", [None, (8, 10, 3), (3, 8, 10)])
def test_a_pool_is_flattened_in_its_own_layout_or_in_the_one_asked_for(shape: tuple[int, ...] | None) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 10), dtype=np.uint8)
    pool = ga.SyntheticPool.from_arrays(images, [0, 0, 1, 1])
    X, y = np.tile(np.arange(240, dtype=np.uint8), (6, 1)), np.repeat([0, 1], [4, 2])
    X_res, _ = GANOverSampler(source=pool, image_shape=shape, random_state=0).fit_resample(X, y)
    wanted = images.transpose(0, 2, 3, 1) if shape == (8, 10, 3) else images
    assert {row.tobytes() for row in X_res[6:]} == {image.tobytes() for image in wanted[2:]}


def test_a_synthesizer_draws_in_raw_units() -> None:
    gan = live()
    X, y = np.tile(np.linspace(0, 255, 64), (9, 1)), np.repeat([0, 1, 2], [4, 3, 2])
    sampler = GANOverSampler(source=gan, random_state=0)
    X_res, y_res = sampler.fit_resample(X, y)
    assert sampler.synthesizer_ is gan
    light = [X_res[9:][y_res[9:] == label].mean() for label in (1, 2)]
    assert 100 < light[0] < 160 < light[1] < 255  # the toy's classes are 38, 128 and 217 on average
    assert (X_res[9:] == X_res[9:].round()).all()


def test_a_synthesizer_that_changes_real_images_is_given_rows_of_the_class() -> None:
    spec: ImageSpec = spec_of("array")
    X = np.arange(9)[:, None] * np.ones((9, 64), np.uint8) * 20
    y = np.repeat([0, 1, 2], [4, 3, 2])
    X_res, y_res = GANOverSampler(source=Mirror(spec), random_state=0).fit_resample(X.astype(np.uint8), y)
    for row, label in zip(X_res[9:], y_res[9:], strict=True):
        assert 255 - int(row[0]) in X[y == label][:, 0]


def test_a_synthesizer_that_changes_real_images_is_given_raw_ones_alone() -> None:
    X, y = digits((30, 24))
    spec = spec_of()
    with pytest.raises(DataError, match=r"raw uint8 values.* from 0 to 1; put scalers behind the sampler"):
        GANOverSampler(source=Mirror(spec), random_state=0).fit_resample(X / 16, y)


def test_a_gan_that_a_sampler_trained_is_the_source_of_another(tmp_path: Path) -> None:
    X, y = digits()
    trained = quick(image_shape=(8, 8), recipe="sngan")
    expected = trained.fit_resample(X, y)[0][len(X) :].mean()
    trained.synthesizer_.save(tmp_path / "gan")
    X_res, y_res = GANOverSampler(source=tmp_path / "gan", image_shape=(8, 8), random_state=1).fit_resample(X, y)
    assert Counter(y_res.tolist()) == {0: 30, 1: 30, 2: 30}
    assert abs(X_res[len(X) :].mean() - expected) < 2


def test_labels_of_either_sign_find_their_class() -> None:
    X, y = digits((24, 22))
    y = np.array([-1, 1])[y]
    trained = quick(image_shape=(8, 8), recipe="sngan")
    trained.fit_resample(X, y)
    assert trained.synthesizer_.class_names == ["-1", "1"]
    rare = np.concatenate([np.flatnonzero(y == -1)[:5], np.flatnonzero(y == 1)])
    again = GANOverSampler(source=trained.synthesizer_, image_shape=(8, 8), random_state=1)
    assert Counter(again.fit_resample(X[rare], y[rare])[1].tolist()) == {-1: 22, 1: 22}


def test_a_source_in_other_units_is_told() -> None:
    X, y = np.random.default_rng(0).random((9, 64)), np.repeat([0, 1, 2], [4, 3, 2])
    with pytest.warns(DataMismatchWarning, match="put scalers behind the sampler"):
        GANOverSampler(source=live(), random_state=0).fit_resample(X, y)


# -- in the host's tools ------------------------------------------------------------------------------------------


class Watched(GANOverSampler):
    """A sampler that keeps what it was given."""

    seen: list[np.ndarray] = []

    def _fit_resample(self, X: Any, y: Any) -> Any:
        self.seen.append(X.copy())
        return super()._fit_resample(X, y)


def test_in_a_cross_validation_each_fold_sees_its_training_part_alone() -> None:
    X, y = table((40, 24, 24))
    folds = StratifiedKFold(3)
    Watched.seen.clear()
    model = Pipeline([("gan", Watched(random_state=0, steps=2)), ("model", LogisticRegression(max_iter=2000))])
    with pytest.warns(SmallClassWarning):
        cross_validate(model, X, y, cv=folds)
    assert len(Watched.seen) == 3
    for seen, (train, _) in zip(Watched.seen, folds.split(X, y), strict=True):
        assert np.array_equal(seen, X[train])


def test_nothing_is_resampled_when_a_pipeline_predicts() -> None:
    X, y = table()
    model = Pipeline([("gan", quick()), ("scale", StandardScaler()), ("model", LogisticRegression())]).fit(X, y)
    assert len(model.predict(X)) == len(X)
    assert model.score(X, y) > 0.8


@small
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_grid_search_goes_over_its_parameters(jobs: int) -> None:
    X, y = table()
    model = Pipeline([("gan", quick()), ("model", LogisticRegression(max_iter=2000))])
    grid = {"gan__sampling_strategy": ["minority", {1: 40, 2: 40}], "gan__recipe": [CGAN(), CGAN(gamma=1.0)]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=jobs, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.named_steps["gan"].synthesizer_ is not None


def test_a_clone_shares_the_source_and_nothing_else() -> None:
    gan = live()
    sampler = GANOverSampler(source=gan, sampling_strategy={1: 5}, random_state=np.random.RandomState(0))
    copied = clone(sampler)
    assert copied.source is gan
    assert sampler.source is gan
    assert copied.sampling_strategy == {1: 5}
    assert copied.sampling_strategy is not sampler.sampling_strategy
    assert copied.random_state is not sampler.random_state


def test_parameters_are_kept_as_given_and_shown_as_the_host_shows_them() -> None:
    shape = [8, 8]
    sampler = GANOverSampler(image_shape=shape, steps=3)
    assert sampler.get_params()["image_shape"] is shape
    assert repr(sampler) == "GANOverSampler(image_shape=[8, 8], steps=3)"
    assert sampler.set_params(steps=5).steps == 5
    assert set(RandomOverSampler().get_params()) - {"shrinkage"} <= set(sampler.get_params())


def test_a_fitted_sampler_pickles_and_a_pool_in_a_folder_is_not_in_the_pickle(tmp_path: Path) -> None:
    X, y = table()
    sampler = quick()
    expected = sampler.fit_resample(X, y)[0]
    path = tmp_path / "sampler.joblib"
    joblib.dump(sampler, path)
    again = joblib.load(path)
    assert np.array_equal(again.synthesizer_.sample([1, 2], [5, 6]), sampler.synthesizer_.sample([1, 2], [5, 6]))
    assert np.array_equal(again.fit_resample(X, y)[0], expected)
    images = np.zeros((3000, 1, 16, 16), np.uint8)
    ga.SyntheticPool.from_arrays(images, [0, 1, 2] * 1000).save(tmp_path / "pool", progress=False)
    held = pickle.dumps(GANOverSampler(source=ga.SyntheticPool.open(tmp_path / "pool")))
    assert len(held) < images.nbytes / 4


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"recipe": "sngan"}, ConfigError, "expected recipe= a CGAN or None"),
        ({"image_shape": (8, 8), "recipe": "nonsense"}, ConfigError, "expected a recipe, one of"),
        ({"image_shape": (8, 8), "recipe": CGAN()}, ConfigError, "expected vectors for cgan"),
        ({"image_shape": (8, 9)}, DataError, "expected X of 72 columns"),
        ({"image_shape": (64,)}, ConfigError, "expected image_shape= of 2 to 4 whole numbers"),
        ({"image_shape": (4, 16)}, ConfigError, "sides of at least 8"),
        ({"image_shape": (8, 8.0)}, ConfigError, "whole numbers"),
        ({"selector": len}, ConfigError, "expected image_shape= beside selector="),
        ({"source": "pool"}, ConfigError, "expected source= alone, .* steps= too"),
        ({"source": marked_pool(), "steps": None, "image_shape": (8, 8, 3)}, ConfigError, r"\(1, 8, 8\), \(8, 8, 1\)"),
        ({"source": marked_pool([0, 0, 1]), "steps": None}, DataError, "found none of 2"),
        ({"source": marked_pool(shape=(1, 9, 8)), "steps": None}, DataError, "expected X of 72 columns"),
    ],
)
def test_what_cannot_work_is_told(settings: dict[str, Any], error: type[GanAugmentError], told: str) -> None:
    X, y = digits()
    with pytest.raises(error, match=told):
        quick(**settings).fit_resample(X, y)


def test_one_class_is_the_hosts_error() -> None:
    with pytest.raises(ValueError, match="needs to have more than 1 class"):
        quick().fit_resample(np.ones((5, 2)), np.zeros(5))


def test_an_unsupported_version_is_told() -> None:
    code = (
        "import imblearn; imblearn.__version__ = '0.11.0'\n"
        "from gan_augment.errors import DependencyError\n"
        "try:\n    import gan_augment.integrations.imblearn\n"
        "except DependencyError as error:\n    print(isinstance(error, ImportError), error)"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    told = "True expected imblearn from 0.12 for gan_augment.integrations.imblearn, found 0.11.0; pip install"
    assert done.stdout.startswith(told)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    from docs.examples import imblearn_digits

    assert imblearn_digits.main(["--quick"]) > 0.8
    assert "GANOverSampler(random_state=0, steps=20)" in capsys.readouterr().out


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import common, oversampling

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setenv("GAN_AUGMENT_RESULTS", str(tmp_path))
    threads = torch.get_num_threads()
    try:
        oversampling.main(quick=True)
    finally:
        torch.set_num_threads(threads)
    text = (tmp_path / "oversampling.md").read_text()
    assert text.count("| random forest |") == len(oversampling.SETS)
    assert "nan" not in text
    X, y, test, _ = oversampling.split("digits, as features", 0)
    assert sorted(np.bincount(y).tolist()) == sorted(oversampling.SETS["digits, as features"][1])
    assert not {row.tobytes() for row in X} & {row.tobytes() for row in test}


def test_scikit_learns_example_data_gains_what_a_newcomer_expects() -> None:
    X, y = load_iris(return_X_y=True)
    kept = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:25], np.flatnonzero(y == 2)[:20]])
    X_res, y_res = GANOverSampler(random_state=0, steps=200).fit_resample(X[kept], y[kept])
    model = LogisticRegression(max_iter=1000).fit(X_res, y_res)
    unseen = np.setdiff1d(np.arange(150), kept)
    assert model.score(X[unseen], y[unseen]) > 0.85
