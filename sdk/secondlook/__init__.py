"""Connect an AI tool to Secondlook: decide, record, correct."""

from secondlook.gate import Decision, GatePolicy, decide

__all__ = ["Decision", "GatePolicy", "decide"]
