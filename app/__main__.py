"""`python -m app` is `hybrid-memory`."""

from app.cli import main

if __name__ == "__main__":
    main()
