"""The gate as the server asks it: the same function as the SDK's, under a stored policy."""

from datetime import datetime

from secondlook import events, gate
from secondlook.gate import GatePolicy

from services.tools.policies import Asked
from services.tools.queries import ToolInfo

OutputEvent = events.OutputRecorded | events.OutputFailed


def policy_asked(event: OutputEvent, tool: ToolInfo, at: datetime) -> Asked:
    """Which policy the tool went by; `at` is the log's time of the event."""
    named = None if isinstance(event, events.OutputFailed) else event.data.policy_revision
    return Asked(tool.policy, named, at)


def decide(event: OutputEvent, policy: GatePolicy) -> gate.Decision:
    """The server's own answer for an output event; a failure never goes straight through."""
    if isinstance(event, events.OutputFailed):
        return gate.decide_failure(policy, event.data)
    return gate.decide_output(policy, event.data)
