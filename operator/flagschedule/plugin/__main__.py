"""What starts first, as `kubectl flagschedule` and as the archive: it must be readable to every Python 3.

An old Python would end with a SyntaxError or an ImportError of a module that the user has never heard of. So nothing of
this file is newer than Python 3.0, and the version is compared before anything is imported.
"""

import sys

OLDEST = (3, 11)


def main() -> int:
    """Run the plugin. Returns: the exit code."""
    if sys.version_info < OLDEST:
        sys.stderr.write(
            "kubectl flagschedule needs Python 3.11 or newer, and python3 here is %d.%d.\n" % sys.version_info[:2]  # noqa: UP031 -- see above
        )
        return 1
    from flagschedule.plugin import cli  # noqa: PLC0415 -- see above

    return cli.main()


def complete() -> int:
    """Complete a command line, as kubectl expects of `kubectl_complete-flagschedule`. Returns: the exit code."""
    sys.argv[1:1] = ["__complete"]
    return main()


if __name__ == "__main__":
    sys.exit(main())
