"""A GAN's rows in a grid search of scikit-learn: long-tailed digits, each fold with a GAN of its own.

    python -m docs.examples.imblearn_digits --quick

The search chooses whether rows are drawn at all, for which classes, and how the classifier is regularised (some minutes
on one core; `--quick` takes few steps and shows only that it runs). Another over-sampler takes the GAN's place by name.
"""

import argparse
import warnings

import numpy as np
import numpy.typing as npt
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, classification_report
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler

from gan_augment.errors import SmallClassWarning
from gan_augment.integrations.imblearn import GANOverSampler

COUNTS = (120, 90, 68, 51, 38, 29, 22, 16, 12, 9)
"""Training images of each digit."""

Arrays = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def digits(counts: tuple[int, ...] = COUNTS) -> Arrays:
    """Returns long-tailed training rows, balanced test rows, and the labels of both."""
    X, y = load_digits(return_X_y=True)  # noqa: N806
    train, test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    kept = np.concatenate([np.flatnonzero(y_train == digit)[:count] for digit, count in enumerate(counts)])
    return train[kept], test, y_train[kept], y_test


def grid(steps: int | None, *, quick: bool) -> list[dict[str, list[object]]]:
    """Returns what is searched: no over-sampling, SMOTE, and the GAN for few classes or for all but the largest."""
    strengths = [0.01] if quick else [0.001, 0.01, 0.1]
    gan = GANOverSampler(random_state=0, steps=steps)
    return [
        {"sampler": ["passthrough", SMOTE(k_neighbors=3, random_state=0)], "model__C": strengths},
        {"sampler": [gan], "sampler__sampling_strategy": ["minority", "not majority"], "model__C": strengths},
    ]


def main(arguments: list[str] | None = None) -> float:
    """Runs the search; returns the balanced accuracy of what it chose on the test rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it runs")
    quick = parser.parse_args(arguments).quick
    warnings.simplefilter("ignore", SmallClassWarning)  # nine images of a digit are few, and are meant to be

    train, test, y_train, y_test = digits()
    model = Pipeline(
        [
            ("sampler", "passthrough"),
            ("scale", StandardScaler()),  # behind the sampler: a scaler sees new rows too
            ("model", LogisticRegression(max_iter=2000)),
        ]
    )
    search = GridSearchCV(
        model,
        grid(20 if quick else None, quick=quick),
        scoring="balanced_accuracy",
        cv=StratifiedKFold(2 if quick else 3, shuffle=True, random_state=0),
    )
    search.fit(train, y_train)
    for score, params in zip(search.cv_results_["mean_test_score"], search.cv_results_["params"], strict=True):
        print(f"{score:.3f}  {params}")
    found = search.predict(test)
    print(f"\nchosen: {search.best_params_}\n")
    print(classification_report(y_test, found, digits=3, zero_division=0))
    return float(balanced_accuracy_score(y_test, found))


if __name__ == "__main__":
    print(f"balanced accuracy {main():.3f}")
