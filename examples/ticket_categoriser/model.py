"""The model: TF-IDF and logistic regression, a pilot that is good enough to be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_ALTERNATIVES = 3


@dataclass(frozen=True, slots=True)
class Guess:
    """What the model makes of one text: its best category and the next ones."""

    category: str
    confidence: float
    alternatives: list[dict[str, Any]]


class Model:
    """A trained classifier of texts."""

    def __init__(self, name: str, pipeline: "Pipeline") -> None:
        self.name = name
        self._pipeline = pipeline

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        """One guess a text."""
        classes = self._pipeline.classes_
        guesses = []
        for shares in self._pipeline.predict_proba(list(texts)):
            best = shares.argsort()[::-1][: _ALTERNATIVES + 1]
            first, *others = [(str(classes[i]), float(shares[i])) for i in best]
            alternatives = [{"value": name, "confidence": share} for name, share in others]
            guesses.append(Guess(*first, alternatives))
        return guesses

    def error_rate(self, texts: Sequence[str], labels: Sequence[str]) -> float | None:
        """Share of texts whose best category is not the label; None without texts."""
        if not texts:
            return None
        wrong = sum(g.category != label for g, label in zip(self.guess(texts), labels, strict=True))
        return wrong / len(texts)


def train(name: str, texts: Sequence[str], labels: Sequence[str], *, seed: int) -> Model:
    """Fit a model to labelled texts.

    Raises:
        ValueError: fewer than two categories are among the labels.
    """
    # They take seconds to load, and who only reads a demo's tickets trains nothing.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1),
        LogisticRegression(C=10, max_iter=400, random_state=seed),
    )
    pipeline.fit(list(texts), list(labels))
    return Model(name, pipeline)
