"""How loops share the machine."""

import threading

from services.kit.processes.loops import Loop


def test_loop_with_a_share_leaves_the_rest_of_its_time_to_others() -> None:
    def work() -> bool:
        return not threading.Event().wait(0.02)

    pause = Loop("purging", work, every=60.0, share=0.1)._once()
    assert 9 * 0.02 <= pause < 60
    assert Loop("timers", work, every=60.0)._once() == 0.0


def test_loop_with_a_share_rests_when_nothing_is_left() -> None:
    assert Loop("purging", lambda: False, every=60.0, share=0.1)._once() == 60.0


def test_loop_that_waits_for_word_steps_at_word_and_when_its_time_is_up() -> None:
    stopping, heard, steps = threading.Event(), iter([False, False, True]), []

    def step() -> bool:
        steps.append(1)
        if len(steps) == 2:
            stopping.set()
        return False

    loop = Loop("relay", step, every=600.0, wait=lambda _seconds: next(heard))
    loop.run(stopping)
    assert len(steps) == 2
    assert next(heard, None) is None


def test_pause_of_a_loop_with_a_share_is_no_hang() -> None:
    """Nine times a step of 20 s would be taken for one."""

    def work() -> bool:
        return not threading.Event().wait(0.05)

    assert Loop("purging", work, every=0.1, share=0.1)._once() == 0.1
