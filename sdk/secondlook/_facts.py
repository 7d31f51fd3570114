"""What the gate reads of an output and of one that failed; the models of `events` fit.

Said as protocols, because events are made with a policy: to import them here would be a circle.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from secondlook._values import Kind


class VersionFacts(Protocol):
    @property
    def model(self) -> str | None: ...
    @property
    def prompt(self) -> str | None: ...


class InputFacts(Protocol):
    @property
    def language(self) -> str | None: ...


class SharedFacts(Protocol):
    """What the contracts of an output and of one that failed have in common."""

    @property
    def output_id(self) -> str: ...
    @property
    def subject(self) -> str | None: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...
    @property
    def cohort(self) -> str | None: ...
    @property
    def version(self) -> VersionFacts | None: ...
    @property
    def input(self) -> InputFacts | None: ...


class OutputFacts(SharedFacts, Protocol):
    @property
    def kind(self) -> Kind: ...
    @property
    def value(self) -> Any: ...
    @property
    def confidence(self) -> float | None: ...


class ErrorFacts(Protocol):
    @property
    def kind(self) -> str: ...


class FailureFacts(SharedFacts, Protocol):
    @property
    def error(self) -> ErrorFacts: ...
