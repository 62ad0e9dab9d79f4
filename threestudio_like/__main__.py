"""``python -m threestudio_like``."""

import sys

from .cli import main

sys.exit(main())
