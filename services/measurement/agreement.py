"""How far reviewers agree who judge the same case without knowing of each other. Pure."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEAST = 20
"""So many cases that several reviewed a number needs."""
LEAST_FOR_INTERVAL = 50
"""Of fewer, simulated intervals hold what is true too seldom."""
LEAST_FOR_ERROR = 50
INTERVAL_METHOD = "bootstrap_95"
DEFINITION = (
    "Krippendorff's alpha, nominal: 1 less the observed share of disagreement over the share that"
    " chance alone would give. Over cases that several people reviewed blind; of each the opinions"
    " that everybody was asked for, not the third one, which is asked where two differ. 0.8 is"
    " reliable, 0.667 tentative. The interval holds the middle 95 % of what 1,000 draws of as many"
    " of these cases, with replacement, show. Agreement is not validity: people can be wrong"
    " together."
)
ERROR_DEFINITION = (
    "By the Dawid-Skene model: the share of opinions that differ from what the model takes for"
    " true, of all reviewers together. With two opinions a case it tends to be too low."
)


class Label(NamedTuple):
    """What one reviewer said of one case."""

    unit: Hashable
    """The case, in one of its cycles."""
    reviewer: str
    label: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with how many cases it rests on, or why there is none."""

    n: int
    value: float | None
    refused: str | None = None

    def as_answer(self) -> dict[str, object]:
        """As the API shows it."""
        return {"value": self.value, "n": self.n, "refused": self.refused}


@dataclass(frozen=True, slots=True)
class Alpha:
    """Agreement with its 95 % interval, or why there is no interval."""

    estimate: Estimate
    interval: tuple[float, float] | None = None
    interval_refused: str | None = None

    def as_answer(self) -> dict[str, object]:
        """As the API shows it."""
        return {
            **self.estimate.as_answer(),
            "interval": list(self.interval) if self.interval else None,
            "interval_refused": self.interval_refused,
            "method": INTERVAL_METHOD,
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a tool's reviewers agree, in all and on each category."""

    opinions: int
    alpha: Alpha
    categories: Mapping[str, Estimate]
    """Without intervals: of a rare category a bootstrap is far too sure."""


def agreement(labels: Iterable[Label], categories: Sequence[str] = ()) -> Agreement:
    """What follows from the labels of reviewers; on each category whether a case is of it or not.

    A category that nobody named is left out.
    """
    kinds = _pairable(labels)
    of_categories = {
        category: _alpha(_against_all_others(kinds, category))
        for category in categories
        if any(category in kind for kind in kinds)
    }
    opinions = sum(len(kind) * times for kind, times in kinds.items())
    return Agreement(opinions, _sure(kinds), of_categories)


def alpha_of(labels: Iterable[Label]) -> Estimate:
    """Agreement in all, without its interval, for whoever asks often."""
    return _alpha(_pairable(labels))


Kind = tuple[str, ...]
"""What was said of a case. Cases of which the same was said are of one kind."""


def _pairable(labels: Iterable[Label]) -> Counter[Kind]:
    """How many cases of each kind more than one person reviewed."""
    units: dict[Hashable, list[str]] = {}
    for one in labels:
        units.setdefault(one.unit, []).append(one.label)
    return Counter(tuple(sorted(unit)) for unit in units.values() if len(unit) > 1)


def _sure(kinds: Counter[Kind]) -> Alpha:
    """Alpha in all, with how sure it is."""
    estimate = _alpha(kinds)
    why = _interval_refused(estimate)
    if why is not None:
        return Alpha(estimate, None, why)
    # In one order, in which the same cases are drawn the same.
    ordered = dict(sorted(kinds.items()))
    from services.measurement.resampling import interval

    found = interval(list(ordered), list(ordered.values()))
    return Alpha(estimate, found, None if found is not None else _TOO_ALIKE)


_TOO_ALIKE = "Too few cases differ to say how sure this is."


def _against_all_others(kinds: Counter[Kind], category: str) -> Counter[Kind]:
    """Of each label whether it is this category."""
    found: Counter[Kind] = Counter()
    for kind, times in kinds.items():
        found[tuple(str(label == category) for label in kind)] += times
    return found


def _interval_refused(estimate: Estimate) -> str | None:
    """Why there is no interval."""
    if estimate.value is None:
        return estimate.refused
    if estimate.n < LEAST_FOR_INTERVAL:
        return f"An interval needs {LEAST_FOR_INTERVAL} cases that several reviewed."
    if estimate.value == 1:
        return "Nobody differed: how often somebody will cannot be told from that."
    return None


def _alpha(kinds: Counter[Kind]) -> Estimate:
    n = kinds.total()
    if n < LEAST:
        return Estimate(n, None, f"{n} cases were reviewed by several; {LEAST} are needed.")
    value = krippendorff(kinds)
    if value is None:
        return Estimate(n, None, "Everybody said the same of all of them, as chance could do.")
    return Estimate(n, value)


def krippendorff(kinds: Mapping[Kind, int]) -> float | None:
    """Krippendorff's alpha for labels without an order, of so many cases of each kind; None where
    all labels are the same.

    Each case has two labels or more. After K. Krippendorff, *Computing Krippendorff's
    Alpha-Reliability*, University of Pennsylvania 2011, section C.
    """
    totals: Counter[str] = Counter()
    for kind, times in kinds.items():
        for label in kind:
            totals[label] += times
    n = totals.total()
    expected = (n * n - sum(count * count for count in totals.values())) / (n * (n - 1))
    if not expected:
        return None
    observed = sum(_disagreement(kind) * times for kind, times in kinds.items()) / n
    return 1 - observed / expected


def _disagreement(kind: Kind) -> float:
    """Ordered pairs of labels that differ, for each label beside the others."""
    m = len(kind)
    alike = sum(count * count for count in Counter(kind).values())
    return (m * m - alike) / (m - 1)


def reviewer_error(labels: Iterable[Label]) -> Estimate:
    """How often a tool's reviewers are wrong, all together, by Dawid and Skene's model.

    It is the library's (crowd-kit, an extra of its own, as it needs much else), and is loaded only
    here: refused where it is not installed.
    """
    listed = list(labels)
    several = {unit for unit, n in Counter(one.unit for one in listed).items() if n > 1}
    n = len(several)
    if n < LEAST_FOR_ERROR:
        said = f"{n} cases were reviewed by several; {LEAST_FOR_ERROR} are needed."
        return Estimate(n, None, said)
    try:
        import pandas as pd
        from crowdkit.aggregation import DawidSkene
    except ImportError:
        said = "crowd-kit is not installed; install secondlook-server with its extra `agreement`."
        return Estimate(n, None, said)
    names = {unit: number for number, unit in enumerate(several)}
    rows = [(names[one.unit], one.reviewer, one.label) for one in listed if one.unit in names]
    frame = pd.DataFrame(rows, columns=["task", "worker", "label"])
    truth = DawidSkene(n_iter=100).fit_predict_proba(frame)
    wrong = sum(1.0 - float(truth.at[task, label]) for task, _, label in rows)
    return Estimate(n, wrong / len(rows))
