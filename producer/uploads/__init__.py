"""Work that comes by uploads: events of object stores, listings that find what those missed, watched folders."""
