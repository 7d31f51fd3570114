"""What is counted of a routing policy's rules. Pure."""

ROUTED = "routed"
"""Cases by the rule that took them."""
MONITORED = "monitored"
"""Cases by the revision and the rule that would have taken them, but is merely tried."""
