"""What Prometheus is told of what is measured."""

from services.kit.metrics import gauge
from services.measurement import queries
from services.measurement.agreement import alpha_of
from services.tools.metrics import Scrape

METRICS = (
    gauge(
        "secondlook_label_agreement_alpha",
        "Krippendorff's alpha of reviewers who judge the same cases blind, last 90 days; absent "
        "where too few did. All reviewers together. Agreement is not validity.",
        "tool",
    ),
)


def read(scrape: Scrape) -> None:
    """Agreement of each tool's reviewers, where enough cases were reviewed by several."""
    said = queries.labels(scrape.session, now=scrape.now)
    for tool in scrape.tools:
        alpha = alpha_of(said.get(tool.slug, ()))
        if alpha.value is not None:
            scrape.samples.set("secondlook_label_agreement_alpha", alpha.value, tool.slug)
