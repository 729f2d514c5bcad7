"""How many images each class gets: compared with imbalanced-learn itself."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.over_sampling import RandomOverSampler

from gan_augment.balance import MIN_IMAGES, Balance, check_classes, item_weights, numbers_to_add
from gan_augment.errors import ConfigError, DataError, SmallClassWarning

CLASSES = ["boot", "coat", "shirt"]
TARGETS = np.repeat([0, 1, 2], [50, 30, 20])


def oversampled(strategy, targets):
    """What imbalanced-learn's own sampler adds to each class."""
    sampler = RandomOverSampler(sampling_strategy=strategy, random_state=0)
    _, labels = sampler.fit_resample(np.zeros((len(targets), 1)), targets)
    added = np.bincount(labels) - np.bincount(targets)
    return {label: int(number) for label, number in enumerate(added) if number}


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["auto", "minority", "not minority", "not majority", "all"]),
    st.lists(st.integers(0, 40), min_size=2, max_size=6).filter(lambda counts: sum(map(bool, counts)) >= 2),
)
def test_each_word_means_what_imbalanced_learn_means(strategy, counts):
    targets = np.repeat(np.arange(len(counts)), counts)
    names = [f"class {i}" for i in range(len(counts))]
    assert numbers_to_add(strategy, targets, names) == oversampled(strategy, targets)


@pytest.mark.parametrize("totals", [{1: 40, 2: 35}, {2: 50}, {0: 50, 1: 30, 2: 21}])
def test_a_dict_of_final_totals(totals):
    wanted = oversampled(totals, TARGETS)
    assert numbers_to_add(totals, TARGETS, CLASSES) == wanted
    assert numbers_to_add({CLASSES[label]: total for label, total in totals.items()}, TARGETS, CLASSES) == wanted
    assert numbers_to_add(lambda labels: totals, TARGETS, CLASSES) == wanted
    assert numbers_to_add({np.int64(label): total for label, total in totals.items()}, TARGETS, CLASSES) == wanted


def test_a_dict_is_keyed_by_the_labels_of_the_items():
    targets = np.array([0, 0, 0, 1])
    assert numbers_to_add({7: 3}, targets, ["3", "7"], [3, 7]) == {1: 2}
    assert numbers_to_add({"7": 3}, targets, ["3", "7"], [3, 7]) == {1: 2}
    assert numbers_to_add({"normal": 3}, targets, ["ill", "normal"], ["ill", "normal"]) == {1: 2}
    with pytest.raises(ConfigError, match=r"one of the classes 3, 7 .* found 1"):
        numbers_to_add({1: 3}, targets, ["3", "7"], [3, 7])


def test_a_callable_sees_the_labels_of_the_items():
    seen = []

    def strategy(labels):
        seen.append(labels.tolist())
        return {7: 3}

    assert numbers_to_add(strategy, np.array([0, 0, 0, 1]), ["3", "7"], [3, 7]) == {1: 2}
    assert seen == [[3, 3, 3, 7]]


@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_a_float_for_two_classes(share):
    targets = np.repeat([0, 1], [100, 20])
    assert numbers_to_add(share, targets, ["a", "b"]) == oversampled(share, targets) == {1: int(100 * share) - 20}


def test_nothing_to_add_is_an_empty_answer():
    assert numbers_to_add("auto", np.repeat([0, 1], 10), ["a", "b"]) == {}
    assert numbers_to_add({0: 10}, np.repeat([0, 1], 10), ["a", "b"]) == {}


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("majority", "'majority'"),
        ("balanced", "'balanced'"),
        (0.5, "0.5.*binary"),
        (1.5, "1.5"),
        ({"boot": 10}, "there is 50 samples and 10 samples are asked"),
        ({"hat": 60}, "one of the classes boot, coat, shirt .* found 'hat'"),
        ({3: 60}, "found 3"),
        ({1: -5}, "-5"),
        ({"coat": "many"}, "found 'many'"),
        ({"coat": 45.5}, "found 45.5"),
        (lambda labels: {"hat": 3}, "found 'hat'"),
        (None, "None"),
    ],
)
def test_a_strategy_that_cannot_work_is_refused(strategy, told):
    with pytest.raises(ConfigError, match=told):
        numbers_to_add(strategy, TARGETS, CLASSES)


def test_a_total_for_a_class_without_images_is_refused():
    with pytest.raises(ConfigError, match="sampling_strategy="):
        numbers_to_add({"shirt": 10}, np.repeat([0, 1], 10), CLASSES)


def test_one_class_cannot_be_balanced():
    with pytest.raises(DataError, match="at least two classes with images"):
        numbers_to_add("auto", np.zeros(5, np.int64), CLASSES)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.sampled_from([0.0, 0.5, 1.0]))
