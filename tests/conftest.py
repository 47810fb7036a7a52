"""In CI the random tests draw the same examples every time: a submission is judged by its change, not by luck.

Nowhere has an example a deadline: how fast something is, is measured in bench/, and not by a test beside others.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
