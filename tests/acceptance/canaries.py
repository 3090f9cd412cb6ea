"""Every secret and prompt of a fleet as a recognisable value, where each may be found, and the search for them."""

import re
from collections.abc import Mapping

URL_TOKEN = "token in a webhook's URL"

# Where each value may be found, and must be, or else nothing was planted. A row is `table.column`.
ALLOWED: Mapping[str, Mapping[str, str]] = {
    "prompt": {"jobs.params": "Phota is asked with it", "answer jobs 200": "to whoever may read the job"},
    "prompt by broker": {"jobs.params": "likewise", "redis": "a producer that knows only the broker sent it so"},
    "refused prompt": {"jobs.params": "of a rejected job, to be looked at", "redis": "likewise"},
    "phota key": {},
    "database password": {},
    "redis password": {},
    "s3 secret": {},
    "api key": {},
    "webhook secret": {
        "webhook_endpoints.secret": "signing needs it as it is",
        "command webhook add": "shown this once",
    },
    "account secret": {"accounts.webhook_secret": "signing needs it as it is"},
    URL_TOKEN: {
        "webhook_endpoints.url": "it is called by it",
        "deliveries.url": "likewise",
        "batches.webhook_url": "likewise",
        "command webhook add": "said back to who named it",
        "command webhook list": "to the operator, who registered it",
        "told to receivers": "their own address",
    },
    "password in a URL": {},
    "idempotency header": {"idempotency_keys.key": "what a repetition is known by"},
    "idempotency key": {"jobs.idempotency_key": "likewise"},
    "callback secret": {},
    "forged signature": {},
    "sns token": {},
    "mistyped password": {},
    "mistyped key": {},
}
NAMES = tuple(ALLOWED)


class Evidence:
    """Everything that was written down, as (place, text)."""

    def __init__(self, canaries: dict[str, str]) -> None:
        self.canaries = canaries
        self.texts: list[tuple[str, str]] = []
        self.codes: set[str] = set()

    def add(self, place: str, told: str) -> None:
        self.texts.append((place, told))

    def places(self, name: str) -> set[str]:
        value = self.canaries[name]
        return {place for place, told in self.texts if value in told}

    def matching(self, pattern: str) -> set[str]:
        return {place for place, told in self.texts if re.search(pattern, told)}
