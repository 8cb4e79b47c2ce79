"""Names from data as file names, and texts from data as cells of a table: nothing in them can do harm."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from syncgan.errors import DataError

__all__ = ["csv_cell", "is_unicode", "require_unicode", "safe_folder_names", "slug"]

# Devices of Windows, and what image-folder readers take for a table.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|metadata\..*", re.IGNORECASE)
_LONGEST_FOLDER_BYTES = 80


def is_unicode(name: str) -> bool:
    """Say whether a name can be written to a file; a file system may hand out names that cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def require_unicode(name: str) -> None:
    """Refuse the name of a class that is not Unicode, with `DataError`."""
    if not is_unicode(name):
        raise DataError(f"expected class names in valid Unicode, which files can hold, got {name!a}; rename the class")


def safe_folder_names(classes: Sequence[str]) -> dict[str, str]:
    """Give each class a folder: its true name where that is safe on every system, else index and slug.

    Safe means letters, digits, spaces and ``. _ - ( )`` in composed Unicode, beginning and ending with a letter, digit
    or underscore, not a reserved name, at most 80 bytes, and unique without case.

    Raises
    ------
    DataError
        A class name occurs twice or is not valid Unicode.

    Examples
    --------
    >>> safe_folder_names(["NILM", "a", "A", "HSIL/CIN2"])
    {'NILM': 'NILM', 'a': '001-a', 'A': '002-a', 'HSIL/CIN2': '003-hsil-cin2'}
    """
    _check_class_names(classes)
    folded = Counter(_fold(name) for name in classes)
    is_true = {name: _is_safe(name) and folded[_fold(name)] == 1 for name in classes}
    taken = {_fold(name) for name in classes if is_true[name]}
    names: dict[str, str] = {}
    for index, name in enumerate(classes):
        folder = name if is_true[name] else f"{index:03d}-{slug(name)}"
        while not is_true[name] and _fold(folder) in taken:
            folder += "-x"
        taken.add(_fold(folder))
        names[name] = folder
    return names


def csv_cell(value: object) -> str:
    """Format a cell so that a spreadsheet shows text as text.

    Text that begins with ``= + - @``, a tab or a carriage return gets a leading apostrophe; numbers stay numbers.
    """
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _check_class_names(classes: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise DataError(f"expected different class names, got {repeated[0]!r} more than once; rename one")
    for name in classes:
        require_unicode(name)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_safe(name: str) -> bool:
    is_plain = re.fullmatch(r"\w(?:[\w .()-]*[\w)])?", name) is not None
    is_composed = unicodedata.normalize("NFC", name) == name
    is_short = len(name.encode("utf-8")) <= _LONGEST_FOLDER_BYTES
    return is_plain and is_composed and is_short and _RESERVED.fullmatch(name) is None


def slug(name: str) -> str:
    """Return up to 40 small ASCII letters, digits and dashes that remind of a name; "class" where none are left."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only)[:40].strip("-") or "class"
