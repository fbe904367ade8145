"""`python -m rolecast` is the `rolecast` command."""

from rolecast.cli import main

if __name__ == "__main__":
    main()
