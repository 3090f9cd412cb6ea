"""The proxies between a process of photabatch and the services that it talks to."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from chaos.proxy import Proxy


@dataclass
class Wires:
    """The proxies that a process's connections go through."""

    postgres: Proxy
    broker: Proxy
    s3: Proxy
    phota: Proxy

    def __iter__(self) -> Iterator[Proxy]:
        return iter((self.postgres, self.broker, self.s3, self.phota))

    def environment(self, services: dict[str, str]) -> dict[str, str]:
        """The same addresses, with the proxies' ports."""
        places = {
            "PHOTABATCH_DATABASE_URL": self.postgres,
            "PHOTABATCH_BROKER_URL": self.broker,
            "PHOTABATCH_S3_ENDPOINT_URL": self.s3,
            "PHOTABATCH_PHOTA_BASE_URL": self.phota,
        }
        return services | {
            name: services[name].replace(f":{urlsplit(services[name]).port}", f":{proxy.port}", 1)
            for name, proxy in places.items()
        }
