"""What a stage works with: one set of clients per process, and the small policies that need them."""

import asyncio
import random
import uuid
from dataclasses import dataclass, field

import httpx

from clients.image_inspector import ImageInspector
from clients.phota import PhotaClient
from clients.storage import Storage
from worker.sightings import Sightings


@dataclass(slots=True)
class Kit:
    phota: PhotaClient
    storage: Storage
    webhooks: httpx.AsyncClient  # connects to public addresses and allowed hosts only: users choose the URLs
    inspector: ImageInspector
    sightings: Sightings
    is_sync: bool  # Phota answers the call itself, there is nothing to poll
    spare_bucket: str  # for results that cannot be stored where the job says
    sends_links: bool  # Phota's servers reach our S3 endpoint, so presigned URLs will do for inputs
    allowed_hosts: tuple[str, ...] = ()
    callback_url: str | None = None  # where Phota tells that a job has ended; None: it is polled for alone
    images: httpx.AsyncClient | None = None  # fetches from allowed hosts; None where Phota's servers reach them
    failpoint: str | None = None
    random_source: random.Random = field(default_factory=random.Random)
    # bytes that a synchronous call answered with, on their way from one stage to the next
    inline: dict[uuid.UUID, list[bytes]] = field(default_factory=dict)
    # inputs in memory at once, where they travel in the request itself
    inlining: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))
    storing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(32))  # results in memory at once
