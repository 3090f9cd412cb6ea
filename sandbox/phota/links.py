"""Signed download links: they carry what they open and until when, so nothing has to be kept for them."""

import hashlib
import hmac
import itertools
import time
from dataclasses import dataclass, field

from sandbox.phota.errors import PhotaError, not_found


@dataclass(frozen=True)
class Links:
    secret: bytes
    _nonces: "itertools.count[int]" = field(default_factory=itertools.count)

    def make(self, blob: str, *, ttl_s: float) -> str:
        """A path under the simulator's root; no two are the same."""
        stem, _, extension = blob.rpartition(".")
        claim = f"{stem}-{int((time.time() + ttl_s) * 1000):x}-{next(self._nonces):x}"
        return f"/files/{claim}-{self._sign(claim, extension)}.{extension}"

    def open(self, name: str) -> str:
        """The blob that a link's last part stands for; PhotaError 404 if it is not ours, 403 if it has expired."""
        stem, _, extension = name.rpartition(".")
        claim, _, signature = stem.rpartition("-")
        if not hmac.compare_digest(self._sign(claim, extension), signature):
            raise not_found("file")
        blob, expires, _ = claim.rsplit("-", 2)
        if int(expires, 16) < time.time() * 1000:
            raise PhotaError(403, "EXPIRED", "this link has expired")
        return f"{blob}.{extension}"

    def _sign(self, claim: str, extension: str) -> str:
        return hmac.new(self.secret, f"{claim}.{extension}".encode(), hashlib.sha256).hexdigest()[:32]
