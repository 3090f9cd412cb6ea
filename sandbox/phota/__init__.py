"""The simulated Phota API: the documented HTTP contract, real pictures, charges in a ledger, faults on demand."""
