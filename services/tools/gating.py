"""The gate as the server asks it: the same function as the SDK's, under a stored policy."""

from datetime import datetime

from secondlook import events, gate

from services.tools.queries import ToolInfo


def decide(
    event: events.OutputRecorded | events.OutputFailed, tool: ToolInfo, at: datetime
) -> gate.Decision:
    """The server's own answer for an output event, under the policy that the tool went by.

    `at` is the log's time of the event; it finds the policy where the event names none.
    """
    if isinstance(event, events.OutputFailed):
        return decide_failure(event.data, tool, at)
    return decide_output(event.data, tool, at)


def decide_output(
    output: events.Output, tool: ToolInfo, at: datetime | None = None
) -> gate.Decision:
    """The gate's answer for an output; without `at`, under the newest policy."""
    policy = tool.policy
    if output.policy_revision is not None or at is not None:
        policy = tool.policy_for(revision=output.policy_revision, at=at or policy.effective_at)
    return gate.decide_output(policy, output)


def decide_failure(failure: events.OutputFailure, tool: ToolInfo, at: datetime) -> gate.Decision:
    """The gate's answer for an output that did not come: never straight through."""
    return gate.decide_failure(tool.policy_for(revision=None, at=at), failure)
