"""The states of jobs without any service: rows, Phota, storage, processes and messages in memory, the real stages."""
