"""The routing policy of all tests that need one."""

POLICY = """
version: 1
catch_all: {team: support, priority: P3, sla: {claim: 30m, resolve: 2h}, escalate: standard}
rules:
  - id: taxes
    when: {predicted.category: "ta*"}
    owner: {user: lea@example.org}
    priority: P1
ladders:
  standard:
    - {at: 0m, own: team:support}
    - {at: 1h, own: user:lea@example.org}
    - {at: 3h, own: user:ada@example.org, repeat: 1h}
"""

SEVERAL = """
version: 1
catch_all: {{team: support, priority: P3, sla: {{claim: 30m, resolve: 2h}}, escalate: standard,
    reviewers: {reviewers}}}
ladders:
  standard:
    - {{at: 0m, own: team:support}}
    - {{at: 1h, own: user:lea@example.org}}
    - {{at: 3h, own: user:ada@example.org, repeat: 1h}}
"""
"""One whose every case is for so many reviewers."""
