"""How packages declare what Prometheus is told of the business, and hand it over."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric's name (without `_total`), kind, meaning and labels."""

    name: str
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    meaning: str
    labels: Labels = ()

    @property
    def sample(self) -> str:
        """The name under which Prometheus knows it."""
        return f"{self.name}_total" if self.kind is CounterMetricFamily else self.name

    def family(self, found: Mapping[Labels, float]) -> Metric:
        """The metric with these samples."""
        family = self.kind(self.name, self.meaning, labels=self.labels)
        for labels, value in sorted(found.items()):
            family.add_metric(labels, value)
        return family


def counter(name: str, meaning: str, *labels: str) -> Declared:
    """A count that only rises."""
    return Declared(name, CounterMetricFamily, meaning, labels)


def gauge(name: str, meaning: str, *labels: str) -> Declared:
    """A number that goes up and down."""
    return Declared(name, GaugeMetricFamily, meaning, labels)


@dataclass(slots=True)
class Samples:
    """The samples of one scrape, by metric and labels."""

    of: dict[str, dict[Labels, float]] = field(default_factory=lambda: defaultdict(dict))

    def set(self, name: str, value: float, *labels: str) -> None:
        """A sample."""
        self.of[name][labels] = value

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add to a sample, from 0."""
        self.of[name][labels] = self.of[name].get(labels, 0) + value

    def families(self, declared: Mapping[str, Declared]) -> Iterator[Metric]:
        """Every metric that has samples, in the order in which they are declared."""
        for name, one in declared.items():
            if name in self.of:
                yield one.family(self.of[name])
