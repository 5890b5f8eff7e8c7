"""The benchmark of selection quality: corpora in, figures out.

Nothing of the corpora is kept in the repository. One thread for every numerical library, so that CPU time is
comparable between methods; it must be set before they load.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
