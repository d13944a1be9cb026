"""Tables as people and spreadsheets write them, read so that no id changes on the way.

An id is the word that stands there: 007 is not 7, and a patient may be called NA. Numbers and
blanks of other columns are read as usual. The comma, semicolon or tab is taken from the header.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import lzma
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO, cast

import pandas as pd

from training.errors import TrainingError

BLANKS = [
    "", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null",
    "None", "'--", "--", "[Not Available]", "[Unknown]", "[Not Applicable]", "not reported",
]  # fmt: skip
_OPENERS: dict[str, Callable[[Path, str], object]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_words(path: Path, words: Collection[str] | int) -> pd.DataFrame:
    """The table in a CSV or TSV (maybe compressed). The columns `words`, by name or the one at that
    place, hold words without the blanks around them, "" where empty; others as pandas reads them.

    Raises TrainingError for no file, an empty one, another encoding, and a column name that stands
    there twice: pandas would call the second one by another name.
    """
    if not path.is_file():
        raise TrainingError(f"found no {path}, expected a table: name an existing file")
    encoding = _encoding(path)
    try:
        names, separator, above = _header(path, encoding)
        at = [words] if isinstance(words, int) else [
            place for place, name in enumerate(names) if _last(name) in words]  # fmt: skip
        called = [name or f"without a name, {place}" for place, name in enumerate(names)]
        kept = [called[place] for place in at]
        with _opened(path) as file, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a longer row would be cut
            table = pd.read_csv(
                file,
                sep=separator,
                encoding=encoding,
                header=0,
                skiprows=above,
                names=called,
                index_col=False,
                dtype=dict.fromkeys(kept, str),
                keep_default_na=False,
                na_values={name: [] if name in kept else BLANKS for name in called},
                low_memory=False,
            )
        return table.assign(**{name: table[name].str.strip() for name in kept})
    except UnicodeError as error:
        raise TrainingError(
            f"found bytes in {path} that are no {encoding} ({error}), expected text in UTF-8: save "
            "the table again so (in a spreadsheet: CSV UTF-8)"
        ) from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise TrainingError(
            f"found rows of unlike length in {path} ({str(error).strip()}), expected as many "
            "fields in each as in the header: correct the table"
        ) from error
    except (zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, EOFError) as error:
        raise TrainingError(
            f"found what is no whole {path.suffix} in {path} ({error}), expected a table: copy the "
            "file again"
        ) from error


def stored(path: Path, words: Sequence[str]) -> pd.DataFrame:
    """A table that this package wrote: the columns `words` hold words, blank where nothing is."""
    return pd.read_csv(path, dtype=dict.fromkeys(words, str), keep_default_na=False, na_values=[""])


def _encoding(path: Path) -> str:
    with _opened(path) as file:
        return "utf-16" if file.read(2) in _WIDE else "utf-8-sig"


def _header(path: Path, encoding: str) -> tuple[list[str], str, int]:
    """The names of the columns, what stands between them, and the lines of comment above them."""
    above = 0
    with _opened(path) as file:
        line = ""
        for line in codecs.getreader(encoding)(file):
            if line.strip() and not line.startswith("#"):
                break
            above += 1
    if not line.strip() or line.startswith("#"):
        raise TrainingError(f"found no header in {path}, expected a table: name another file")
    separator = "\t" if "\t" in line else ";" if ";" in line and "," not in line else ","
    names = [name.strip() for name in next(csv.reader([line.strip("\r\n")], delimiter=separator))]
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise TrainingError(
            f"found column {twice[0]} twice in {path}, expected once: rename or remove one"
        )
    return names, separator, above


def _last(name: str) -> str:
    """`submitter_id` of `cases.submitter_id`."""
    return name.rsplit(".", 1)[-1]


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        inside = archive.namelist()
        if len(inside) != 1:
            raise TrainingError(
                f"found {len(inside)} files in {path}, expected one table: name a table"
            )
        return archive.open(inside[0])
    if path.suffix in _OPENERS:
        return cast(IO[bytes], _OPENERS[path.suffix](path, "rb"))
    return path.open("rb")
