"""Each the smallest change that breaks one promise; the tests named with it must fail where it is made.

Whoever changes such a line changes it here too: `tests/unit/test_mutations_apply.py` says so.
"""

from chaos.mutants.around import AROUND
from chaos.mutants.jobs import JOBS
from chaos.mutants.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS = (*JOBS, *AROUND)
