"""``python -m syncgan`` is the command ``syncgan``."""

from syncgan.cli import main

if __name__ == "__main__":
    main()
