"""`python -m quantai`, the same as `quantai`."""

import sys

from quantai.cli import main

if __name__ == "__main__":
    sys.exit(main())
