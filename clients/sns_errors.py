"""What can be wrong with a message of Amazon SNS, or with asking Amazon about it.

SnsError                is_retryable, code
├── SnsUnavailable      retryable: Amazon did not answer, or asked to come later
├── NotSns              no envelope of SNS
├── UnknownTopic        of a topic that the operator did not name
├── StaleMessage        more than an hour old, or of the future
├── UntrustedUrl        the certificate or the confirmation is not at Amazon's
├── ForgedMessage       the signature is not that of this message, or the certificate is none
└── SnsRefused          Amazon answered, and has no such certificate or subscription
"""

# ruff: noqa: N818 - the names say what happened, the tree that they are errors

from typing import ClassVar


class SnsError(Exception):
    """`code` is stable; only SnsUnavailable is worth the same message again."""

    code: ClassVar[str] = "sns_error"
    is_retryable: ClassVar[bool] = False


class SnsUnavailable(SnsError):
    code = "sns_unavailable"
    is_retryable = True


class NotSns(SnsError):
    code = "sns_envelope_invalid"


class UnknownTopic(SnsError):
    code = "sns_topic_unknown"


class StaleMessage(SnsError):
    code = "sns_message_stale"


class UntrustedUrl(SnsError):
    code = "sns_url_untrusted"


class ForgedMessage(SnsError):
    code = "sns_signature_invalid"


class SnsRefused(SnsError):
    code = "sns_refused"
