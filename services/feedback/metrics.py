"""What Prometheus is told of outputs and of what people say of them."""

from secondlook import events

from services.feedback import queries
from services.feedback.rules import TOOLS_TOPICS
from services.kit.metrics import counter, gauge
from services.tools.metrics import Scrape, count_by_tool, count_by_version
from services.tools.rules import NO_EXCEPTION, Trigger

EXCEPTION_TRIGGERS = tuple(word.value for word in Trigger if word not in NO_EXCEPTION)

METRICS = (
    counter("secondlook_outputs", "Distinct outputs stored.", "tool", "version", "disposition"),
    counter(
        "secondlook_exceptions",
        "Outputs that needed a person, audits excluded, each once under its first trigger.",
        "tool",
        "version",
        "trigger",
    ),
    counter("secondlook_corrections", "Words on outputs, by kind.", "tool", "version", "kind"),
    counter(
        "secondlook_tool_outputs",
        "Distinct outputs stored, of all versions; there from the tool's registration on.",
        "tool",
    ),
    counter(
        "secondlook_tool_exceptions",
        "Outputs that needed a person, of all versions; there from the tool's registration on.",
        "tool",
    ),
    counter(
        "secondlook_duplicates",
        "Events of tools that came again and changed nothing, as `secondlook account` counts "
        "them. Our own events, such as verdicts, are not in it.",
    ),
    counter(
        "secondlook_gate_disagreements",
        "Outputs whose gate in the SDK answered otherwise than the server's.",
        "tool",
        "disposition",
    ),
    gauge(
        "secondlook_last_output_timestamp_seconds",
        "When the tool's newest output was stored.",
        "tool",
    ),
)


def read(scrape: Scrape) -> None:
    """Counts from their totals, and when each tool's newest output came."""
    count_by_version(scrape, "outputs", "secondlook_outputs", events.DISPOSITIONS)
    count_by_version(scrape, "exceptions", "secondlook_exceptions", EXCEPTION_TRIGGERS)
    count_by_version(scrape, "corrections", "secondlook_corrections", events.CORRECTION_KINDS)
    count_by_tool(scrape, "outputs", "secondlook_tool_outputs", events.DISPOSITIONS)
    count_by_tool(scrape, "exceptions", "secondlook_tool_exceptions", EXCEPTION_TRIGGERS)
    samples = scrape.samples
    samples.add("secondlook_duplicates", 0)
    for tool in scrape.tools:
        for word in events.DISPOSITIONS:
            samples.add("secondlook_gate_disagreements", 0, tool.slug, word)
        last = queries.last_recorded(scrape.session, tool.slug)
        if last is not None:
            name = "secondlook_last_output_timestamp_seconds"
            samples.set(name, last.timestamp(), tool.slug)
    for total in scrape.totals:
        if total.measure == "duplicate" and total.label in TOOLS_TOPICS:
            samples.add("secondlook_duplicates", total.n)
        elif total.measure == "gate_disagreements":
            samples.add("secondlook_gate_disagreements", total.n, total.tool, total.label)
