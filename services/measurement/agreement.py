"""How far reviewers agree who judge the same case without knowing of each other. Pure."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEAST = 20
"""So many cases that several reviewed a number needs."""
LEAST_FOR_ERROR = 50
DEFINITION = (
    "Krippendorff's alpha, nominal: 1 less the observed share of disagreement over the share that"
    " chance alone would give. Over cases that several people reviewed blind; of each the opinions"
    " that everybody was asked for, not the third one, which is asked where two differ. 0.8 is"
    " reliable, 0.667 tentative. Agreement is not validity: people can be wrong together."
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
class Agreement:
    """How far a tool's reviewers agree, in all and on each category."""

    opinions: int
    alpha: Estimate
    categories: Mapping[str, Estimate]


def agreement(labels: Iterable[Label], categories: Sequence[str] = ()) -> Agreement:
    """What follows from the labels of reviewers; on each category whether a case is of it or not.

    A category that nobody named is left out.
    """
    units = _pairable(labels)
    of_categories = {}
    for category in categories:
        told = [[str(label == category) for label in unit] for unit in units]
        if any("True" in unit for unit in told):
            of_categories[category] = _alpha(told)
    return Agreement(sum(map(len, units)), _alpha(units), of_categories)


def _pairable(labels: Iterable[Label]) -> list[list[str]]:
    """The labels of each case that more than one person reviewed."""
    units: dict[Hashable, list[str]] = {}
    for one in labels:
        units.setdefault(one.unit, []).append(one.label)
    return [unit for unit in units.values() if len(unit) > 1]


def _alpha(units: Sequence[Sequence[str]]) -> Estimate:
    n = len(units)
    if n < LEAST:
        return Estimate(n, None, f"{n} cases were reviewed by several; {LEAST} are needed.")
    value = krippendorff(units)
    if value is None:
        return Estimate(n, None, "Everybody said the same of all of them, as chance could do.")
    return Estimate(n, value)


def krippendorff(units: Sequence[Sequence[str]]) -> float | None:
    """Krippendorff's alpha for labels without an order; None where all are the same.

    Each unit holds two labels or more. After K. Krippendorff, *Computing Krippendorff's
    Alpha-Reliability*, University of Pennsylvania 2011, section C.
    """
    totals = Counter(label for unit in units for label in unit)
    n = totals.total()
    expected = (n * n - sum(count * count for count in totals.values())) / (n * (n - 1))
    if not expected:
        return None
    observed = sum(_disagreement(unit) for unit in units) / n
    return 1 - observed / expected


def _disagreement(unit: Sequence[str]) -> float:
    """Ordered pairs of labels that differ, for each label beside the others."""
    m = len(unit)
    alike = sum(count * count for count in Counter(unit).values())
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
