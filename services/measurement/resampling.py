"""How sure agreement is: the cases drawn anew, again and again, and what each draw shows.

Loaded only where it is asked for, as numpy takes its time and memory.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
_SEED = 20_071
"""The same cases have the same interval, whoever asks."""
_TAILS = (2.5, 97.5)
_MOST_ALIKE = 0.025
"""A greater share of draws in which nobody differs is an end of the interval by itself."""
Numbers = NDArray[np.float64]


def interval(told: Sequence[Sequence[str]], times: Sequence[int]) -> tuple[float, float] | None:
    """The 95 % interval of alpha over so many cases of each of these kinds, by their labels.

    Draws as many cases as there are, with replacement. A bootstrap interval of alpha is A. F. Hayes
    and K. Krippendorff's, *Answering the Call for a Standard Reliability Measure for Coding Data*,
    Communication Methods and Measures 1, 2007. They draw pairs of labels; here whole cases are
    drawn, since the labels of one belong together, and both kinds of disagreement follow from the
    draw, as in A. Zapf et al., *Measuring inter-rater reliability for nominal data*, BMC Medical
    Research Methodology 16:93, 2016. None where too many draws hold no disagreement or one label
    alone: the rest would say too little of what there can be.
    """
    kinds, kind_of = _Kinds(told), np.repeat(np.arange(len(times)), times)
    draw, n = np.random.default_rng(_SEED), len(kind_of)
    alphas = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        held = np.bincount(kind_of[draw.integers(n, size=n)], minlength=len(times))
        alphas[number] = kinds.alpha(held.astype(np.float64))
    if np.mean(np.isnan(alphas) | (alphas == 1)) > _MOST_ALIKE:
        return None
    low, high = np.nanpercentile(alphas, _TAILS)
    return float(low), float(high)


class _Kinds:
    """Kinds of cases as numbers: how many labels each has, how they differ, and which they are."""

    def __init__(self, told: Sequence[Sequence[str]]) -> None:
        counts = [Counter(labels) for labels in told]
        self._labels = np.array([len(labels) for labels in told], dtype=np.float64)
        alike = np.array([sum(n * n for n in one.values()) for one in counts])
        self._disagreement = (self._labels**2 - alike) / (self._labels - 1)
        # One entry for each label of each kind: which kind, which label, how often.
        numbers: dict[str, int] = {}
        entries = [
            (kind, numbers.setdefault(label, len(numbers)), n)
            for kind, one in enumerate(counts)
            for label, n in one.items()
        ]
        self._kind, self._label, times = np.array(entries).T.copy()
        self._times = times.astype(np.float64)

    def alpha(self, held: Numbers) -> float:
        """`agreement.krippendorff` of a draw that holds so many of each kind; NaN for its None.

        No product of vectors: threads of BLAS in each other's way make it thirty times as slow.
        """
        n = np.sum(held * self._labels)
        totals = np.bincount(self._label, weights=held[self._kind] * self._times)
        expected = (n * n - np.sum(totals * totals)) / (n * (n - 1))
        observed = np.sum(held * self._disagreement) / n
        return float(1 - observed / expected) if expected > 0 else np.nan
