"""The gate as the server asks it: the same function as the SDK's, under a stored policy."""

from datetime import datetime

from secondlook import events, gate

from services.tools.policies import PolicyFor
from services.tools.queries import ToolInfo


def decide(
    event: events.OutputRecorded | events.OutputFailed,
    tool: ToolInfo,
    at: datetime,
    policy_for: PolicyFor,
) -> gate.Decision:
    """The server's own answer for an output event, under the policy that the tool went by.

    `at` is the log's time of the event; it finds the policy where the event names none.
    """
    if isinstance(event, events.OutputFailed):
        # Never straight through.
        policy = policy_for(tool.policy, revision=None, at=at)
        return gate.decide_failure(policy, event.data)
    return decide_output(event.data, tool, at, policy_for)


def decide_output(
    output: events.Output, tool: ToolInfo, at: datetime, policy_for: PolicyFor
) -> gate.Decision:
    """The gate's answer for an output, under the policy it names or that in force at `at`."""
    policy = policy_for(tool.policy, revision=output.policy_revision, at=at)
    return gate.decide_output(policy, output)