def test_item_weights_draw_classes_in_proportion(counts, power):
    targets = np.repeat(np.arange(len(counts)) * 2, counts)  # every second class is empty
    weights = item_weights(targets, power)
    drawn = np.bincount(targets, weights=weights)[::2]
    wanted = np.array(counts, float) ** power
    assert np.allclose(drawn, wanted / wanted.sum())
    assert all(len(set(weights[targets == label].tolist())) == 1 for label in set(targets.tolist()))


@pytest.mark.parametrize(
    ("counts", "classes", "told"),
    [
        ([30], ["boot"], r"at least two classes, found one \(boot\)"),
        ([30, 0, 30], CLASSES, "no image of coat"),
        ([30, 1, 1], CLASSES, "a single image of coat, shirt"),
    ],
)
def test_classes_that_nothing_can_be_learned_of_are_refused(counts, classes, told):
    with pytest.raises(DataError, match=told):
        check_classes(np.array(counts), classes)


def test_small_classes_are_warned_of_where_the_caller_is():
    with pytest.warns(SmallClassWarning, match=r"fewer than 20 images of coat \(19\), shirt \(2\)") as caught:
        check_classes(np.array([MIN_IMAGES, MIN_IMAGES - 1, 2]), CLASSES, stacklevel=2)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_classes(np.array([MIN_IMAGES] * 3), CLASSES)
        check_classes(np.array([5, 5, 5]), CLASSES, min_images=5)


# -- between nothing and filled up, and caps -------------------------------------------------------------------------


TAIL = np.repeat(range(5), [600, 200, 60, 18, 6])
NAMES = list("abcde")


def test_the_square_root_halves_the_imbalance_on_a_log_scale():
    totals = np.bincount(TAIL)
    for label, number in numbers_to_add("sqrt", TAIL, NAMES).items():
        totals[label] += number
    assert totals.tolist() == [600, 346, 190, 104, 60]  # sqrt(n 600), rounded
    assert totals[0] / totals[-1] == pytest.approx((600 / 6) ** 0.5, rel=0.01)


def test_effective_numbers_are_those_of_cui_et_al():
    """Their weights 1 / E_n on items with n_c each: classes count as n_c E_max / E_c."""
    beta, counts = 0.99, np.bincount(TAIL)
    effective = (1 - beta**counts) / (1 - beta)
    wanted = counts * effective.max() / effective
    totals = counts.copy()
    for label, number in numbers_to_add(Balance(strategy="effective", beta=beta), TAIL, NAMES).items():
        totals[label] += number
    assert np.abs(totals - wanted).max() <= 0.5


@given(beta=st.floats(0, 0.99999), counts=st.lists(st.integers(1, 500), min_size=2, max_size=6))
def test_effective_lies_between_nothing_and_filled_up(beta, counts):
    targets = np.repeat(np.arange(len(counts)), counts)
    names = [str(label) for label in range(len(counts))]
    added = numbers_to_add(Balance(strategy="effective", beta=beta), targets, names)
    filled = numbers_to_add("auto", targets, names)
    assert all(0 < number <= filled[label] for label, number in added.items())
    assert numbers_to_add(Balance(strategy="effective", beta=0), targets, names) == {}


@given(
    ratio=st.none() | st.floats(0, 20),
    total=st.none() | st.integers(1, 900),
    strategy=st.sampled_from(["auto", "sqrt", "effective", "minority", {"e": 700, "c": 61}]),
)
def test_caps_take_away_and_never_add(ratio, total, strategy):
    whole = numbers_to_add(strategy, TAIL, NAMES)
    capped = numbers_to_add(Balance(strategy=strategy, max_ratio=ratio, max_total=total), TAIL, NAMES)
    counts = np.bincount(TAIL)
    for label, number in whole.items():
        limits = [number]
        limits += [] if ratio is None else [int(ratio * counts[label])]
        limits += [] if total is None else [total - counts[label]]
        assert capped.get(label, 0) == max(0, min(limits))
    assert set(capped) <= set(whole)


@pytest.mark.parametrize(
    "settings",
    [{"beta": 1}, {"beta": -0.1}, {"max_ratio": -1}, {"max_ratio": np.inf}, {"max_total": 0}, {"strategy": Balance()}],
)
def test_balances_that_cannot_work(settings):
    with pytest.raises(ConfigError):
        Balance(**settings)


def test_rules_leave_empty_classes_alone():
    targets = np.repeat([0, 2], [40, 10])
    assert numbers_to_add("sqrt", targets, ["a", "b", "c"]) == {2: 10}
    assert set(numbers_to_add("effective", targets, ["a", "b", "c"])) == {2}
