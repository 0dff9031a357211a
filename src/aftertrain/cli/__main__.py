"""`python -m aftertrain.cli`, for launchers that start modules: `torchrun -m aftertrain.cli run RECIPE`."""

import os
import sys

from aftertrain.cli import main

status = main()
if "RANK" in os.environ:
    # Threads of native libraries may abort while the interpreter is taken down, and the run would count as failed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
sys.exit(status)
