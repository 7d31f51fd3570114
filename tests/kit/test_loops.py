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
