"""What Icechunk and the store below it say when something fails, as one line."""

from __future__ import annotations

import re

_ESCAPES = re.compile("\x1b\\[[0-9;]*m")
_SAID = re.compile(r'code: "(\w+)"(?:, message: "([^"]*)")?')
_CAUSE = re.compile(r"^\s*(?:\|->|`->|[├╰]─▶)\s*(.*)$")
_STORE = "object store"
_ADVICE = (
    (
        r"ExpiredToken|TokenRefreshRequired|RequestExpired",
        "get new credentials, and put them where the store's tools look",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthorizationHeader\w*",
        "fix AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    (r"AccessDenied|Forbidden", "these credentials may not read and write there"),
    (r"NoSuchBucket", "make the bucket, or fix 'datastore' in the cluster file"),
    (
        r"PermanentRedirect|IllegalLocationConstraint\w*",
        "fix 'region' of the 'datastore'",
    ),
    (r"RequestTimeTooSkewed", "set the clock of this machine right"),
    (
        r"no credentials|credentials? provider|CredentialsNotLoaded",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
)
"""What to do about what stores say: codes of S3's errors."""


def in_words(error: Exception) -> str:
    """Return what is said of a failure as one line, with what to do where that is known.

    Of what a store refuses its own words count, which are the last of many.
    """
    lines = _ESCAPES.sub("", str(error)).strip().split("\n")
    first = lines[0].strip(" x×")
    if _STORE not in first and "service error" not in first:
        return first
    text = " ".join(line.strip() for line in lines)
    if found := _SAID.search(text):
        words = ": ".join(part.rstrip(".") for part in found.groups() if part)
    else:
        causes = [match[1] for line in lines if (match := _CAUSE.match(line))]
        words = f"{first}: {causes[-1]}" if causes else first
    advice = next((what for sought, what in _ADVICE if re.search(sought, text)), "")
    return f"{words}; {advice}" if advice else words
