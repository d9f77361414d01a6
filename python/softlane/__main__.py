"""``python -m softlane``: what is installed, whether it is right on this CPU, and how fast."""

import sys

from softlane._selfcheck import main

if __name__ == "__main__":
    sys.exit(main())
