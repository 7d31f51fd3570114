"""The escalation engine under everything that can happen to it, step by step.

`pytest tests/escalation_machine` takes a short walk, `python -m tests.escalation_machine
--steps 1000000` a long one. After every step one statement asks whether a promise is broken.
"""
