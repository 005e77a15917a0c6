"""`python -m robuststack`."""

from robuststack.cli import main

main()
