"""`python -m exitnas`, the same as `exitnas`."""

from exitnas.cli.main import main

if __name__ == "__main__":
    main()
