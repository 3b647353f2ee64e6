"""What `run_autograder` starts: `python -m autograder.gradescope [--check] /autograder`."""

import sys

from .submission import main

sys.exit(main())
