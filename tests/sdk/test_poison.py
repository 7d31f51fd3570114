"""Every malformed event is refused for a reason that helps; every tricky one is taken."""

import pytest
from secondlook import events
from secondlook.testing import POISON, Poison


@pytest.mark.parametrize("poison", POISON, ids=lambda poison: poison.name)
def test_decode_judges_poison(poison: Poison) -> None:
    if poison.expected == "unknown_type":
        with pytest.raises(events.UnknownEventType):
            events.decode(poison.raw, poison.headers)
    elif poison.expected == "invalid":
        with pytest.raises(events.InvalidEvent) as caught:
            events.decode(poison.raw, poison.headers)
        _assert_helpful(caught.value)
    else:
        event = events.decode(poison.raw, poison.headers)
        assert events.decode(events.encode(event)) == event


def _assert_helpful(error: events.InvalidEvent) -> None:
    assert 1 <= len(error.problems) <= 100
    for problem in error.problems:
        assert problem.pointer == "" or problem.pointer.startswith("/")
        assert problem.problem
        assert problem.hint
        assert str(problem).isprintable()
        assert len(str(problem)) < 400
        assert "will not do" not in problem.problem, "a rule has no words of its own"


def test_corpus_is_large_and_has_unique_names() -> None:
    assert len(POISON) >= 60
    assert len({poison.name for poison in POISON}) == len(POISON)
