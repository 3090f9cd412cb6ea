"""Pictures decoded and turned upright in child processes."""

from clients.image_children import ImageChildren
from clients.images import ImageInfo, Prepared, inspect, prepare


class ImageInspector(ImageChildren):
    """`inspect` and `prepare` of clients.images. Raise BadImage as they do, and as ImageChildren does."""

    async def inspect(self, data: bytes) -> ImageInfo:
        return await self._run(inspect, data)

    def inspect_sync(self, data: bytes) -> ImageInfo:
        return self._run_sync(inspect, data)

    async def prepare(self, data: bytes) -> Prepared:
        return _prepared(data, await self._run(_prepare, data))

    def prepare_sync(self, data: bytes) -> Prepared:
        return _prepared(data, self._run_sync(_prepare, data))


def _prepare(data: bytes) -> tuple[ImageInfo, bytes | None]:
    """In the child; bytes that did not change are not sent back."""
    prepared = prepare(data)
    return prepared.info, None if prepared.data is data else prepared.data


def _prepared(data: bytes, answer: tuple[ImageInfo, bytes | None]) -> Prepared:
    info, turned = answer
    return Prepared(info, data if turned is None else turned)
