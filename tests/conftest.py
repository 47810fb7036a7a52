"""In CI the random tests draw the same examples every time: a submission is judged by its change, not by luck.

Nowhere has an example a deadline: how fast something is, is measured in bench/, and not by a test beside others.
Programs that the tests start can be interrupted also where a shell has put pytest into the background, and so had it and
all that it starts ignore SIGINT.
"""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
