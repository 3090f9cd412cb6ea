"""Amazon SNS, as far as whoever receives its messages can tell: a key, a certificate behind a URL, signed envelopes."""

import functools
import json
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509.oid import NameOID

from clients.sns import SnsReader, SnsRefused

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:uploads"
HOST = "https://sns.eu-west-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-010a507c1833636cd94bdb98bd93083a.pem"
CONFIRM = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb687f5d51e6e2425e929b"
YEAR = timedelta(days=365)


# What looks like Amazon's host, and is not.
HOSTILE = [
    "http://sns.eu-west-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com.evil.example/x.pem",
    "https://evil.example/x.pem",
    "https://evil.example/https://sns.eu-west-1.amazonaws.com/x.pem",
    "https://evil.example#https://sns.eu-west-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com@evil.example/x.pem",
    "https://user:secret@sns.eu-west-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
    "https://sns.eu-west-1.amazonaws.com:443@evil.example/x.pem",
    "https://sns.eu-west-1.amazonaws.com\\@evil.example/x.pem",
    "https://sns.s3-us-west-2.amazonaws.com/x.pem",
    "https://sns.s3.amazonaws.com/x.pem",
    "https://sns.elb1.amazonaws.com/x.pem",
    "https://s3.amazonaws.com/sns.eu-west-1.amazonaws.com/x.pem",
    "https://evil-sns.eu-west-1.amazonaws.com/x.pem",
    "https://a.sns.eu-west-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com.cn.evil/x.pem",
    "https://sns.eu-west-1.amazonaws.comx/x.pem",
    "https://sns.eu-west-1.amazonawsXcom/x.pem",
    "https://sns.amazonaws.com/x.pem",
    "https://sns..amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com./x.pem",
    "https://sns.eu-west-1.amazonaws.com",
    "https://sns.eu-west-1.amazonaws.com/x.pem\n",
    " https://sns.eu-west-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com/x.pem\u2028",
    "https://sns.eu\u2010west-1.amazonaws.com/x.pem",
    "HTTPS://169.254.169.254/x.pem",
    "file:///etc/x.pem",
    "",
]


@functools.cache
def private_key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def certificate(key: Any = None, *, since: datetime = NOW - YEAR, until: datetime = NOW + YEAR) -> bytes:
    """Self-signed, as PEM."""
    key = key or private_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), since, until)
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.PEM)


def elliptic() -> bytes:
    return certificate(ec.generate_private_key(ec.SECP256R1()))


def canonical(envelope: dict[str, Any]) -> bytes:
    """Written down once more, from Amazon's text, to hold the reader's against."""
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    unsigned = {"SubscribeURL", "Token"} if envelope["Type"] == "Notification" else {"Subject"}
    return "".join(
        f"{name}\n{envelope[name]}\n" for name in names if name in envelope and name not in unsigned
    ).encode()


def signed(envelope: dict[str, Any], *, key: rsa.RSAPrivateKey | None = None) -> bytes:
    digest = SHA1() if envelope["SignatureVersion"] == "1" else SHA256()
    signature = (key or private_key()).sign(canonical(envelope), padding.PKCS1v15(), digest)
    return json.dumps({**envelope, "Signature": b64encode(signature).decode()}).encode()


def notification(message: str = '{"Records":[]}', **fields: Any) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon S3 Notification",
        "Message": message,
        "Timestamp": "2026-05-01T11:59:30.123Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE,
        "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:c9135db0",
        **fields,
    }


def confirmation(kind: str = "SubscriptionConfirmation", **fields: Any) -> dict[str, Any]:
    return {
        "Type": kind,
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f37fb687f5d51e6e2425e929b",
        "TopicArn": TOPIC,
        "Message": f"You have chosen to subscribe to the topic {TOPIC}.\nTo confirm, visit the SubscribeURL.",
        "SubscribeURL": CONFIRM,
        "Timestamp": "2026-05-01T11:59:30.123Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE,
        **fields,
    }


@dataclass
class Amazon:
    """`pages`: what is behind which URL; `asked`: the URLs that were fetched."""

    pages: dict[str, bytes] = field(default_factory=lambda: {CERTIFICATE: certificate(), CONFIRM: b"<Confirmed/>"})
    asked: list[str] = field(default_factory=list)
    now: datetime = NOW

    def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.pages:
            raise SnsRefused("404")
        return self.pages[url]

    def reader(self, *topics: str) -> SnsReader:
        return SnsReader(topics=topics or (TOPIC,), fetch=self.fetch, clock=lambda: self.now)
