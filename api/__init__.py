"""The front door: jobs, batches and estimates over HTTP, callbacks in, progress and results out."""
