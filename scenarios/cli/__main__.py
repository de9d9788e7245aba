"""`python -m scenarios.cli`: the command `wardround` with this very Python."""

from scenarios.cli.main import main

if __name__ == "__main__":
    main()
