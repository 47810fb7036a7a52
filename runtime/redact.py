"""Text without the secrets that addresses hold, for whatever a person or a store may read."""

from __future__ import annotations

import re

# SAS `sig=`, `X-Amz-Signature=`, `X-Amz-Credential=`, `X-Goog-Signature=`, `token=`, `api_key=`, `Policy=`, ...
_VALUE = re.compile(
    r"(?i)([?&;][\w.%~-]*(?:sig|token|key|secret|passw|pwd|auth|credential|policy)[\w.%~-]*=)[^&;#\s'\"]+"
)
_USER = re.compile(r"(://)[^/\s@'\"]+@")
HIDDEN = "..."


def redacted(text: str) -> str:
    """`text` in which each address has lost its user, its password, and the values of its query that are secrets."""
    return _VALUE.sub(rf"\g<1>{HIDDEN}", _USER.sub(rf"\g<1>{HIDDEN}@", text))


def holds_secret(text: str) -> bool:
    """Whether there is anything to hide in it."""
    return redacted(text) != text
