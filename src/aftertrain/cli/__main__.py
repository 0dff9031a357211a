"""`python -m aftertrain.cli`, for launchers that start modules: `torchrun -m aftertrain.cli run RECIPE`."""

import sys

from aftertrain.cli import main

sys.exit(main())
