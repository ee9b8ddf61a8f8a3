"""``python -m mien`` is the ``mien`` command."""

from mien.endings import end_in_order

end_in_order()  # the libraries of the command are still to be imported

from mien.cli import main  # noqa: E402

main()
