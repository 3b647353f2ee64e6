"""Hostile notebooks: each is graded as any other, and once more with the one defence it meets off.

    attack.py     what an attack is, and what a run of one leaves behind
    arena.py      a toy class in which attacks are graded beside a good submission
    weakened.py   the test-only ways to switch one defence off
    forging.py, reading.py, escaping.py, exhausting.py, leaking.py, injecting.py   the attacks

Nothing of `weakened.py` can be reached from the product: it patches the trusted side in the test's
own process, writes other inside modules into the run folder of a second sandbox, puts a wrapper
before `bwrap` for that sandbox alone, or grades the naive way, as stock nbgrader does.
"""
