"""Connect an AI tool to Secondlook: decide, record, correct."""

from secondlook._engine import Stats
from secondlook._problems import InvalidEvent, Problem
from secondlook._verdicts import Verdict
from secondlook.client import AsyncSecondlook, Secondlook
from secondlook.gate import Decision, GatePolicy, decide
from secondlook.keys import MalformedKey

__all__ = [
    "AsyncSecondlook",
    "Decision",
    "GatePolicy",
    "InvalidEvent",
    "MalformedKey",
    "Problem",
    "Secondlook",
    "Stats",
    "Verdict",
    "decide",
]
